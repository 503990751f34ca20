//! Watching a training that may know nothing of us: its metrics, progress and checkpoints, and its machine.
//!
//! [`Watcher::start`] gives a handle, which takes the training's output, and a channel of events. The sources, each in
//! its own module, from the most exact: the metrics file and the file of the `Trainer` hook (`metrics_file`),
//! LLaMA-Factory's log (`trainer_log`), `trainer_state.json` (`trainer_state`), what is printed (`printed`), Transformers'
//! status callback (`status_endpoint`). `merge` alone decides which of them is believed. `checkpoints` and `machine` stand
//! beside. `run` is the task that waits for all of them.
//!
//! Promises: every line of a followed file is read once; the metrics file is read within milliseconds of the writing
//! (Linux; elsewhere 200 ms); starting costs well under a millisecond where the directories are empty; an idle training
//! costs one look at two directories a second. Nothing here reads a clock for the events, numbers or stores them.

mod changes;
mod checkpoints;
mod json;
mod look;
mod machine;
mod merge;
mod metrics_file;
mod output;
mod printed;
mod run;
mod scan;
mod source;
mod status_endpoint;
mod tail;
#[cfg(test)]
mod tests;
mod trainer_log;
mod trainer_state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use trainyard_connector::{AgentEventBody, CheckpointInfo};

pub use checkpoints::{OUTPUT_PREFIX, checkpoint_bytes, checkpoint_dir};
pub use output::{OutputFeed, OutputSink};

use changes::Changes;
use look::Look;
use metrics_file::MetricsFile;
use run::{Looking, Run, Shared};
use source::Source;
use status_endpoint::StatusEndpoint;
use tail::Tail;

/// Events that wait for the daemon; it writes each to disk before the next, so they wait seldom.
const EVENTS_MAX: usize = 256;
/// Pieces of output that wait, each at most 8 KiB.
const INPUTS_MAX: usize = 2048;

/// What is watched.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// `TRAINYARD_METRICS_FILE`. Read from its beginning; need not exist yet.
    pub metrics_file: PathBuf,
    /// The file that the hook in Hugging Face's `Trainer` writes, in the same form.
    pub hook_file: Option<PathBuf>,
    /// `TRAINYARD_OUTPUT_DIR`.
    pub output_dir: PathBuf,
    /// `TRAINYARD_CHECKPOINT_DIR`.
    pub checkpoint_dir: PathBuf,
    /// `checkpoints.pattern` of the job: `*` stands for any text within one component of the path.
    pub pattern: String,
    /// Where the token of the status endpoint is written, out of the training's own directories; none: no endpoint.
    pub token_file: Option<PathBuf>,
    /// The GPUs of the training, by index; none: all.
    pub gpus: Option<Vec<u32>>,
    /// How often the machine is sampled, first after two seconds; none: never.
    pub machine_every: Option<Duration>,
}

impl WatchConfig {
    /// The defaults: no hook, no status endpoint, `checkpoint-*`, the machine every ten seconds.
    pub fn new(metrics_file: PathBuf, output_dir: PathBuf, checkpoint_dir: PathBuf) -> Self {
        WatchConfig {
            metrics_file,
            hook_file: None,
            output_dir,
            checkpoint_dir,
            pattern: "checkpoint-*".to_owned(),
            token_file: None,
            gpus: None,
            machine_every: Some(Duration::from_secs(10)),
        }
    }
}

/// How the training ended, as far as its files are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself with exit 0: what it wrote is whole.
    Clean,
    /// Otherwise: what it wrote last may be torn.
    Broken,
}

/// What went wrong with the training's files so far, for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Problems {
    /// Lines of the metrics file that were no JSON object, longer than 64 KiB or no UTF-8.
    pub bad_lines: u64,
    /// Lines of the output with a dict in them that came too fast.
    pub lines_lost: u64,
}

/// Starts watching.
#[derive(Debug)]
pub struct Watcher;

