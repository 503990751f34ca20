//! What commands answer with.

use std::sync::Arc;

use trainyard_connector::ConnectorInfo;
use trainyard_domain::{
    ArtifactFile, ArtifactRecord, Event, FieldError, Job, JobId, LimitsPatch, MetricPoint, Money, Progress,
    Reason, Seq, Timestamp,
};

/// A job and what is known of it beside its facts.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Moves with every fact and wish; the ground of an `ETag` together with `seq`.
    pub version: u64,
    /// The number of its last event.
    pub seq: Seq,
    /// The newest value of each training metric, with its step.
    pub current_metrics: Option<MetricPoint>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What it has cost by now; zero where nothing is paid.
    pub cost: Money,
    /// Which share of the billed time, 0 to 1, was training; none where nothing was billed.
    pub useful_share: Option<f64>,
}

/// What a submit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The job as it is now.
    pub view: JobView,
    /// It was accepted and goes on: 202 where the caller did not want to wait, else 200.
    pub under_way: bool,
}

/// What a cancel came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancelled {
    /// The job, `stopped`.
    pub view: JobView,
    /// For a person; says so where the machine's release is still being retried.
    pub message: String,
}

/// A change of a job's labels and limits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobPatch {
    /// New labels, all of them.
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    /// Limits to change; what is left out stays.
    pub limits: Option<LimitsPatch>,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Validation {
    /// What stands in the way of a submit; empty: nothing does.
    pub errors: Vec<FieldError>,
    /// What may surprise.
    pub warnings: Vec<FieldError>,
    /// What was looked at, in words: `dataset.source: 1,234 records of format messages`.
    pub checked: Vec<String>,
}

/// An artifact with the places of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct ArtifactView {
    /// What is recorded.
    pub record: ArtifactRecord,
    /// The main file.
    pub main: ArtifactFile,
    /// The main file's absolute path on this machine.
    pub path: std::path::PathBuf,
    /// The job it belongs to.
    pub job: Job,
}

/// One file of an artifact, hashed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheck {
    /// Its path within the artifact.
    pub path: String,
    /// The digest on record.
    pub expected: trainyard_domain::Sha256,
    /// The digest of the stored bytes; none where the file is missing or unreadable.
    pub actual: Option<trainyard_domain::Sha256>,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it begins.
    pub offset: u64,
    /// The bytes; may be cut within a line or a UTF-8 sequence.
    pub bytes: bytes::Bytes,
    /// Bytes stored in all.
    pub end: u64,
    /// Whether nothing will follow after `end`.
    pub complete: bool,
}

/// A provider as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderView {
    /// Its name and capabilities; none for a provider that this build knows but that is not configured.
    pub info: Option<ConnectorInfo>,
    /// Its name.
    pub name: String,
    /// Whether it can be submitted to.
    pub configured: bool,
    /// How to configure it, where it is not.
    pub how_to_configure: Option<String>,
    /// Whether it answered when it was last looked at; none where it was not looked at yet.
    pub reachable: Option<bool>,
    /// When that was.
    pub checked_at: Option<Timestamp>,
    /// What was wrong with its answer, where something was; no secret in it.
    pub error: Option<String>,
    /// Machines or slots in use, and how many there are, where the provider has a number.
    pub slots: Option<(u32, u32)>,
    /// What of ours is there and claimed by nobody, in words: machines that are being handed back, or that are only
    /// reported until `recover` has run.
    pub unclaimed: Vec<String>,
}

/// What is spent of the budgets, and what goes on costing against our will.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccountsView {
    /// The budgets, as they are configured.
    pub budgets: Vec<BudgetView>,
    /// The alarms there are now.
    pub alarms: Vec<AlarmView>,
}

/// A budget in this month.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetView {
    /// How it is called: `team:search`, or `all jobs`.
    pub name: String,
    /// The label that it pays for, name and value; none: every job.
    pub label: Option<(String, String)>,
    /// The month, UTC: `2026-01`.
    pub month: String,
    /// What may be spent in it.
    pub per_month: Money,
    /// What was spent by now.
    pub spent: Money,
    /// What was spent, and what is set aside for machines that may still be billed.
    pub committed: Money,
}

