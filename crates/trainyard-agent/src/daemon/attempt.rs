//! One attempt as the rest of the agent sees it: what it is told and how it is. What happens inside is `supervise`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot, watch};
use trainyard_connector::{AgentEventBody, HandOver, HandOverPurpose, KeptJob, Manifest, TrainingState};
use trainyard_domain::{AttemptNumber, JobId, JobSpec, Limits, SecretName};

use super::agent::Agent;
use super::ended::Ended;
use super::hold::Hold;
use super::journal::Journal;
use super::layout::Layout;
use super::output::{Masker, Output};
use super::place;
use super::refusal::Refusal;
use super::sources::Sources;
use super::supervise;
use crate::protocol::StartBody;

/// Requests of a training that wait for it to take them up; more than a caller has open at once.
const ASKS: usize = 64;
/// Stopping or continuing every process is over within this time.
const PAUSE_WITHIN: Duration = Duration::from_secs(5);

/// What an attempt is started with.
pub(crate) struct Start {
    pub(crate) job_id: JobId,
    pub(crate) attempt: AttemptNumber,
    pub(crate) spec: JobSpec,
    pub(crate) secrets: BTreeMap<SecretName, SecretString>,
    pub(crate) inputs: Vec<HandOver>,
    pub(crate) resume_from: Option<String>,
    pub(crate) deadline_s: Option<u64>,
    pub(crate) machine_ends_s: Option<u64>,
    pub(crate) gpus: Option<Vec<u32>>,
}

impl From<StartBody> for Start {
    fn from(body: StartBody) -> Start {
        let secrets = body.secrets.into_iter().map(|(name, value)| (name, SecretString::from(value)));
        Start {
            job_id: body.job_id,
            attempt: body.attempt,
            spec: body.spec,
            secrets: secrets.collect(),
            inputs: body.inputs,
            resume_from: body.resume_from,
            deadline_s: body.deadline_s,
            machine_ends_s: body.machine_ends_s,
            gpus: body.gpus,
        }
    }
}

impl Start {
    /// What can be refused before anything is done.
    pub(crate) fn check(&self, layout: &Layout) -> Result<(), Refusal> {
        for input in &self.inputs {
            // What the training reads may come while packages are installed; the code is what is installed.
            if input.purpose.is_needed_to_start() && !layout.input(&input.sha256).is_file() {
                let text = format!("the input {} was not handed over", input.sha256);
                return Err(Refusal::new(StatusCode::CONFLICT, "input_missing", text));
            }
            let paths = match &input.purpose {
                HandOverPurpose::File(path) => vec![path],
                HandOverPurpose::Checkpoint { checkpoint, path } => vec![checkpoint, path],
                HandOverPurpose::Code | HandOverPurpose::Dataset | HandOverPurpose::EvalDataset => Vec::new(),
            };
            if let Some(path) = paths.into_iter().find(|path| place::inside(path).is_none()) {
                return Err(Refusal::invalid(format!("the input path `{path}` leads outside")));
            }
        }
        let inside = |path: &Option<String>| path.as_deref().is_none_or(|path| place::inside(path).is_some());
        if !inside(&self.resume_from) {
            return Err(Refusal::invalid("`resume_from` leads outside the checkpoint directory"));
        }
        Ok(())
    }
}

/// Why a training is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// By its owner.
    Asked,
    /// Its time is over.
    Deadline,
    /// Nobody has called for too long.
    Silence,
    /// What may be spent on the machine is used up.
    Budget,
    /// Another attempt is started here.
    Replaced,
    /// The agent is released.
    Released,
    /// The agent was told to end by a signal.
    AgentEnds,
}

impl Why {
    /// What is said beside the exit code; nothing where the caller knows.
    pub(crate) fn note(self) -> Option<&'static str> {
        match self {
            Why::Asked => None,
            Why::Deadline => Some("stopped by the agent at the deadline"),
            Why::Silence => Some("stopped by the agent because the orchestrator was silent"),
            Why::Budget => Some("stopped by the agent before the end of its budget"),
            Why::Replaced => Some("ended because another attempt was started on this machine"),
            Why::Released => Some("ended because the agent was released"),
            Why::AgentEnds => Some("ended because the agent was told to end by a signal"),
        }
    }
}

