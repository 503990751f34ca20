//! The task that waits for all sources and tells what they tell, in one order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use trainyard_connector::AgentEventBody;
use trainyard_domain::Progress;

use super::changes::Changes;
use super::look::{Look, Seen};
use super::merge::Merge;
use super::metrics_file::MetricsFile;
use super::printed::{Parser, Printed};
use super::source::{Source, Told};
use super::tail::Tail;
use super::trainer_log::TrainerLog;
use super::{CheckpointInfo, Ending};

/// How often the slow look happens; less often where a look takes long, so that it costs at most 2 % of a core.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SHARE: u32 = 50;
/// How long the last look may take.
const LAST_LOOK_MAX: Duration = Duration::from_secs(10);
/// How long a printed dict waits for its bar, which `tqdm` redraws in the same breath.
const DICT_WAITS: Duration = Duration::from_millis(150);
/// Progress is told at most this often; what came between is left out, the last is not.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What reaches the task from outside.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    /// A piece of the training's output.
    Segment(String),
    /// What the status endpoint and the machine's sampler tell.
    Told(Told),
}

/// What the handle can ask at any time.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) bad_lines: AtomicU64,
    pub(super) lines_lost: AtomicU64,
    pub(super) checkpoints: Mutex<Vec<CheckpointInfo>>,
}

/// The task's state.
pub(super) struct Run {
    pub(super) out: mpsc::Sender<AgentEventBody>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) stop: oneshot::Receiver<Ending>,
    pub(super) shared: Arc<Shared>,
    pub(super) files: Vec<MetricsFile>,
    pub(super) look: Looking,
    /// The status endpoint and the machine's sampler; they end with this.
    pub(super) helpers: tokio::task::JoinSet<()>,
    pub(super) changes: Changes,
    pub(super) logs: BTreeMap<PathBuf, TrainerLog>,
    pub(super) merge: Merge,
    pub(super) parser: Parser,
    pub(super) dict_due: Option<Instant>,
    pub(super) progress: ProgressGate,
}

/// The slow look: at rest until some time, under way, or given up.
pub(super) enum Looking {
    Rests(Box<Look>, Instant),
    Underway(Instant, JoinHandle<(Box<Look>, Seen)>),
    Gone,
}

/// Lets progress through at most every [`PROGRESS_EVERY`].
#[derive(Default)]
pub(super) struct ProgressGate {
    waiting: Option<Progress>,
    told_at: Option<Instant>,
}

enum Wake {
    Stop(Option<Ending>),
    Files,
    Input(Input),
    Looked(Result<(Box<Look>, Seen), JoinError>),
    Time,
}

/// Nobody listens any more.
struct Deaf;

impl Run {
    /// Runs until it is stopped, or nobody listens.
    pub(super) async fn run(mut self) {
        let _deaf = self.run_to_end().await;
        self.helpers.shutdown().await;
        // Closing an inotify descriptor waits for the kernel's readers, some 10 ms; nobody has to wait for that.
        let changes = self.changes;
        tokio::task::spawn_blocking(move || drop(changes));
    }

