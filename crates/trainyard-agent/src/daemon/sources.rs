//! What watches the training: its metrics, progress and checkpoints, written into the journal as they come.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use trainyard_connector::CheckpointInfo;

use super::attempt::Start;
use super::journal::Journal;
use super::layout::Layout;
use crate::watch::{Ending, OUTPUT_PREFIX, OutputFeed, OutputSink, WatchConfig, Watcher, WatcherHandle};

/// The sources of one attempt.
#[derive(Debug)]
pub(crate) struct Sources {
    sink: OutputSink,
    environment: Vec<(String, String)>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Watching(WatcherHandle, JoinHandle<()>),
    /// Every complete checkpoint.
    Finished(Vec<CheckpointInfo>),
}

impl Sources {
    /// Begins to watch, before there is a process. The directories of the attempt are there.
    pub(super) fn begin(layout: &Layout, start: &Start, journal: Arc<Journal>) -> io::Result<Sources> {
        let dir = layout.watch_dir();
        std::fs::create_dir_all(&dir)?;
        let mut config = WatchConfig::new(
            layout.metrics_file(),
            layout.output_dir(),
            layout.checkpoint_dir(&start.job_id),
        );
        config.pattern.clone_from(&start.spec.checkpoints.pattern);
        config.token_file = start.spec.trainer.hook.then(|| dir.join("status-token"));
        config.gpus.clone_from(&start.gpus);
        let (handle, mut events) = Watcher::start(&config);
        let follow = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                journal.append(event);
            }
        });
        let environment =
            handle.env().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(Sources { sink: handle.sink(), environment, state: Mutex::new(State::Watching(handle, follow)) })
    }

    /// Takes the training's output.
    pub(super) fn feed(&self) -> OutputFeed {
        self.sink.feed()
    }

    /// Variables with which programs that know nothing of us tell more. They go to our loopback port, past any proxy.
    pub(super) fn environment(&self, no_proxy: Option<&str>) -> Vec<(String, String)> {
        let mut all = self.environment.clone();
        if !all.is_empty() {
            let around = no_proxy.filter(|list| !list.is_empty()).map(|list| format!("{list},"));
            let list = format!("{}127.0.0.1", around.unwrap_or_default());
            all.push(("NO_PROXY".to_owned(), list.clone()));
            all.push(("no_proxy".to_owned(), list));
        }
        all
    }

    /// Complete checkpoints, newest last.
    pub(crate) fn checkpoints(&self) -> Vec<CheckpointInfo> {
        match &*self.lock() {
            State::Watching(handle, _) => handle.checkpoints(),
            State::Finished(checkpoints) => checkpoints.clone(),
        }
    }

    /// The newest complete one in the checkpoint directory, relative to it.
    pub(super) fn newest_checkpoint(&self) -> Option<PathBuf> {
        let kept = |info: &CheckpointInfo| !info.path.starts_with(OUTPUT_PREFIX);
        self.checkpoints().into_iter().rev().find(kept).map(|info| info.path.into())
    }

    /// Tells what is left: no process of the training is left and its output was taken. Everything is in the journal
    /// when this returns. Returns what there is to say about the files it read.
    pub(super) async fn finish(&self, clean: bool) -> Option<String> {
        let state = std::mem::replace(&mut *self.lock(), State::Finished(Vec::new()));
        let State::Watching(handle, follow) = state else { return None };
        let finished = handle.finish(if clean { Ending::Clean } else { Ending::Broken }).await;
        let _ = follow.await;
        *self.lock() = State::Finished(finished.checkpoints);
        let bad = finished.problems.bad_lines;
        (bad > 0).then(|| format!("{bad} lines of the metrics file could not be read as JSON objects"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
