//! The machine, how long, how much, how often.

use super::MONTH_S;
use super::findings::{Findings, shown};
use crate::{Limits, Resources, Retry};

pub(super) fn resources(wanted: &Resources, found: &mut Findings) {
    found.count("resources.gpu", wanted.gpu.len(), 0..=32, "models");
    for (i, gpu) in wanted.gpu.iter().enumerate() {
        word(
            &format!("resources.gpu[{i}]"),
            gpu,
            b" -._+()/",
            "a GPU model such as `A100-80GB` or `RTX 4090`",
            found,
        );
    }
    found.unique("resources.gpu", wanted.gpu.iter().map(String::as_str));
    if let Some(memory) = wanted.gpu_memory_gb {
        found.number("resources.gpu_memory_gb", memory, 1..=10_000, "GB");
    }
    found.number("resources.gpu_count", wanted.gpu_count, 0..=64, "GPUs (0 for none)");
    if wanted.gpu_count == 0 && (!wanted.gpu.is_empty() || wanted.gpu_memory_gb.is_some()) {
        found.wrong(
            "resources.gpu_count",
            "is 0, yet `resources.gpu` or `resources.gpu_memory_gb` asks for a GPU: write at least 1, or leave those out",
        );
    }
    found.count("resources.regions", wanted.regions.len(), 0..=64, "regions");
    for (i, region) in wanted.regions.iter().enumerate() {
        word(&format!("resources.regions[{i}]"), region, b" -._,", "a region's name as in the offers", found);
    }
    found.number("resources.disk_gb", wanted.disk_gb, 1..=100_000, "GB");
    found.number("resources.keep_warm_s", wanted.keep_warm_s, 0..=86_400, "seconds");
}

pub(super) fn limits(wanted: &Limits, found: &mut Findings) {
    found.number("limits.max_duration_s", wanted.max_duration_s, 1..=MONTH_S, "seconds");
    found.number("limits.grace_period_s", wanted.grace_period_s, 0..=3600, "seconds");
    found.number("limits.max_silence_s", wanted.max_silence_s, 1..=MONTH_S, "seconds");
    found.number("limits.hold_s", wanted.hold_s, 1..=MONTH_S, "seconds");
    found.number("limits.hold_on_failure_s", wanted.hold_on_failure_s, 0..=7 * 86_400, "seconds");
}

pub(super) fn retry(wanted: &Retry, found: &mut Findings) {
    found.number("retry.max_attempts", wanted.max_attempts, 1..=100, "attempts");
    found.number("retry.wait_for_capacity_s", wanted.wait_for_capacity_s, 0..=MONTH_S, "seconds");
}

fn word(field: &str, text: &str, also: &[u8], example: &str, found: &mut Findings) {
    let fits = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
        && text.trim() == text;
    if !fits {
        found.wrong(field, format!("is `{}`: write {example}, at most 64 characters", shown(text)));
    }
}
