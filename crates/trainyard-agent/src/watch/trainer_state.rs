//! `trainer_state.json`: what Hugging Face's `Trainer` writes with every checkpoint.
//!
//! Its `log_history` holds every logged point with its exact step, `global_step` and `max_steps` the progress. Each
//! entry is told once. What lay there before the training began (restored from an earlier attempt) is not told. A file
//! that is being written is not whole JSON and is read at the next look.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::Value;
use trainyard_domain::Progress;

use super::json;
use super::scan::{Found, Stamp};
use super::source::{Source, Told};

/// Largest file that is read, in bytes: about 100 000 logged points.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most changed files read at one look, the newest ones.
const FILES_MAX: usize = 8;
/// Most entries remembered; none is told beyond.
const ENTRIES_MAX: usize = 1_000_000;

/// The state files known so far.
#[derive(Debug, Default)]
pub(super) struct TrainerStates {
    stamps: HashMap<PathBuf, Stamp>,
    /// Files of earlier attempts, not read yet.
    old: Vec<PathBuf>,
    seen: HashSet<u64>,
}

impl TrainerStates {
    /// Knows what lies there before the training begins. Reads nothing yet.
    pub(super) fn new(found: &Found) -> Self {
        TrainerStates {
            stamps: found.states.iter().cloned().collect(),
            old: found.states.iter().map(|(path, _)| path.clone()).collect(),
            seen: HashSet::new(),
        }
    }

    /// Tells what is new in the files that changed.
    pub(super) fn look(&mut self, found: &Found, told: &mut Vec<Told>) {
        for path in std::mem::take(&mut self.old) {
            let state = read(&path);
            let _known = state.iter().flat_map(entries).filter(|entry| self.is_new(entry)).count();
        }
        let changed: Vec<_> =
            found.states.iter().filter(|(path, stamp)| self.stamps.get(path) != Some(stamp)).collect();
        for (path, stamp) in changed.iter().skip(changed.len().saturating_sub(FILES_MAX)) {
            let Some(state) = read(path) else { continue };
            self.stamps.insert(path.clone(), *stamp);
            self.tell(&state, told);
        }
        let there: HashSet<&PathBuf> = found.states.iter().map(|(path, _)| path).collect();
        self.stamps.retain(|path, _| there.contains(path));
    }

    fn tell(&mut self, state: &Value, told: &mut Vec<Told>) {
        for entry in entries(state) {
            if let (true, Value::Object(fields)) = (self.is_new(entry), entry) {
                told.push(Told::Point(Source::TrainerState, json::point(fields, &["total_flos"])));
            }
        }
        let count = |name| state.get(name).and_then(json::number).and_then(json::step);
        let (step, total_steps) = (count("global_step"), count("max_steps").filter(|total| *total > 0));
        if step.is_some() {
            told.push(Told::Progress(
                Source::TrainerState,
                Progress { step, total_steps, ..Progress::default() },
            ));
        }
    }

    fn is_new(&mut self, entry: &Value) -> bool {
        let mut hasher = DefaultHasher::new();
        entry.to_string().hash(&mut hasher);
        self.seen.len() < ENTRIES_MAX && self.seen.insert(hasher.finish())
    }
}

/// The step at which the checkpoint in that directory was written; `None` where its `trainer_state.json` is not whole.
pub(super) fn global_step(checkpoint: &Path) -> Option<u64> {
    json::step(json::number(read(&checkpoint.join("trainer_state.json"))?.get("global_step")?)?)
}

fn entries(state: &Value) -> impl Iterator<Item = &Value> {
    state.get("log_history").and_then(Value::as_array).into_iter().flatten()
}

fn read(path: &Path) -> Option<Value> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return None;
    }
    json::parse(&fs::read_to_string(path).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    const TWO: &str = r#"{"best_metric": null, "epoch": 0.4, "global_step": 20, "log_history": [
        {"epoch": 0.2, "grad_norm": 1.5, "learning_rate": 0.0002, "loss": 2.5, "step": 10},
        {"epoch": 0.4, "eval_loss": NaN, "eval_runtime": 3.5, "step": 20}],
        "max_steps": 50, "total_flos": 12345.0}"#;

    fn steps(told: &[Told]) -> Vec<Option<u64>> {
        told.iter()
            .filter_map(|told| if let Told::Point(_, point) = told { Some(point.step) } else { None })
            .collect()
    }

    #[test]
    fn every_entry_is_told_once_and_torn_files_wait() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().to_owned()];
        let mut states = TrainerStates::new(&scan(&roots));
        let mut look = || {
            let mut told = Vec::new();
            states.look(&scan(&roots), &mut told);
            told
        };
        assert_eq!(look(), []);
        let checkpoint = dir.path().join("run/checkpoint-20");
        fs::create_dir_all(&checkpoint).unwrap();
        fs::write(checkpoint.join("trainer_state.json"), &TWO[..100]).unwrap();
        assert_eq!(look(), []);
        fs::write(checkpoint.join("trainer_state.json"), TWO).unwrap();
        let told = look();
        assert_eq!(steps(&told), [Some(10), Some(20)]);
        assert!(told.contains(&Told::Progress(
            Source::TrainerState,
            Progress { step: Some(20), total_steps: Some(50), ..Progress::default() }
        )));
        assert_eq!(look(), []);
        let later = dir.path().join("run/checkpoint-30");
        fs::create_dir_all(&later).unwrap();
        fs::write(
            later.join("trainer_state.json"),
            TWO.replace("}],", "}, {\"loss\": 1, \"step\": 30}],").replace("NaN", "NaN  "),
        )
        .unwrap();
        assert_eq!(steps(&look()), [Some(30)]);
        assert_eq!(global_step(&later), Some(20));
    }

    #[test]
    fn what_an_earlier_attempt_left_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().to_owned()];
        let state = dir.path().join("checkpoint-20/trainer_state.json");
        fs::create_dir_all(dir.path().join("checkpoint-20")).unwrap();
        fs::write(&state, TWO).unwrap();
        let mut states = TrainerStates::new(&scan(&roots));
        let mut told = Vec::new();
        states.look(&scan(&roots), &mut told);
        assert_eq!(told, []);
        fs::create_dir_all(dir.path().join("checkpoint-30")).unwrap();
        fs::write(
            dir.path().join("checkpoint-30/trainer_state.json"),
            TWO.replace("}],", "}, {\"loss\": 1, \"step\": 30}],"),
        )
        .unwrap();
        states.look(&scan(&roots), &mut told);
        assert_eq!(steps(&told), [Some(30)]);
    }
}
