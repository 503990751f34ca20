//! Ranges of the training's numbers: wide enough for anything that trains, narrow enough to catch a slip.

use super::findings::Findings;
use crate::Hyperparameters;

/// Most steps of anything.
const STEPS_MAX: u64 = 1_000_000_000;
/// Largest seed: NumPy, which every Python trainer seeds, takes 32 bits.
const SEED_MAX: u64 = u32::MAX as u64;
/// Most names in `extra`.
const EXTRA_NAMES_MAX: usize = 256;
/// Largest `extra`, in bytes of JSON.
const EXTRA_BYTES_MAX: usize = 65_536;

pub(super) fn check(wanted: &Hyperparameters, found: &mut Findings) {
    adapter(wanted, found);
    optimisation(wanted, found);
    batches(wanted, found);
    rhythm(wanted, found);
    extra(wanted, found);
}

fn adapter(wanted: &Hyperparameters, found: &mut Findings) {
    found.number("hyperparameters.lora_r", wanted.lora_r, 1..=1024, "");
    found.positive("hyperparameters.lora_alpha", wanted.lora_alpha, 1_000_000.0);
    if !(0.0..1.0).contains(&wanted.lora_dropout) {
        found.wrong(
            "hyperparameters.lora_dropout",
            format!("is {}: write a number from 0 to below 1", wanted.lora_dropout),
        );
    }
    let modules = &wanted.target_modules;
    found.count("hyperparameters.target_modules", modules.len(), 1..=256, "names of layers");
    for (i, module) in modules.iter().enumerate() {
        found.name(&format!("hyperparameters.target_modules[{i}]"), module, 256);
    }
    found.unique("hyperparameters.target_modules", modules.iter().map(String::as_str));
}

fn optimisation(wanted: &Hyperparameters, found: &mut Findings) {
    found.positive("hyperparameters.learning_rate", wanted.learning_rate, 100.0);
    found.number("hyperparameters.warmup_steps", wanted.warmup_steps, 0..=STEPS_MAX, "steps");
    found.number("hyperparameters.weight_decay", wanted.weight_decay, 0.0..=100.0, "");
    found.number("hyperparameters.max_grad_norm", wanted.max_grad_norm, 0.0..=1e9, "(0 turns it off)");
    let optimizer = &wanted.optimizer;
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if optimizer.is_empty() || optimizer.len() > 64 || !optimizer.bytes().all(is_word) {
        found.wrong(
            "hyperparameters.optimizer",
            "is not an optimizer's name: write 1 to 64 letters, digits, `_`, `-`, `.`",
        );
    }
}

fn batches(wanted: &Hyperparameters, found: &mut Findings) {
    found.positive("hyperparameters.num_epochs", wanted.num_epochs, 100_000.0);
    if let Some(steps) = wanted.max_steps {
        found.number("hyperparameters.max_steps", steps, 1..=STEPS_MAX, "steps (or null for whole epochs)");
    }
    found.number("hyperparameters.batch_size", wanted.batch_size, 1..=65_536, "records");
    found.number(
        "hyperparameters.gradient_accumulation_steps",
        wanted.gradient_accumulation_steps,
        1..=65_536,
        "forward passes",
    );
    found.number("hyperparameters.max_seq_length", wanted.max_seq_length, 8..=1_000_000, "tokens");
}

fn rhythm(wanted: &Hyperparameters, found: &mut Findings) {
    found.number("hyperparameters.save_steps", wanted.save_steps, 1..=STEPS_MAX, "steps");
    if let Some(limit) = wanted.save_total_limit {
        found.number("hyperparameters.save_total_limit", limit, 1..=1000, "checkpoints (or null for all)");
    }
    found.number("hyperparameters.eval_steps", wanted.eval_steps, 1..=STEPS_MAX, "steps");
    found.number("hyperparameters.seed", wanted.seed, 0..=SEED_MAX, "");
}

fn extra(wanted: &Hyperparameters, found: &mut Findings) {
    found.count("hyperparameters.extra", wanted.extra.len(), 0..=EXTRA_NAMES_MAX, "names");
    let bytes = serde_json::to_vec(&wanted.extra).map_or(0, |json| json.len());
    if bytes > EXTRA_BYTES_MAX {
        found.wrong(
            "hyperparameters.extra",
            format!("is {bytes} bytes of JSON: write at most {EXTRA_BYTES_MAX}"),
        );
    }
    for (name, value) in &wanted.extra {
        if let Some(text) = value.as_str() {
            super::program::no_token(
                &format!("hyperparameters.extra.{}", super::shown(name)),
                name,
                text,
                found,
            );
        }
    }
}
