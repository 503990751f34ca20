//! What watches the training: its metrics, progress and checkpoints, written into the journal as they come.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trainyard_connector::{AgentEventBody, CheckpointInfo, KeptJob};
use trainyard_domain::JobSpec;

use super::attempt::Start;
use super::journal::Journal;
use super::keep;
use super::layout::Layout;
use crate::watch::{
    Ending, OUTPUT_PREFIX, OutputFeed, OutputSink, WatchConfig, Watcher, WatcherHandle, checkpoint_dir,
};

/// What the hook writes into, beside its directory.
const HOOK_FILE: &str = "hook.jsonl";
/// The callback for Hugging Face's `Trainer`, as Python imports it by itself.
const HOOK: &str = include_str!("../../hook/sitecustomize.py");

/// The sources of one attempt.
#[derive(Debug)]
pub(crate) struct Sources {
    sink: OutputSink,
    environment: Vec<(String, String)>,
    /// The directory with the hook in it.
    hook: Option<PathBuf>,
    config: WatchConfig,
    state: Mutex<State>,
}

/// What the sources of a training that ended tell of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What there is to say about the files that were read.
    pub(super) note: Option<String>,
    /// The last `loss`, whatever number it is.
    pub(super) loss: Option<f64>,
}

#[derive(Debug)]
enum State {
    Watching(WatcherHandle, JoinHandle<Option<f64>>),
    /// Every complete checkpoint.
    Finished(Vec<CheckpointInfo>),
}

impl Sources {
    /// Begins to watch, before there is a process. The directories of the attempt are there.
    pub(super) fn begin(layout: &Layout, start: &Start, journal: Arc<Journal>) -> io::Result<Sources> {
        let dir = layout.watch_dir();
        std::fs::create_dir_all(&dir)?;
        let checkpoints = layout.checkpoint_dir(&start.job_id);
        let mut config = config_of(layout, checkpoints, &start.spec);
        config.gpus.clone_from(&start.gpus);
        let hook = if start.spec.trainer.hook { Some(place_hook(&dir)?) } else { None };
        if hook.is_some() {
            config.token_file = Some(dir.join("status-token"));
            config.hook_file = Some(dir.join(HOOK_FILE));
        }
        let (handle, events) = Watcher::start(&config);
        let (saved, keep) = (layout.saved_dir(&start.job_id), start.spec.checkpoints.keep as usize);
        let follow = tokio::spawn(follow(events, journal, Saver { config: config.clone(), saved, keep }));
        let environment =
            handle.env().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let sink = handle.sink();
        Ok(Sources { sink, environment, hook, config, state: Mutex::new(State::Watching(handle, follow)) })
    }

    /// Those of an attempt that ended before this agent was started.
    pub(super) fn ended(layout: &Layout, kept: &KeptJob, checkpoints: Vec<CheckpointInfo>) -> Sources {
        Sources {
            sink: OutputSink::closed(),
            environment: Vec::new(),
            hook: None,
            config: config_of(layout, layout.checkpoint_dir(&kept.job_id), &kept.spec),
            state: Mutex::new(State::Finished(checkpoints)),
        }
    }

    /// Takes the training's output.
    pub(super) fn feed(&self) -> OutputFeed {
        self.sink.feed()
    }