/// What a training is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// SIGTERM, and everything is killed after the grace.
    Stop { grace: Duration, why: Why },
    /// SIGSTOP to all; answered when they are stopped.
    Pause(oneshot::Sender<Result<(), Refusal>>),
    /// The deadline is that long from now.
    Extend(Duration),
    /// SIGCONT to all.
    Resume(oneshot::Sender<Result<(), Refusal>>),
}

/// Where a training works and with what environment: what a command beside it gets too.
pub(crate) struct Desk {
    pub(crate) directory: String,
    pub(crate) environment: Vec<(String, String)>,
    /// Not to be shown.
    pub(crate) secrets: Vec<SecretString>,
}

/// The manifest of an ended attempt, or why there is none.
pub(crate) type Made = Option<Result<Arc<Manifest>, String>>;

/// One attempt.
pub(crate) struct Attempt {
    kept: KeptJob,
    journal: Arc<Journal>,
    output: Arc<Output>,
    sources: Arc<Sources>,
    asks: mpsc::Sender<Ask>,
    state: watch::Sender<TrainingState>,
    manifest: watch::Sender<Made>,
    /// When it ended, by the clock that only goes forward.
    ended: Mutex<Option<Instant>>,
    desk: Mutex<Option<Arc<Desk>>>,
    hold: Hold,
    /// Set when nobody will ask for its manifest.
    abandoned: AtomicBool,
    /// Set with the first request to stop, for what happens before there is a process to stop.
    stopping: AtomicBool,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("job", &self.kept.job_id)
            .field("number", &self.kept.attempt)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// Clears the directories of what was before and lets the attempt run.
    pub(super) fn begin(agent: &Arc<Agent>, start: Start) -> Result<Arc<Attempt>, Refusal> {
        let broken =
            |error: std::io::Error| Refusal::broken("the attempt's directory could not be made", &error);
        let layout = agent.layout();
        layout.begin(&start.job_id).map_err(broken)?;
        let journal = Arc::new(Journal::create(&layout.events()).map_err(broken)?);
        let masker = Masker::new(start.secrets.values().map(ExposeSecret::expose_secret));
        let output = Output::create(&layout.log(), masker, Arc::clone(&journal)).map_err(broken)?;
        let sources = Sources::begin(layout, &start, Arc::clone(&journal)).map_err(broken)?;
        let (asks, asked) = mpsc::channel(ASKS);
        let attempt = Arc::new(Attempt {
            kept: KeptJob {
                job_id: start.job_id.clone(),
                attempt: start.attempt,
                spec: start.spec.clone(),
                accepted_at: crate::clock::now(),
            },
            journal,
            output: Arc::new(output),
            sources: Arc::new(sources),
            asks,
            state: watch::Sender::new(TrainingState::Preparing),
            manifest: watch::Sender::new(None),
            ended: Mutex::new(None),
            desk: Mutex::new(None),
            hold: Hold::new(layout.hold_dir()),
            abandoned: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        // Owned by the attempt: it ends with the training, and whoever needs that awaits `exited`.
        tokio::spawn(supervise::run(Arc::clone(agent), Arc::clone(&attempt), start, asked));
        Ok(attempt)
    }

    /// The attempt that another boot of the agent served to its end; none where there is none that can be served. To be
    /// called within the runtime. Blocks for as long as reading its events takes.
    pub(super) fn restore(layout: &Layout) -> Option<Arc<Attempt>> {
        let (ended, manifest) = Ended::read(layout)?;
        let exit = ended.exit()?.clone();
        let opened = Journal::open(&layout.events()).map(Arc::new).and_then(|journal| {
            Output::open(&layout.log(), Arc::clone(&journal)).map(|output| (journal, output))
        });
        let (journal, output) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                super::complain(&format!("the end of the training before cannot be served: {error}"));
                return None;
            }
        };
        if !journal.is_ended() {
            journal.append(AgentEventBody::Exited(exit.clone()));
        }
        let ago = (crate::clock::now() - exit.at).to_std().unwrap_or_default();
        let (asks, _nobody) = mpsc::channel(ASKS);
        let attempt = Arc::new(Attempt {
            sources: Arc::new(Sources::ended(layout, &ended.kept, ended.checkpoints)),
            kept: ended.kept,
            journal,
            output: Arc::new(output),
            asks,
            state: watch::Sender::new(ended.training),
            manifest: watch::Sender::new(None),
            ended: Mutex::new(Instant::now().checked_sub(ago).or_else(|| Some(Instant::now()))),
            desk: Mutex::new(None),
            hold: Hold::new(layout.hold_dir()),
            abandoned: AtomicBool::new(false),
            stopping: AtomicBool::new(true),
        });
        match manifest {
            Some(manifest) => attempt.set_manifest(Ok(manifest)),
            None => {
                // Owned by the attempt: whoever abandons it waits for the manifest.
                tokio::spawn(supervise::make_manifest(layout.clone(), Arc::clone(&attempt), ended.outputs));
            }
        }
        Some(attempt)
    }

