//! The slow look, once a second: checkpoints, `trainer_state.json`, new `trainer_log.jsonl`. Off the async threads.

use std::collections::HashMap;
use std::path::PathBuf;

use super::checkpoints::Checkpoints;
use super::scan::{Found, is_empty, scan};
use super::source::Told;
use super::trainer_state::TrainerStates;
use super::{CheckpointInfo, Ending, WatchConfig};

/// Most trainer logs followed.
const LOGS_MAX: usize = 8;

/// What is looked at, and what was there before the training.
#[derive(Debug)]
pub(super) struct Look {
    roots: Vec<PathBuf>,
    states: TrainerStates,
    checkpoints: Checkpoints,
    /// The logs known, and where the training's own part of each begins.
    logs: HashMap<PathBuf, u64>,
}

/// What one look gave.
#[derive(Debug)]
pub(super) struct Seen {
    /// What is new.
    pub(super) told: Vec<Told>,
    /// Every trainer log there is, and where to begin to read it.
    pub(super) logs: Vec<(PathBuf, u64)>,
    /// Every complete checkpoint, newest last.
    pub(super) checkpoints: Vec<CheckpointInfo>,
}

impl Look {
    /// Knows what lies there before the training begins: a few microseconds where the directories are empty.
    pub(super) fn new(config: &WatchConfig) -> Self {
        let mut roots = vec![config.output_dir.clone()];
        if !config.checkpoint_dir.starts_with(&config.output_dir) {
            roots.push(config.checkpoint_dir.clone());
        }
        let empty = is_empty(&config.output_dir) && is_empty(&config.checkpoint_dir);
        let before = if empty { Found::default() } else { scan(&roots) };
        let logs = before.logs.iter().map(|(path, stamp)| (path.clone(), stamp.len)).collect();
        Look { roots, states: TrainerStates::new(&before), checkpoints: Checkpoints::new(config), logs }
    }

    /// Every complete checkpoint, newest last.
    pub(super) fn checkpoints(&self) -> Vec<CheckpointInfo> {
        self.checkpoints.complete()
    }

    /// Looks; `ending` says that nobody writes any more.
    pub(super) fn look(&mut self, ending: Option<Ending>) -> Seen {
        let found = scan(&self.roots);
        let mut told = Vec::new();
        self.states.look(&found, &mut told);
        told.extend(self.checkpoints.look(ending).into_iter().map(Told::Checkpoint));
        let logs = found.logs.into_iter().take(LOGS_MAX);
        let logs = logs.map(|(path, _)| {
            let begin = self.logs.get(&path).copied().unwrap_or(0);
            (path, begin)
        });
        Seen { told, logs: logs.collect(), checkpoints: self.checkpoints.complete() }
    }
}
