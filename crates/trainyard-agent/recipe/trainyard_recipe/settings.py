"""The job's specification and environment, as the rest of the recipe reads them."""

import dataclasses
import difflib
import json
import os
from pathlib import Path

from .failure import Failure

# Names of `extra` that the recipe reads itself. All others are arguments of Transformers' TrainingArguments.
OWN_EXTRA = {
    "chat_template": "the chat template for messages, in Jinja",
    "attn_implementation": "how attention is computed: sdpa, eager, flash_attention_2",
    "trust_remote_code": "whether the model's own code is run",
    "lora": "further arguments of PEFT's LoraConfig",
    "eval_holdout": "the share of the records that is held out, 0 to 0.5",
}
# What the specification or the contract says already.
TAKEN = {
    "output_dir", "do_train", "do_eval", "resume_from_checkpoint", "push_to_hub", "remove_unused_columns",
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
    "warmup_steps", "weight_decay", "max_grad_norm", "optim", "num_train_epochs", "max_steps", "bf16", "fp16",
    "gradient_checkpointing", "activation_checkpointing", "save_steps", "save_total_limit", "eval_steps",
    "eval_strategy", "seed", "use_cpu", "save_strategy",
}  # fmt: skip


@dataclasses.dataclass
class Settings:
    """What to do. Paths are those of this machine."""

    spec: dict
    output: Path
    checkpoints: Path
    inputs: Path
    metrics: str | None
    resume_from: str | None

    @staticmethod
    def read() -> "Settings":
        env = os.environ
        return Settings(
            spec=json.loads(Path(env["TRAINYARD_SPEC"]).read_text(encoding="utf-8")),
            output=Path(env["TRAINYARD_OUTPUT_DIR"]),
            checkpoints=Path(env["TRAINYARD_CHECKPOINT_DIR"]),
            inputs=Path(env["TRAINYARD_INPUT_DIR"]),
            metrics=env.get("TRAINYARD_METRICS_FILE"),
            resume_from=env.get("TRAINYARD_RESUME_FROM") or None,
        )

    def __getattr__(self, name: str):
        """A hyperparameter by its name."""
        try:
            return self.__dict__["spec"]["hyperparameters"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def method(self) -> str:
        return self.spec["peft_method"]

    @property
    def bits(self) -> int | None:
        """Bits of the base's weights; none leaves them as they are. QLoRA is 4 unless told otherwise."""
        if self.quantization is None:
            return 4 if self.method == "qlora" else None
        return {"4bit": 4, "8bit": 8}[self.quantization]

    @property
    def model(self) -> tuple[str, str | None]:
        """Where the base is, and its revision: a directory here, one of the inputs, or a hub id with `@REVISION`."""
        name = self.spec["model_name"]
        for place in (Path(name), self.inputs / name):
            if place.is_dir():
                return str(place), None
        if name.startswith(("/", "./", "../")):
            raise Failure(
                "model_not_found",
                f"there is no directory `{name}` on this machine",
                "name a hub id (`owner/name`), or a directory that the machine's image or `inputs` bring",
            )
        name, _, revision = name.partition("@")
        return name, revision or None

    def trainer_arguments(self, fields: set[str]) -> dict:
        """The part of `extra` that goes to Transformers. A name that it does not know is refused."""
        extra = {name: value for name, value in self.extra.items() if name not in OWN_EXTRA}
        for name in extra:
            field = f"`hyperparameters.extra.{name}`"
            if name in TAKEN:
                raise Failure("settings", f"{field} is set by the specification's own fields", "leave it out there")
            if name not in fields:
                near = difflib.get_close_matches(name, fields | set(OWN_EXTRA), 1)
                hint = f"did you mean `{near[0]}`?" if near else "see the fields of Transformers' TrainingArguments"
                raise Failure("settings", f"{field} is no setting of the recipe or of Transformers", hint)
        return extra