    pub(crate) fn job(&self) -> &JobId {
        &self.kept.job_id
    }

    pub(crate) fn number(&self) -> AttemptNumber {
        self.kept.attempt
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.kept.spec.limits
    }

    /// What a job is rebuilt from whose record at the orchestrator is lost.
    pub(crate) fn kept(&self) -> &KeptJob {
        &self.kept
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    pub(crate) fn output(&self) -> &Arc<Output> {
        &self.output
    }

    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// The checkpoint that is held while it is copied.
    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    pub(crate) fn state(&self) -> TrainingState {
        self.state.borrow().clone()
    }

    pub(super) fn set_state(&self, state: TrainingState) {
        if matches!(state, TrainingState::Exited { .. }) {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.get_or_insert_with(Instant::now);
        }
        self.state.send_replace(state);
    }

    pub(super) fn set_manifest(&self, made: Result<Manifest, String>) {
        self.manifest.send_replace(Some(made.map(Arc::new)));
    }

    /// How long ago it ended; nothing while it did not.
    pub(super) fn ended_ago(&self) -> Duration {
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Where it works; none before that is ready.
    pub(super) fn desk(&self) -> Option<Arc<Desk>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_desk(&self, desk: Desk) {
        *self.desk.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(desk));
    }

    /// Seen by what makes the manifest.
    pub(super) fn abandoned(&self) -> &AtomicBool {
        &self.abandoned
    }

    /// Seen by what prepares.
    pub(super) fn stopping(&self) -> &AtomicBool {
        &self.stopping
    }

    /// Resolves when no process of it is left.
    pub(crate) async fn exited(&self) {
        let mut state = self.state.subscribe();
        // The sender is `self`: it cannot be gone.
        let _ = state.wait_for(|state| matches!(state, TrainingState::Exited { .. })).await;
    }

    /// What it left is of no use any more. Resolves when its files are not read any more.
    pub(crate) async fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.hold.let_go(None).await;
        let mut manifest = self.manifest.subscribe();
        let _ = manifest.wait_for(Option::is_some).await;
    }

    /// Asks it to stop. Returns at once; ended already is fine.
    pub(crate) fn stop(&self, grace: Duration, why: Why) {
        self.stopping.store(true, Ordering::SeqCst);
        // A full queue holds another request to stop, or is taken up in a moment by one that ended.
        let _ = self.asks.try_send(Ask::Stop { grace, why });
    }

    /// Moves the deadline, to that long from now.
    pub(crate) fn extend(&self, deadline: Duration) {
        // A full queue, or an attempt that has ended: it is told again, or there is nothing to move.
        let _ = self.asks.try_send(Ask::Extend(deadline));
    }

    pub(crate) async fn pause(&self) -> Result<(), Refusal> {
        self.ask(Ask::Pause).await
    }

    pub(crate) async fn resume(&self) -> Result<(), Refusal> {
        self.ask(Ask::Resume).await
    }

    async fn ask(&self, make: fn(oneshot::Sender<Result<(), Refusal>>) -> Ask) -> Result<(), Refusal> {
        if !matches!(self.state(), TrainingState::Running { .. }) {
            return Err(Refusal::state("the training does not run"));
        }
        let (reply, answer) = oneshot::channel();
        let ended = || Refusal::state("the training ended meanwhile");
        self.asks.send(make(reply)).await.map_err(|_| ended())?;
        match tokio::time::timeout(PAUSE_WITHIN, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(error) => Err(Refusal::broken("the processes did not take the signal in time", &error)),
        }
    }

    /// The manifest, waited for; `None` while it is being made.
    pub(crate) async fn manifest(&self, wait: Duration) -> Result<Option<Arc<Manifest>>, Refusal> {
        let mut manifest = self.manifest.subscribe();
        let _ = tokio::time::timeout(wait, manifest.wait_for(Option::is_some)).await;
        let made = manifest.borrow().clone();
        made.transpose().map_err(|error| Refusal::broken("the outputs could not be read", &error))
    }
}