/// The handle of a watched training. Dropped, the watching ends at once, with nothing more told.
#[derive(Debug)]
pub struct WatcherHandle {
    sink: OutputSink,
    stop: oneshot::Sender<Ending>,
    task: JoinHandle<()>,
    env: Vec<(&'static str, String)>,
}

impl Watcher {
    /// Starts watching; to be called within a tokio runtime, before the training's process is started. The receiver must
    /// be read until it gives `None`: the watcher waits for it, and so does [`WatcherHandle::finish`].
    ///
    /// Where the status endpoint cannot be had, there is none, and the other sources do without.
    pub fn start(config: &WatchConfig) -> (WatcherHandle, mpsc::Receiver<AgentEventBody>) {
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let (inputs, inputs_taken) = mpsc::channel(INPUTS_MAX);
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let look = Box::new(Look::new(config));
        *shared.checkpoints.lock().unwrap_or_else(PoisonError::into_inner) = look.checkpoints();

        let mut helpers = JoinSet::new();
        let endpoint = config.token_file.as_deref().and_then(|file| StatusEndpoint::bind(file).ok());
        let env = endpoint.as_ref().map(StatusEndpoint::env).unwrap_or_default();
        if let Some(endpoint) = endpoint {
            helpers.spawn(endpoint.serve(inputs.clone()));
        }
        if let Some(every) = config.machine_every {
            let machine =
                machine::MachineConfig { disk: config.output_dir.clone(), gpus: config.gpus.clone(), every };
            helpers.spawn(machine::run(machine, inputs.clone()));
        }

        let mut files = vec![MetricsFile::new(Source::MetricsFile, Tail::new(&config.metrics_file, 0))];
        files.extend(config.hook_file.iter().map(|file| MetricsFile::new(Source::Hook, Tail::new(file, 0))));
        let run = Run {
            out,
            inputs: inputs_taken,
            stop: stopped,
            shared: Arc::clone(&shared),
            files,
            look: Looking::Rests(look, Instant::now() + Duration::from_secs(1)),
            helpers,
            changes: Changes::new(),
            logs: BTreeMap::new(),
            merge: merge::Merge::default(),
            parser: printed::Parser::default(),
            dict_due: None,
            progress: run::ProgressGate::default(),
        };
        let task = tokio::spawn(run.run());
        (WatcherHandle { sink: OutputSink { inputs, shared }, stop, task, env }, events)
    }
}

impl WatcherHandle {
    /// Environment variables to set for the training, so that its `Trainer` posts its status. Set `NO_PROXY` to hold
    /// `127.0.0.1` too where the training has a proxy set, and `PYTHONUNBUFFERED=1`, without which printed dicts come
    /// late and with no step.
    pub fn env(&self) -> &[(&'static str, String)] {
        &self.env
    }

    /// Takes a line of output; see [`OutputSink::line`].
    pub fn line(&self, line: &str) {
        self.sink.line(line);
    }

    /// What takes the output, for whoever pumps it.
    pub fn sink(&self) -> OutputSink {
        self.sink.clone()
    }

    /// Complete checkpoints, newest last, as of the last look (at most a second or so ago).
    pub fn checkpoints(&self) -> Vec<CheckpointInfo> {
        self.sink.shared.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went wrong so far.
    pub fn problems(&self) -> Problems {
        Problems {
            bad_lines: self.sink.shared.bad_lines.load(Ordering::Relaxed),
            lines_lost: self.sink.shared.lines_lost.load(Ordering::Relaxed),
        }
    }

    /// Tells what is left and ends: to be called when no process of the training is left and all its output was taken.
    /// Everything told comes out of the receiver before its `None`; whoever awaits this must let the receiver be read
    /// meanwhile. Takes at most ten seconds plus the reader's time. Dropped halfway, the rest is still told.
    pub async fn finish(self, ending: Ending) -> Finished {
        let _gone_already = self.stop.send(ending);
        let _panicked = self.task.await;
        let shared = &self.sink.shared;
        Finished {
            checkpoints: shared.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            problems: Problems {
                bad_lines: shared.bad_lines.load(Ordering::Relaxed),
                lines_lost: shared.lines_lost.load(Ordering::Relaxed),
            },
        }
    }
}

/// What is known at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Every complete checkpoint, newest last.
    pub checkpoints: Vec<CheckpointInfo>,
    /// What went wrong.
    pub problems: Problems,
}
