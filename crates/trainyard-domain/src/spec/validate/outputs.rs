//! What is kept: patterns that stay inside, and a main file.

use super::MONTH_S;
use super::findings::{Findings, inside, shown};
use crate::{JobSpec, Outputs, TrainerKind};

/// Most patterns of one list.
const PATTERNS_MAX: usize = 100;

pub(super) fn outputs(wanted: &Outputs, found: &mut Findings) {
    if let Some(main) = &wanted.main {
        found.path("outputs.main", main);
    }
    found.count("outputs.include", wanted.include.len(), 1..=PATTERNS_MAX, "patterns");
    found.count("outputs.exclude", wanted.exclude.len(), 0..=PATTERNS_MAX, "patterns");
    for (field, patterns) in [("outputs.include", &wanted.include), ("outputs.exclude", &wanted.exclude)] {
        for (i, text) in patterns.iter().enumerate() {
            pattern(&format!("{field}[{i}]"), text, found);
        }
    }
}

pub(super) fn checkpoints(spec: &JobSpec, found: &mut Findings) {
    let wanted = &spec.checkpoints;
    pattern("checkpoints.pattern", &wanted.pattern, found);
    found.number("checkpoints.every_s", wanted.every_s, 1..=MONTH_S, "seconds");
    found.number("checkpoints.keep", wanted.keep, 1..=100, "checkpoints");
    let Some(args) = &wanted.resume_args else { return };
    if spec.trainer_kind() != TrainerKind::Command {
        found.wrong(
            "checkpoints.resume_args",
            "is for a `command` trainer only: the others continue by themselves",
        );
    }
    found.count("checkpoints.resume_args", args.len(), 0..=100, "arguments");
    for (i, arg) in args.iter().enumerate() {
        found.script(&format!("checkpoints.resume_args[{i}]"), arg, 4096);
    }
}

/// A pattern of [`matches_pattern`](crate::matches_pattern).
fn pattern(field: &str, text: &str, found: &mut Findings) {
    if text.is_empty() {
        found.wrong(field, "is empty: write a relative pattern such as `logs/*.txt`");
    } else if let Err(why) = inside(text) {
        found.wrong(
            field,
            format!("is `{}`, which {why}: write a relative pattern such as `logs/*.txt`", shown(text)),
        );
    } else if text.split('/').any(|part| part.contains("**") && part != "**") {
        found.wrong(
            field,
            format!("is `{}`: `**` stands alone between slashes, as in `**/*.txt`", shown(text)),
        );
    } else if text.contains(['[', ']', '{', '}']) {
        found.wrong(
            field,
            format!(
                "is `{}`: a pattern knows `*`, `**` and `?` only; write one pattern for each case",
                shown(text)
            ),
        );
    }
}
