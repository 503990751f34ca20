"""The training itself: Transformers' Trainer, told from the specification."""

import dataclasses
import json
import math
import os
import signal

import torch
import transformers

from . import data, model
from .failure import Failure
from .settings import Settings

STOPPED = 128 + signal.SIGTERM
OPTIMIZERS = {"adamw": "adamw_torch", "lion": "lion_32bit", "rmsprop": "rmsprop"}


class Stop(transformers.TrainerCallback):
    """SIGTERM ends the training after the step it is in, with a checkpoint; all processes at the same step. Before the
    first step there is nothing to save: it ends at once, and the grace is not spent on loading a model.
    """

    def __init__(self) -> None:
        self.asked, self.agreed, self.begun = False, False, False
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, *_) -> None:
        self.asked = True
        if not self.begun:
            print("stopped before the first step", flush=True)
            raise SystemExit(STOPPED)

    def on_train_begin(self, args, state, control, **_):
        self.begun = True

    def on_step_end(self, args, state, control, **_):
        asked = self.asked
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            flag = torch.tensor([int(asked)], device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            asked = bool(flag.item())
        if asked:
            self.agreed = True
            control.should_save = control.should_training_stop = True
            # It would come before the checkpoint, and may take longer than the grace.
            control.should_evaluate = False


class Tell(transformers.TrainerCallback):
    """Every logged point into the metrics file; a loss that is no number ends the training."""

    def __init__(self, path: str | None) -> None:
        self.path = path

    def on_train_begin(self, args, state, control, **_):
        if state.is_world_process_zero:
            self.write({"step": state.global_step, "total_steps": state.max_steps})

    def on_log(self, args, state, control, logs=None, **_):
        if state.is_world_process_zero:
            point = {name: number(value) for name, value in (logs or {}).items() if is_number(value)}
            self.write({**point, "step": state.global_step, "total_steps": state.max_steps})
        for name in ("loss", "eval_loss"):
            value = (logs or {}).get(name)
            if is_number(value) and not math.isfinite(value):
                raise Failure(
                    "loss_not_finite",
                    f"`{name}` became {value} at step {state.global_step}",
                    "lower `learning_rate`, raise `warmup_steps`, keep `max_grad_norm` at 1, and use `bf16` or `fp32`",
                )

    def write(self, point: dict) -> None:
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(point) + "\n")


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: float):
    """As JSON has it: the three that JSON does not know are texts."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def arguments(settings: Settings, evaluates: bool) -> transformers.TrainingArguments:
    fields = {field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.init}
    recompute = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    given = {
        "output_dir": str(settings.checkpoints),
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": OPTIMIZERS.get(settings.optimizer, settings.optimizer),
        "num_train_epochs": settings.num_epochs,
        "max_steps": settings.max_steps or -1,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "use_cpu": not torch.cuda.is_available(),
        recompute: settings.gradient_checkpointing,
        f"{recompute}_kwargs": {"use_reentrant": False} if settings.gradient_checkpointing else None,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": settings.save_total_limit,
        "eval_strategy": settings.eval_strategy if evaluates else "no",
        "eval_steps": settings.eval_steps,
        "prediction_loss_only": True,
        "seed": settings.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False if "LOCAL_RANK" in os.environ else None,
        "disable_tqdm": True,
        "report_to": "none",
    }
    try:
        return transformers.TrainingArguments(**{**given, **settings.trainer_arguments(fields)})
    except (TypeError, ValueError) as error:
        remedy = "mend the hyperparameter that is named; `extra` holds fields of Transformers' TrainingArguments"
        raise Failure("settings", f"Transformers does not take the settings: {error}", remedy) from error


def datasets_of(settings: Settings, tokenizer) -> tuple[data.Records, data.Records | None]:
    def load(name: str, variable: str) -> data.Records | None:
        wanted = settings.spec.get(name)
        if not wanted:
            return None
        records = data.load(os.environ.get(variable), wanted, tokenizer, settings.max_seq_length)
        print(f"{name}: {len(records)} records, {len(records.ids):,} tokens", flush=True)
        return records

    train, held_out = load("dataset", "TRAINYARD_DATASET"), load("eval_dataset", "TRAINYARD_EVAL_DATASET")
    if train is None:
        raise Failure("dataset_missing", "the job names no `dataset`", "name what to train on (`--dataset`)")
    share = settings.extra.get("eval_holdout", 0)
    if held_out is None and share:
        if not is_number(share) or not 0 < share <= 0.5:
            raise Failure("settings", f"`extra.eval_holdout` is {share}", "write a number above 0 and at most 0.5")
        cut = len(train) - max(round(len(train) * share), 1)
        train, held_out = train.part(0, cut), train.part(cut, len(train))
    return train, held_out


def run(settings: Settings) -> int:
    """Trains to the end, or until SIGTERM. The exit code."""
    stop = Stop()
    model.check_machine(settings)
    transformers.set_seed(settings.seed)
    tokenizer = model.tokenizer_of(settings)
    train, held_out = datasets_of(settings, tokenizer)
    if settings.packing:
        train = data.Packed(train, settings.max_seq_length)
        held_out = held_out and data.Packed(held_out, settings.max_seq_length)
        print(f"packed into {len(train)} sequences", flush=True)
    trainer = transformers.Trainer(
        model=model.adapted(model.base_of(settings), settings),
        args=arguments(settings, held_out is not None),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=data.Collator(tokenizer.pad_token_id, settings.packing),
        processing_class=tokenizer,
        callbacks=[stop, Tell(settings.metrics)],
    )
    if settings.resume_from:
        print(f"continuing from {os.path.basename(settings.resume_from)}", flush=True)
    trainer.train(resume_from_checkpoint=settings.resume_from)
    if stop.agreed:
        print(f"stopped after step {trainer.state.global_step}, with a checkpoint", flush=True)
        return STOPPED
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(settings.output)
        tokenizer.save_pretrained(settings.output)
    return 0