    /// Variables with which programs that know nothing of us tell more, given those that the training has already.
    /// What they tell goes to our loopback port, past any proxy.
    pub(super) fn environment(&self, given: &[(String, String)]) -> Vec<(String, String)> {
        let has =
            |name: &str| given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let mut all = self.environment.clone();
        if !all.is_empty() {
            let around = has("no_proxy").or_else(|| has("NO_PROXY")).filter(|list| !list.is_empty());
            let list = around.map_or_else(|| "127.0.0.1".to_owned(), |list| format!("{list},127.0.0.1"));
            all.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), list.clone())));
        }
        if let Some(hook) = &self.hook {
            let mut path = hook.to_string_lossy().into_owned();
            if let Some(more) = has("PYTHONPATH").filter(|more| !more.is_empty()) {
                path.push(':');
                path.push_str(more);
            }
            let file = hook.with_file_name(HOOK_FILE).to_string_lossy().into_owned();
            all.extend([("PYTHONPATH".to_owned(), path), ("TRAINYARD_HOOK_FILE".to_owned(), file)]);
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

    /// Where a complete checkpoint stands, and where the next attempt finds it.
    pub(super) fn whereabouts(&self, path: &str) -> (PathBuf, String) {
        let name = path.strip_prefix(OUTPUT_PREFIX);
        let name = name.map_or_else(|| path.to_owned(), |name| saved_name(&self.config, name).to_owned());
        (checkpoint_dir(&self.config, path), name)
    }

    /// The newest complete one in the checkpoint directory, relative to it.
    pub(super) fn newest_checkpoint(&self) -> Option<PathBuf> {
        let kept = |info: &CheckpointInfo| !info.path.starts_with(OUTPUT_PREFIX);
        self.checkpoints().into_iter().rev().find(kept).map(|info| info.path.into())
    }

    /// Patterns of the complete ones that lie deeper in the output directory than the job's own patterns reach.
    pub(super) fn nested_in_output(&self) -> Vec<String> {
        let all = self.checkpoints();
        let inside = all.iter().filter_map(|info| info.path.strip_prefix(OUTPUT_PREFIX));
        inside.filter(|path| path.contains('/')).map(|path| format!("{path}/**")).collect()
    }

    /// Tells what is left: no process of the training is left and its output was taken. Everything is in the journal
    /// when this returns.
    pub(super) async fn finish(&self, clean: bool) -> Told {
        let state = std::mem::replace(&mut *self.lock(), State::Finished(Vec::new()));
        let State::Watching(handle, follow) = state else { return Told::default() };
        let finished = handle.finish(if clean { Ending::Clean } else { Ending::Broken }).await;
        let loss = follow.await.unwrap_or_default();
        *self.lock() = State::Finished(finished.checkpoints);
        let bad = finished.problems.bad_lines;
        let note =
            (bad > 0).then(|| format!("{bad} lines of the metrics file could not be read as JSON objects"));
        Told { note, loss }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config_of(layout: &Layout, checkpoints: PathBuf, spec: &JobSpec) -> WatchConfig {
    let mut config = WatchConfig::new(layout.metrics_file(), layout.output_dir(), checkpoints);
    config.pattern.clone_from(&spec.checkpoints.pattern);
    config
}

/// Puts the hook into a directory of its own.
fn place_hook(dir: &Path) -> io::Result<PathBuf> {
    let hook = dir.join("hook");
    std::fs::create_dir_all(&hook)?;
    std::fs::write(hook.join("sitecustomize.py"), HOOK)?;
    Ok(hook)
}

/// Writes what is told into the journal, and saves checkpoints that would go with the output directory. Gives the last
/// loss.
async fn follow(
    mut events: mpsc::Receiver<AgentEventBody>,
    journal: Arc<Journal>,
    saver: Saver,
) -> Option<f64> {
    let saver = Arc::new(saver);
    let mut loss = None;
    while let Some(event) = events.recv().await {
        if let AgentEventBody::Checkpoint(info) = &event
            && let Some(name) = info.path.strip_prefix(OUTPUT_PREFIX)
        {
            let (saver, path, name) = (Arc::clone(&saver), info.path.clone(), name.to_owned());
            let saved = tokio::task::spawn_blocking(move || saver.save(&path, &name)).await;
            if let Ok(Err(error)) = saved {
                super::complain(&format!("the checkpoint {} could not be saved: {error}", info.path));
            }
        }
        if let AgentEventBody::Metrics(point) = &event {
            loss = point.get("loss").or(loss);
        }
        journal.append(event);
    }
    loss
}

/// Where checkpoints of the output directory are saved, and how many.
struct Saver {
    config: WatchConfig,
    saved: PathBuf,
    keep: usize,
}

impl Saver {
    fn save(&self, path: &str, name: &str) -> io::Result<()> {
        let name = saved_name(&self.config, name);
        keep::save(&checkpoint_dir(&self.config, path), &self.saved, name, self.keep)
    }
}

/// The name in the checkpoint directory of one among the outputs: a directory that the trainer made above it is of no
/// use to the next attempt.
fn saved_name<'a>(config: &WatchConfig, name: &'a str) -> &'a str {
    let nested = !config.pattern.contains('/');
    name.rsplit('/').next().filter(|_| nested).unwrap_or(name)
}
