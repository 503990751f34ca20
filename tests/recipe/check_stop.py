"""What the recipe asks of Transformers when SIGTERM comes, with stand-ins for it and for PyTorch: any Python runs this.

check_stop.py RECIPE_DIR

The stand-in of the Trainer keeps the order of the real one: after a step the callbacks, then evaluation, then the
checkpoint, then the end. That the real one does so is held by check_resume.py, where Python has PyTorch.
"""

import dataclasses
import os
import signal
import sys
import types

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
STEPS = 10


class Callback:
    def on_train_begin(self, *_, **__):
        pass

    def on_step_end(self, *_, **__):
        pass


def tensor(values, device=None):
    return types.SimpleNamespace(values=values, item=lambda: values[0])


def all_reduce(flag, op):
    """As if another process of the training had been asked where `others` says so."""
    assert op == "max"
    flag.values[0] = max(flag.values[0], others())


def others():
    return 0


distributed = types.SimpleNamespace(
    is_available=lambda: True, is_initialized=lambda: several, all_reduce=all_reduce, ReduceOp=types.SimpleNamespace(MAX="max")
)
several = False
torch = types.ModuleType("torch")
torch.utils = types.SimpleNamespace(data=types.SimpleNamespace(Dataset=object))
torch.distributed, torch.tensor = distributed, tensor
torch.cuda = types.SimpleNamespace(is_available=lambda: False)
transformers = types.ModuleType("transformers")
transformers.TrainerCallback, transformers.TrainingArguments = Callback, object
transformers.set_seed = lambda seed: None


@dataclasses.dataclass
class Control:
    should_save: bool = False
    should_evaluate: bool = False
    should_training_stop: bool = False


class Trainer:
    """Ten steps; `at` is called within each. An evaluation is due after every fifth."""

    made: "Trainer"

    def __init__(self, callbacks, **_):
        self.callbacks, self.did = callbacks, []
        self.state = types.SimpleNamespace(global_step=0, max_steps=STEPS, is_world_process_zero=True)
        self.model = types.SimpleNamespace(save_pretrained=lambda place: self.did.append("adapter"))
        Trainer.made = self

    def is_world_process_zero(self):
        return True

    def train(self, resume_from_checkpoint):
        args, control = types.SimpleNamespace(device="cpu"), Control()
        self.tell("on_train_begin", args, control)
        while self.state.global_step < STEPS and not control.should_training_stop:
            within(self.state.global_step + 1)
            self.state.global_step += 1
            control = Control(should_evaluate=self.state.global_step % 5 == 0)
            self.tell("on_step_end", args, control)
            if control.should_evaluate:
                self.did.append("evaluation")
            if control.should_save:
                self.did.append(f"checkpoint-{self.state.global_step}")

    def tell(self, name, args, control):
        for callback in self.callbacks:
            getattr(callback, name)(args, self.state, control)


transformers.Trainer = Trainer
sys.modules |= {"torch": torch, "transformers": transformers}
sys.modules["trainyard_recipe.model"] = types.ModuleType("trainyard_recipe.model")
import trainyard_recipe  # noqa: E402

trainyard_recipe.model = sys.modules["trainyard_recipe.model"]
from trainyard_recipe import train  # noqa: E402

tokenizer = types.SimpleNamespace(pad_token_id=0, save_pretrained=lambda place: None)
trainyard_recipe.model.check_machine = lambda settings: loading()
trainyard_recipe.model.tokenizer_of = lambda settings: tokenizer
trainyard_recipe.model.base_of = trainyard_recipe.model.adapted = lambda *_: None
train.datasets_of = lambda *_: ([1], None)
train.arguments = lambda *_: None


def run(at=0, loads=lambda: None, asked_elsewhere=None):
    """The exit code of a training that gets SIGTERM within that step, and what its Trainer did."""
    global within, loading, others, several
    loading, several = loads, asked_elsewhere is not None
    within = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == at else None
    others = lambda: int(Trainer.made.state.global_step == asked_elsewhere)
    settings = types.SimpleNamespace(seed=1, packing=False, metrics=None, resume_from=None, output="out")
    Trainer.made = None
    try:
        code = train.run(settings)
    except SystemExit as end:
        code = end.code
    return code, Trainer.made and Trainer.made.did


assert run() == (0, ["evaluation", "evaluation", "adapter"]), run()
assert run(at=3) == (143, ["checkpoint-3"]), "a checkpoint of the step that it was in, and no adapter"
assert run(at=5) == (143, ["checkpoint-5"]), "no evaluation comes before the checkpoint"
assert run(at=STEPS) == (143, ["evaluation", "checkpoint-10"]), run(at=STEPS)
early = run(loads=lambda: os.kill(os.getpid(), signal.SIGTERM))
assert early == (143, None), f"what has nothing to save ends at once: {early}"
assert run(asked_elsewhere=4) == (143, ["checkpoint-4"]), "every process saves at the step that one was asked in"
print("OK: stopped with a checkpoint, alone and among several")