/// A machine that goes on costing though nobody needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmView {
    /// The order whose name it bears.
    pub order: trainyard_domain::OrderName,
    /// Who rents it out.
    pub provider: trainyard_domain::ProviderName,
    /// The provider's id of it.
    pub provider_job_id: Option<trainyard_domain::ProviderJobId>,
    /// What it costs per hour, where that is known.
    pub price_per_hour: Option<Money>,
    /// A stable word: `release_ignored`, `release_refused`, `unclaimed`.
    pub code: &'static str,
    /// Since when nobody needs it.
    pub since: Timestamp,
    /// How much more it has cost than was set aside for it.
    pub over: Option<Money>,
    /// For a person: what is wrong and what to do.
    pub message: String,
}

/// What a run is expected to be billed.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Seconds, the machine's coming and going and begun units of its vendor included.
    pub billed_s: u64,
    /// What they cost, with the traffic where that is charged.
    pub cost: Money,
}

/// What a specification would cost and take at one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The provider.
    pub provider: String,
    /// The cheapest offer that fits; none where nothing is rented, or none fits.
    pub offer: Option<OfferView>,
    /// Most that the limits allow it to cost on that offer; zero where nothing is paid.
    pub max_cost: Money,
    /// What its traffic may cost on top, at most; zero where traffic is free.
    pub max_traffic: Money,
    /// What a training of the length asked about is expected to be billed, as the last runs there showed.
    pub expected: Option<Expected>,
    /// Least GPU memory that the model and the method need, in GB, where that can be told.
    pub least_gpu_memory_gb: Option<u32>,
    /// Longest that the limits allow it to run, in seconds.
    pub max_duration_s: u64,
    /// Why it cannot run there, where it cannot.
    pub refused: Option<Reason>,
}

/// Which machines for rent to show. What is none is not asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferFilter {
    /// The GPU's model, in the words of `resources.gpu`; several are separated by commas.
    pub gpu: Option<String>,
    /// Least memory of each GPU, in GB.
    pub gpu_memory_gb: Option<u32>,
    /// GPUs of the machine.
    pub gpu_count: Option<u32>,
    /// Most to pay per hour.
    pub max_price: Option<Money>,
    /// The beginning of a region's name.
    pub region: Option<String>,
    /// Only such as the vendor may, or may not, take back at any time.
    pub spot: Option<bool>,
}

/// Machines for rent over all configured providers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffersView {
    /// The offers, the cheapest first.
    pub offers: Vec<OfferView>,
    /// How fresh each provider's part is.
    pub providers: Vec<OffersOf>,
}

/// One provider's part of the offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffersOf {
    /// The provider.
    pub provider: String,
    /// When its offers were read; none: never yet.
    pub as_of: Option<Timestamp>,
    /// Why they could not be read again.
    pub error: Option<String>,
}

/// A machine for rent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferView {
    /// Who rents it out.
    pub provider: String,
    /// The GPU's model, in the words of `resources.gpu`.
    pub gpu: String,
    /// Memory of each GPU, in GB.
    pub gpu_memory_gb: u32,
    /// GPUs.
    pub gpu_count: u32,
    /// The vendor's word for where it stands.
    pub region: String,
    /// Whether the vendor may take it back at any time.
    pub spot: bool,
    /// The whole machine, per hour.
    pub price_per_hour: Money,
    /// A GB of traffic on top; zero where traffic is free.
    pub traffic_per_gb: Money,
    /// How likely it is to be had: `high`, `medium`, `low`, `unknown`.
    pub stock: &'static str,
    /// Its processor: `x86_64`, `aarch64`.
    pub arch: &'static str,
}

/// A new token: shown once.
#[derive(Debug)]
pub struct NewToken {
    /// Its short id.
    pub id: String,
    /// The token itself; it cannot be had again.
    pub token: secrecy::SecretString,
}

/// An event on its way to many readers: shared, and encoded once per wire format.
#[derive(Debug)]
pub struct SharedEvent {
    /// The event.
    pub event: Event,
    /// The text of a `Log` event's range; empty for all others.
    pub log_text: String,
    /// A place for the skin to keep its encoding, so that a thousand readers cost one.
    pub wire: std::sync::OnceLock<Arc<str>>,
}

/// Why a stream of events ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamEnd {
    /// The reader is too far behind: come back with `after` the last number seen.
    #[error("the reader is too slow; the last event it got is {0}")]
    Lagged(u64),
    /// The job was deleted.
    #[error("the job `{0}` was deleted")]
    Deleted(JobId),
    /// The orchestrator goes down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Storage failed.
    #[error("the storage failed")]
    Storage,
}
