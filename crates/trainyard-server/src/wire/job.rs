//! Jobs: everything known of one, and the list.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use trainyard_domain::{Attempt, Diagnosis, Limits, Money, Wish};
use trainyard_orchestrator::{ArtifactView, JobView};
use trainyard_storage::{JobPage, JobRow};
use utoipa::ToSchema;

use super::{ArtifactAnswer, MetricsWire, ReasonWire, Time, word};

/// Everything known of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobAnswer {
    job_id: String,
    state: String,
    phase: Option<String>,
    phase_since: Option<Time>,
    reason: Option<ReasonWire>,
    provider: Option<String>,
    provider_job_id: Option<String>,
    labels: BTreeMap<String, String>,
    created_at: Time,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    exit_code: Option<i32>,
    /// Whether somebody asked it to stop.
    stopping: bool,
    current_metrics: Option<MetricsWire>,
    progress: Option<f64>,
    eta_s: Option<u64>,
    /// The limits in force: the specification's, or as changed since.
    #[schema(value_type = Object)]
    limits: Limits,
    attempts: Vec<AttemptWire>,
    cost: CostWire,
    /// Which share of the billed time, 0 to 1, was training; null where nothing was billed.
    useful_share: Option<f64>,
    artifact: Option<ArtifactAnswer>,
    /// The job it was cloned from.
    origin: Option<OriginWire>,
    /// What was asked for, defaults filled in.
    #[schema(value_type = Object)]
    specification: serde_json::Value,
    version: u64,
    seq: u64,
}

/// Digits after the point of an amount that is shown: a millionth of a dollar. Sums are kept exact.
const SHOWN_DIGITS: u32 = 6;

/// An amount as it is shown.
pub(crate) fn shown(money: Money) -> String {
    // As it was written where nothing has to be rounded: `2.50`.
    let exact = money.decimal().scale() <= SHOWN_DIGITS;
    if exact { money.to_string() } else { money.rounded(SHOWN_DIGITS).to_string() }
}

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostWire {
    /// A decimal string, to the millionth.
    #[schema(example = "2.50")]
    amount: String,
    currency: &'static str,
}

impl From<Money> for CostWire {
    fn from(money: Money) -> Self {
        CostWire { amount: shown(money), currency: "USD" }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct OriginWire {
    job_id: String,
    /// It starts from that job's last checkpoint; left out where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    from_checkpoint: bool,
}

/// One attempt: an order, its machine, its end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptWire {
    attempt: u32,
    provider: String,
    /// The exact name of its order.
    order: String,
    /// The provider's id of the machine.
    provider_job_id: Option<String>,
    /// Price at purchase; null where nothing is paid.
    price_per_hour: Option<CostWire>,
    ordered_at: Time,
    placed_at: Option<Time>,
    started_at: Option<Time>,
    ended_at: Option<Time>,
    /// When its machine was proven gone.
    gone_at: Option<Time>,
    /// Until when it was billed; null while it may be.
    billed_until: Option<Time>,
    /// It took over a machine that another job kept warm, instead of ordering one.
    adopted: bool,
    /// The job that took its machine over; null where none did.
    passed_on_to: Option<String>,
    /// The offer that was ordered; null where there was none to choose from.
    offer: Option<TakenWire>,
    /// Its phases, each with the moment it began and the seconds since the order.
    phases: Vec<PhaseWire>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// What the machine had to say about the end.
    note: Option<String>,
    /// Why a training that failed did so, where its log or its own last word tells.
    diagnosis: Option<DiagnosisWire>,
    /// The last lines of the log of one that failed.
    last_lines: Vec<String>,
    /// Why it ended.
    reason: Option<ReasonWire>,
    /// The checkpoint it was handed to continue from; left out where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<ResumedWire>,
}

/// A checkpoint that an attempt continued from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResumedWire {
    checkpoint: String,
    step: Option<u64>,
}

/// An offer that was ordered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TakenWire {
    gpu: String,
    gpu_memory_gb: u32,
    gpu_count: u32,
    region: String,
    spot: bool,
}

/// A phase of an attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PhaseWire {
    phase: String,
    at: Time,
    /// Seconds from the order to its beginning.
    after_s: f64,
}

/// Why a training failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiagnosisWire {
    /// A stable word: `gpu_out_of_memory`, `package_missing`.
    code: String,
    cause: String,
    remedy: String,
}

impl From<&Diagnosis> for DiagnosisWire {
    fn from(told: &Diagnosis) -> Self {
        DiagnosisWire { code: told.code.clone(), cause: told.cause.clone(), remedy: told.remedy.clone() }
    }
}

