//! The training's side: what our agent on a machine can be asked.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use trainyard_domain::{
    AttemptNumber, Exit, JobId, LogSpan, MetricPoint, Progress, SecretName, Sha256, Timestamp,
};

use crate::ConnectorError;

/// The training process on a machine, through our agent. Every call is bounded in time and may be repeated.
#[async_trait]
pub trait Workload: Debug + Send + Sync {
    /// The agent's unsigned greeting: which boot of it answers, and its clock.
    async fn greet(&self) -> Result<AgentGreeting, ConnectorError>;

    /// From now on calls are meant for that attempt: an agent that serves another one by then refuses what would
    /// command or read it, as one machine serves several attempts one after another. The default minds nothing.
    fn serve(&mut self, job: &JobId, attempt: AttemptNumber) {
        let _ = (job, attempt);
    }

    /// The job that this agent was told to start, as it keeps it; none where it was told nothing yet. By this a job is
    /// rebuilt whose record here is lost. The default is `Unsupported`.
    async fn job(&self) -> Result<Option<KeptJob>, ConnectorError> {
        Err(ConnectorError::refused(crate::ErrorKind::Unsupported, "this agent does not tell its job"))
    }

    /// How the training is.
    async fn state(&self) -> Result<WorkloadState, ConnectorError>;

    /// Hands over one input, from where an earlier try broke off; known by its digest, so twice is as good as once.
    async fn put_input(&self, input: &InputSource) -> Result<(), ConnectorError>;

    /// Starts the training of an attempt. An attempt that was started before is not started again: the answer is its
    /// state. Every process of an attempt before it is gone when this returns.
    async fn start(&self, order: &StartOrder) -> Result<WorkloadState, ConnectorError>;

    /// Numbered events after `after`; waits up to `wait` for the first one. In order, none missing, none twice.
    async fn events(&self, after: u64, wait: Duration) -> Result<EventBatch, ConnectorError>;

    /// The same for a follower that need not hear of each point as it comes, so that many trainings are followed with few
    /// questions: after the first event the answer waits up to `gather` for more. The start, phases and the end are
    /// told at once. The default gathers nothing.
    async fn events_gathered(
        &self,
        after: u64,
        wait: Duration,
        gather: Duration,
    ) -> Result<EventBatch, ConnectorError> {
        let _ = gather;
        self.events(after, wait).await
    }

    /// Bytes of the log from an offset, at most `limit`.
    async fn log(&self, offset: u64, limit: u32) -> Result<Bytes, ConnectorError>;

    /// Asks the training to stop (SIGTERM) and kills it with every descendant after `grace`. Returns at once; the end
    /// shows as an event.
    async fn stop(&self, grace: Duration) -> Result<(), ConnectorError>;

    /// Stops every process of the training (SIGSTOP). They are stopped when this returns.
    async fn pause(&self) -> Result<(), ConnectorError>;

    /// Lets them go on.
    async fn resume(&self) -> Result<(), ConnectorError>;

    /// What the ended training left, with the digests made on the machine. Waits for the digests up to `wait`;
    /// `None` while they are still being made.
    async fn manifest(&self, wait: Duration) -> Result<Option<Manifest>, ConnectorError>;

    /// Bytes of a file of the manifest, `offset` to at most `offset + limit`. The caller compares the digest.
    async fn file(&self, path: &str, offset: u64, limit: u64) -> Result<Bytes, ConnectorError>;

    /// Complete checkpoints, newest last.
    async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ConnectorError>;

    /// Holds a complete checkpoint as it is now, so that it can be copied while the training goes on and removes it.
    /// Waits for its digests up to `wait`; `None` while they are being made. Asked again for the same checkpoint the
    /// answer is the same; one checkpoint is held at a time, and another one takes the place of the one before.
    /// `NotFound` where there is no complete one at that path. The default is `Unsupported`.
    async fn hold_checkpoint(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Option<CheckpointManifest>, ConnectorError> {
        let _ = (path, wait);
        Err(no_checkpoints())
    }

    /// Bytes of a file of the checkpoint that is held, `offset` to at most `offset + limit`. The caller compares the
    /// digest. The default is `Unsupported`.
    async fn checkpoint_file(
        &self,
        path: &str,
        file: &str,
        offset: u64,
        limit: u64,
    ) -> Result<Bytes, ConnectorError> {
        let _ = (path, file, offset, limit);
        Err(no_checkpoints())
    }

    /// Lets go of the checkpoint that is held; none held is fine. The default is `Unsupported`.
    async fn release_checkpoint(&self, path: &str) -> Result<(), ConnectorError> {
        let _ = path;
        Err(no_checkpoints())
    }

    /// Tells the agent that the orchestrator lives, and what changed of what it goes by when nobody speaks to it.
    async fn renew(&self, renewal: &Renewal) -> Result<(), ConnectorError>;

    /// Runs a command on the machine, in the training's working directory and with its environment, whether the
    /// training still runs or has ended; not before one was started. The one call that must not be repeated after an
    /// unknown outcome. `NotFound` where there is no such program. The default is `Unsupported`.
    async fn exec(&self, order: &ExecOrder) -> Result<ExecOutput, ConnectorError> {
        let _ = order;
        let text = "commands cannot be run on this machine";
        Err(ConnectorError::refused(crate::ErrorKind::Unsupported, text))
    }

    /// Lets the agent go: it kills what is left, removes what the attempt left on its disk, and exits.
    async fn release(&self) -> Result<(), ConnectorError>;
}

fn no_checkpoints() -> ConnectorError {
    ConnectorError::refused(crate::ErrorKind::Unsupported, "checkpoints cannot be copied from this machine")
}

/// The agent's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentGreeting {
    /// Made anew at every start of the agent: a restarted agent never starts a training by itself.
    pub boot_id: String,
    /// The agent's clock; signatures are made by it.
    pub time: Timestamp,
    /// The agent's version.
    pub version: String,
    /// The order it was started for.
    pub order: String,
}