    async fn run_to_end(&mut self) -> Result<(), Deaf> {
        for file in &self.files {
            self.changes.follow(file.path());
        }
        self.read_files().await?;
        loop {
            match self.wait().await {
                Wake::Stop(Some(ending)) => return self.finish(ending).await,
                Wake::Stop(None) => return Ok(()),
                Wake::Files => self.read_files().await?,
                Wake::Input(input) => self.input(input).await?,
                Wake::Looked(looked) => self.looked(looked).await?,
                Wake::Time => self.time().await?,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let look_at = match &self.look {
            Looking::Rests(_, at) => Some(*at),
            Looking::Underway(..) | Looking::Gone => None,
        };
        let next = [look_at, self.dict_due, self.progress.due()].into_iter().flatten().min();
        let time = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let looking = async {
            match &mut self.look {
                Looking::Underway(_, task) => task.await,
                Looking::Rests(..) | Looking::Gone => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = &mut self.stop => Wake::Stop(ending.ok()),
            () = self.changes.changed() => Wake::Files,
            Some(input) = self.inputs.recv() => Wake::Input(input),
            looked = looking => Wake::Looked(looked),
            () = time => Wake::Time,
        }
    }

    /// Reads on in every followed file, in turns, so that none holds the others up.
    async fn read_files(&mut self) -> Result<(), Deaf> {
        loop {
            let (mut told, mut more) = (Vec::new(), false);
            for file in &mut self.files {
                more |= file.read(&mut told);
                self.shared.bad_lines.fetch_add(file.take_bad(), Ordering::Relaxed);
            }
            for log in self.logs.values_mut() {
                more |= log.read(&mut told);
            }
            self.tell_all(told).await?;
            if !more {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn input(&mut self, input: Input) -> Result<(), Deaf> {
        match input {
            Input::Told(told) => self.tell(told).await,
            Input::Segment(segment) => {
                for printed in self.parser.feed(&segment) {
                    self.printed(printed).await?;
                }
                self.dict_due = self.parser.is_waiting().then(|| Instant::now() + DICT_WAITS);
                Ok(())
            }
        }
    }

    async fn printed(&mut self, printed: Printed) -> Result<(), Deaf> {
        self.tell(match printed {
            Printed::Point(point) => Told::Point(Source::Printed, point),
            Printed::Progress(progress) => Told::Progress(Source::Printed, progress),
        })
        .await
    }

    async fn time(&mut self) -> Result<(), Deaf> {
        let now = Instant::now();
        if self.dict_due.is_some_and(|due| due <= now) {
            self.dict_due = None;
            if let Some(printed) = self.parser.flush() {
                self.printed(printed).await?;
            }
        }
        if self.progress.due().is_some_and(|due| due <= now) {
            let progress = self.progress.take(now);
            self.send(progress.map(AgentEventBody::Progress)).await?;
        }
        self.begin_look(now, None);
        Ok(())
    }

    /// Begins a slow look where one is due, or where it is the last.
    fn begin_look(&mut self, now: Instant, ending: Option<Ending>) {
        self.look = match std::mem::replace(&mut self.look, Looking::Gone) {
            Looking::Rests(mut look, due) if due <= now || ending.is_some() => {
                let task = tokio::task::spawn_blocking(move || {
                    let seen = look.look(ending);
                    (look, seen)
                });
                Looking::Underway(now, task)
            }
            other => other,
        };
    }

    async fn looked(&mut self, looked: Result<(Box<Look>, Seen), JoinError>) -> Result<(), Deaf> {
        let began = match &self.look {
            Looking::Underway(began, _) => *began,
            Looking::Rests(..) | Looking::Gone => Instant::now(),
        };
        self.look = Looking::Gone;
        let Ok((look, seen)) = looked else { return Ok(()) };
        self.look = Looking::Rests(look, Instant::now() + LOOK_EVERY.max(began.elapsed() * LOOK_SHARE));
        let mut new_logs = false;
        for (path, begin) in seen.logs {
            self.changes.follow(&path);
            new_logs |= !self.logs.contains_key(&path);
            self.logs.entry(path).or_insert_with_key(|path| TrainerLog::new(Tail::new(path, begin)));
        }
        *self.shared.checkpoints.lock().unwrap_or_else(PoisonError::into_inner) = seen.checkpoints;
        if new_logs {
            self.read_files().await?;
        }
        self.tell_all(seen.told).await
    }

    /// Tells everything that is left, the exact sources first. The training is gone: nobody writes any more.
    async fn finish(&mut self, ending: Ending) -> Result<(), Deaf> {
        self.helpers.abort_all();
        let mut told = Vec::new();
        for file in &mut self.files {
            file.read_last(&mut told);
            self.shared.bad_lines.fetch_add(file.take_bad(), Ordering::Relaxed);
        }
        self.tell_all(told).await?;
        self.last_look(ending).await?;
        let mut told = Vec::new();
        for log in self.logs.values_mut() {
            log.read_last(&mut told);
        }
        self.tell_all(told).await?;
        self.inputs.close();
        while let Some(input) = self.inputs.recv().await {
            self.input(input).await?;
        }
        if let Some(printed) = self.parser.flush() {
            self.printed(printed).await?;
        }
        let progress = self.progress.take(Instant::now());
        self.send(progress.map(AgentEventBody::Progress)).await
    }

    /// Waits for the look under way, if any, and looks once more.
    async fn last_look(&mut self, ending: Ending) -> Result<(), Deaf> {
        let deadline = Instant::now() + LAST_LOOK_MAX;
        for last in [None, Some(ending)] {
            if last.is_some() {
                self.begin_look(Instant::now(), last);
            }
            if let Looking::Underway(_, task) = &mut self.look
                && let Ok(looked) = tokio::time::timeout_at(deadline, task).await
            {
                self.looked(looked).await?;
            }
        }
        Ok(())
    }

    async fn tell_all(&mut self, told: Vec<Told>) -> Result<(), Deaf> {
        for told in told {
            self.tell(told).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, told: Told) -> Result<(), Deaf> {
        if let Told::Progress(
            Source::TrainerLog | Source::TrainerState | Source::Status,
            Progress { total_steps: Some(total), .. },
        ) = &told
        {
            self.parser.expect_total(*total);
        }
        let event = match told {
            Told::Point(source, point) => self.merge.point(source, point).map(AgentEventBody::Metrics),
            Told::Progress(source, progress) => {
                let progress = self.merge.progress(source, progress);
                progress
                    .and_then(|progress| self.progress.pass(progress, Instant::now()))
                    .map(AgentEventBody::Progress)
            }
            Told::Checkpoint(info) => Some(AgentEventBody::Checkpoint(info)),
            Told::Machine(point) => Some(AgentEventBody::Metrics(point)),
        };
        self.send(event).await
    }

    async fn send(&mut self, event: Option<AgentEventBody>) -> Result<(), Deaf> {
        match event {
            Some(event) => self.out.send(event).await.map_err(|_| Deaf),
            None => Ok(()),
        }
    }
}

impl ProgressGate {
    fn due(&self) -> Option<Instant> {
        self.waiting?;
        self.told_at.map(|at| at + PROGRESS_EVERY)
    }

    fn pass(&mut self, progress: Progress, now: Instant) -> Option<Progress> {
        self.waiting = Some(progress);
        let free = self.told_at.is_none_or(|at| at + PROGRESS_EVERY <= now);
        if free { self.take(now) } else { None }
    }

    fn take(&mut self, now: Instant) -> Option<Progress> {
        let progress = self.waiting.take()?;
        self.told_at = Some(now);
        Some(progress)
    }
}