impl From<&Attempt> for AttemptWire {
    fn from(attempt: &Attempt) -> Self {
        let exit = attempt.exit.as_ref();
        AttemptWire {
            attempt: attempt.number.get(),
            provider: attempt.provider.to_string(),
            order: attempt.order.to_string(),
            provider_job_id: attempt.machine.as_ref().map(ToString::to_string),
            price_per_hour: attempt.price_per_hour.map(CostWire::from),
            ordered_at: attempt.ordered_at.into(),
            placed_at: attempt.placed_at.map(Time),
            started_at: attempt.started_at.map(Time),
            ended_at: attempt.ended_at.map(Time),
            gone_at: attempt.gone_at.map(Time),
            billed_until: attempt.billed_until().map(Time),
            adopted: attempt.adopted,
            passed_on_to: attempt.passed_on.as_ref().map(|passed_on| passed_on.to.to_string()),
            offer: attempt.offer.as_ref().map(|offer| TakenWire {
                gpu: offer.gpu.clone(),
                gpu_memory_gb: offer.gpu_memory_gb,
                gpu_count: offer.gpu_count,
                region: offer.region.clone(),
                spot: offer.spot,
            }),
            phases: attempt
                .phases
                .iter()
                .map(|(phase, at)| PhaseWire {
                    phase: word(phase),
                    at: Time(*at),
                    after_s: (*at - attempt.ordered_at).num_milliseconds().max(0) as f64 / 1000.0,
                })
                .collect(),
            exit_code: exit.map(|exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            note: exit.and_then(|exit| exit.note.clone()),
            diagnosis: exit.and_then(|exit| exit.diagnosis.as_deref()).map(DiagnosisWire::from),
            last_lines: exit.map(|exit| exit.last_lines.clone()).unwrap_or_default(),
            reason: attempt.end.as_ref().map(ReasonWire::from),
            resumed_from: attempt
                .resumed_from
                .as_ref()
                .map(|from| ResumedWire { checkpoint: from.checkpoint.clone(), step: from.step }),
        }
    }
}

impl JobAnswer {
    pub(crate) fn new(view: &JobView, artifact: Option<&ArtifactView>) -> JobAnswer {
        let (job, body, status) = (&view.job, view.job.body(), view.job.status());
        JobAnswer {
            job_id: job.id().to_string(),
            state: status.state.to_string(),
            phase: status.phase.map(word),
            phase_since: body.phase_since.map(Time),
            reason: status.reason.as_ref().map(ReasonWire::from),
            provider: status.provider.as_ref().map(ToString::to_string),
            provider_job_id: status.provider_job_id.as_ref().map(ToString::to_string),
            labels: body.labels.clone(),
            created_at: body.created_at.into(),
            started_at: status.started_at.map(Time),
            completed_at: status.completed_at.map(Time),
            exit_code: status.exit_code,
            stopping: matches!(job.wish(), Wish::Stop(_)) && !status.state.is_end(),
            current_metrics: view.current_metrics.clone().map(MetricsWire),
            progress: view.progress.and_then(|progress| progress.fraction),
            eta_s: view.progress.and_then(|progress| progress.eta_s),
            limits: job.limits().clone(),
            attempts: job.attempts().iter().map(AttemptWire::from).collect(),
            cost: view.cost.into(),
            useful_share: view.useful_share,
            artifact: artifact.map(ArtifactAnswer::from),
            origin: body.origin.as_ref().map(|origin| OriginWire {
                job_id: origin.job_id.to_string(),
                from_checkpoint: origin.from_checkpoint,
            }),
            specification: serde_json::to_value(&**job.spec()).unwrap_or_default(),
            version: view.version,
            seq: view.seq.0,
        }
    }
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobsAnswer {
    jobs: Vec<JobRowWire>,
    /// How many match in all.
    total: u64,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

/// A job as a list shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobRowWire {
    job_id: String,
    state: String,
    provider: Option<String>,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    created_at: Time,
    model_name: String,
    labels: BTreeMap<String, String>,
}

impl From<JobRow> for JobRowWire {
    fn from(row: JobRow) -> Self {
        JobRowWire {
            job_id: row.id.into(),
            state: row.state.to_string(),
            provider: row.provider.map(String::from),
            started_at: row.started_at.map(Time),
            completed_at: row.completed_at.map(Time),
            created_at: row.created_at.into(),
            model_name: row.model_name,
            labels: row.labels,
        }
    }
}

impl From<JobPage> for JobsAnswer {
    fn from(page: JobPage) -> Self {
        JobsAnswer {
            jobs: page.jobs.into_iter().map(JobRowWire::from).collect(),
            total: page.total,
            next_cursor: page.next.map(cursor_of),
        }
    }
}

/// The opaque cursor of a position in the list.
pub(crate) fn cursor_of(before: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("before:{before}"))
}

/// The position of a cursor that we gave out.
pub(crate) fn cursor_from(cursor: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("before:")?.parse().ok()
}
