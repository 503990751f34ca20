//! What the `peft` recipe does not do, refused before a machine is paid for it.

use super::findings::{Findings, shown};
use crate::{JobSpec, TINY_MODEL};

/// Optimizers of PyTorch and bitsandbytes, by the names that Transformers has for them.
const OPTIMIZERS: &[&str] = &[
    "adamw",
    "adamw_torch",
    "adamw_torch_fused",
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "lion",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "lion_32bit",
    "lion_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "ademamix",
    "ademamix_8bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
];

/// Names of Transformers for what the specification has a field of its own for.
const OWN_FIELDS: &[(&str, &str)] = &[
    ("per_device_train_batch_size", "batch_size"),
    ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("learning_rate", "learning_rate"),
    ("lr_scheduler_type", "scheduler"),
    ("warmup_steps", "warmup_steps"),
    ("weight_decay", "weight_decay"),
    ("max_grad_norm", "max_grad_norm"),
    ("optim", "optimizer"),
    ("num_train_epochs", "num_epochs"),
    ("max_steps", "max_steps"),
    ("bf16", "precision"),
    ("fp16", "precision"),
    ("gradient_checkpointing", "gradient_checkpointing"),
    ("activation_checkpointing", "gradient_checkpointing"),
    ("save_steps", "save_steps"),
    ("save_total_limit", "save_total_limit"),
    ("eval_steps", "eval_steps"),
    ("eval_strategy", "eval_strategy"),
    ("seed", "seed"),
];

pub(super) fn check(spec: &JobSpec, found: &mut Findings) {
    let wanted = &spec.hyperparameters;
    if spec.model_name == TINY_MODEL {
        found.wrong(
            "model_name",
            format!("is `{TINY_MODEL}`, which only `builtin` takes: name a hub id or a model directory"),
        );
    }
    if !OPTIMIZERS.contains(&wanted.optimizer.as_str()) && !found.names("hyperparameters.optimizer") {
        found.wrong(
            "hyperparameters.optimizer",
            format!(
                "is `{}`, which `peft` does not know: use one of {}",
                shown(&wanted.optimizer),
                OPTIMIZERS.join(", ")
            ),
        );
    }
    let quantized = wanted.quantization.is_some() || spec.peft_method == "qlora";
    if quantized && spec.resources.gpu_count == 0 {
        found.wrong(
            "resources.gpu_count",
            "is 0, yet a quantized base needs a GPU: write at least 1, or use `lora`",
        );
    }
    for (name, field) in OWN_FIELDS {
        if wanted.extra.contains_key(*name) {
            found.wrong(
                format!("hyperparameters.extra.{name}"),
                format!("has a field of its own: write `hyperparameters.{field}`"),
            );
        }
    }
}