/// What an agent keeps of the job that it was told to start. It holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptJob {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The specification as it came with the start.
    pub spec: trainyard_domain::JobSpec,
    /// When it was told to start, by the agent's clock.
    pub accepted_at: Timestamp,
}

/// How the training on a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// Which boot of the agent says so.
    pub boot_id: String,
    /// The attempt it was told to start, if it was.
    pub attempt: Option<(JobId, AttemptNumber)>,
    /// How it is.
    pub training: TrainingState,
    /// The number of the last event.
    pub last_event: u64,
    /// Bytes of the log so far.
    pub log_bytes: u64,
    /// Whether the machine can remove itself when nobody speaks to it any more.
    #[serde(default)]
    pub self_removal: SelfRemovalProof,
}

/// Whether a machine was seen to be able to remove itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfRemovalProof {
    /// It has no means, or was not asked yet.
    #[default]
    None,
    /// Its reading of itself was answered.
    Proven,
    /// It was not: why, in words. It is tried all the same when the time comes.
    Failed(String),
}

/// What an agent is told while its orchestrator lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewal {
    /// For how long from now it need not worry about silence.
    pub lease: Duration,
    /// After how long from now it stops the training by itself; none: as it was told before.
    pub deadline: Option<Duration>,
    /// After how long from now the machine has to be gone (see [`StartOrder::machine_ends_s`]); none: as it was told
    /// before; [`Duration::MAX`]: no such end any more.
    pub machine_ends: Option<Duration>,
}

/// How a training is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingState {
    /// None was started by this boot of the agent.
    Idle,
    /// What it needs is being prepared (code unpacked, packages installed).
    Preparing,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// Whether it is paused.
        paused: bool,
    },
    /// It ended, and no process of it is left.
    Exited {
        /// When it began.
        started_at: Option<Timestamp>,
        /// How it ended.
        exit: Exit,
    },
}

/// One event of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// Its number, dense from 1 within one attempt.
    pub n: u64,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// What.
    pub body: AgentEventBody,
}

/// What an agent tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEventBody {
    /// A step of what comes before the training begins.
    Phase(SetupPhase),
    /// The training's process runs.
    Started,
    /// One logged point.
    Metrics(MetricPoint),
    /// How far it is.
    Progress(Progress),
    /// A range of the agent's log, on disk before this was sent.
    Log(LogSpan),
    /// A complete checkpoint appeared.
    Checkpoint(CheckpointInfo),
    /// The training ended; no process of it is left. The last event of an attempt.
    Exited(Exit),
}

impl AgentEventBody {
    /// Whether the orchestrator may have something to do because of it: it is told without waiting for more.
    pub fn is_urgent(&self) -> bool {
        match self {
            AgentEventBody::Started | AgentEventBody::Phase(_) | AgentEventBody::Exited(_) => true,
            AgentEventBody::Metrics(_)
            | AgentEventBody::Progress(_)
            | AgentEventBody::Log(_)
            | AgentEventBody::Checkpoint(_) => false,
        }
    }
}

/// What an agent does between `start` and the training. Some go on at the same time; each is told when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupPhase {
    /// Looks whether disk and GPUs of the machine are as they should be.
    Checking,
    /// Fetches what the machine fetches by itself (`https:`, `hf:`).
    Fetching,
    /// Unpacks and puts in place what was handed over.
    Unpacking,
    /// Runs the setup commands and installs packages.
    Installing,
    /// A newer agent's word.
    #[serde(other)]
    Other,
}

/// A command to run beside a training, for a person who looks into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOrder {
    /// Program and arguments; no shell is between.
    pub argv: Vec<String>,
    /// Milliseconds after which it and its descendants are killed; at most [`EXEC_WITHIN_MAX`].
    pub within_ms: u64,
}

/// Longest time of a command beside a training: below what proxies in front of agents wait for an answer.
pub const EXEC_WITHIN_MAX: Duration = Duration::from_secs(60);

/// What came of such a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    /// What it printed, both streams as they came, secrets masked; what is no UTF-8 is replaced. Of more than 1 MiB
    /// the end.
    pub output: String,
    /// Whether the beginning was left out.
    pub cut: bool,
    /// Its exit code; `128 + signal` where a signal ended it; none where its time was over.
    pub code: Option<i32>,
}

/// A run of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventBatch {
    /// Which boot of the agent says so.
    pub boot_id: String,
    /// The events, in order.
    pub events: Vec<AgentEvent>,
    /// The number of the last event there is.
    pub last: u64,
}

/// A complete checkpoint on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// Its directory, relative to the checkpoint directory.
    pub path: String,
    /// The step it was written at, where its name or `trainer_state.json` tells.
    pub step: Option<u64>,
    /// Size of all its files in bytes.
    pub size_bytes: u64,
}

/// A checkpoint that is held on a machine to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointManifest {
    /// Which one, as [`CheckpointInfo`] names it.
    pub path: String,
    /// Where the next attempt finds it, relative to its checkpoint directory.
    pub name: String,
    /// The step it was written at, where that can be told.
    pub step: Option<u64>,
    /// Every file, sorted by path, with the digests made on the machine.
    pub files: Vec<ManifestFile>,
}

/// What a training left in its output directory, after `outputs.include` and `exclude`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The attempt that left it.
    pub attempt: AttemptNumber,
    /// Every file, sorted by path.
    pub files: Vec<ManifestFile>,
    /// Names that were left out, with the reason (a link that leads outside, a device, a name that is not UTF-8).
    pub skipped: Vec<String>,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative path with `/`.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Its digest, made on the machine.
    pub sha256: Sha256,
}

/// An input to hand over: a file here with its size and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSource {
    /// Its digest, which names it on the machine.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Where it lies here.
    pub path: PathBuf,
}

/// Everything an agent needs to start a training.
///
/// It has no wire form of its own: the agent's protocol writes the secrets out by hand, in one place.
#[derive(Debug)]
pub struct StartOrder {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The specification, without secrets; written where `TRAINYARD_SPEC` points.
    pub spec: trainyard_domain::JobSpec,
    /// Secrets by the name of their environment variable. The type cannot be printed or serialised.
    pub secrets: BTreeMap<SecretName, SecretString>,
    /// Inputs handed over before, and where the training sees them.
    pub inputs: Vec<HandOver>,
    /// The checkpoint to continue from, relative to the checkpoint directory. None: the newest complete one that the
    /// machine kept for the job, if any.
    pub resume_from: Option<String>,
    /// Seconds from now after which the agent stops the training by itself; none: never.
    pub deadline_s: Option<u64>,
    /// Seconds from now after which the machine has to be gone, whatever runs on it: the end of what may be paid for
    /// it. The agent stops the training early enough for its grace, keeps the outputs until then, and has the machine
    /// removed at that time where its vendor left it the means. None: no such end.
    pub machine_ends_s: Option<u64>,
    /// GPUs of this machine it may use, by index; none: all that the machine shows.
    pub gpus: Option<Vec<u32>>,
}

/// How an input that was handed over is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Which input.
    pub sha256: Sha256,
    /// What for.
    pub purpose: HandOverPurpose,
}

/// What an input is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandOverPurpose {
    /// The dataset: a file in the input directory, its path in `TRAINYARD_DATASET`.
    Dataset,
    /// The held-out dataset: its path in `TRAINYARD_EVAL_DATASET`.
    EvalDataset,
    /// An archive to unpack as the working directory.
    Code,
    /// A file at that relative path of the input directory.
    File(String),
    /// A file of a checkpoint to continue from. One that is there under that name already is left as it is.
    Checkpoint {
        /// The checkpoint's directory, relative to the checkpoint directory.
        checkpoint: String,
        /// The file's path in it.
        path: String,
    },
}

impl HandOverPurpose {
    /// Whether an attempt is not started before that is there. Everything else may come while it is prepared.
    pub fn is_needed_to_start(&self) -> bool {
        match self {
            HandOverPurpose::Code | HandOverPurpose::Checkpoint { .. } => true,
            HandOverPurpose::Dataset | HandOverPurpose::EvalDataset | HandOverPurpose::File(_) => false,
        }
    }
}
