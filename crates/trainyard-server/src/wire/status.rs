//! What `status`, `submit` and `cancel` answer.

use serde::Serialize;
use trainyard_domain::Reason;
use trainyard_orchestrator::{ArtifactView, Cancelled, JobView};
use utoipa::ToSchema;

use super::{ArtifactAnswer, MetricsWire, Time, word};

/// A job's status.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusAnswer {
    job_id: String,
    #[schema(example = "running")]
    state: String,
    provider: Option<String>,
    provider_job_id: Option<String>,
    /// The newest value of each metric; null where none came yet.
    current_metrics: Option<MetricsWire>,
    started_at: Option<Time>,
    /// The answer of `download-artifact`; null where there is none yet.
    artifact_info: Option<ArtifactAnswer>,
    /// Finer progress: `queued`, `ordering`, `training`, `collecting` …
    phase: Option<String>,
    phase_since: Option<Time>,
    reason: Option<ReasonWire>,
    /// 0 to 1.
    progress: Option<f64>,
    eta_s: Option<u64>,
    attempt: Option<u32>,
    exit_code: Option<i32>,
    completed_at: Option<Time>,
    cost_usd: String,
    /// The number of the job's last event.
    seq: u64,
}

/// Why something is so.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReasonWire {
    code: String,
    message: String,
    suggestion: Option<String>,
}

impl From<&Reason> for ReasonWire {
    fn from(reason: &Reason) -> Self {
        let Reason { code, message, suggestion } = reason.clone();
        ReasonWire { code, message, suggestion }
    }
}

impl StatusAnswer {
    pub(crate) fn new(view: &JobView, artifact: Option<&ArtifactView>) -> StatusAnswer {
        let status = view.job.status();
        StatusAnswer {
            job_id: view.job.id().to_string(),
            state: status.state.to_string(),
            provider: status.provider.as_ref().map(ToString::to_string),
            provider_job_id: status.provider_job_id.as_ref().map(ToString::to_string),
            current_metrics: view.current_metrics.clone().map(MetricsWire),
            started_at: status.started_at.map(Time),
            artifact_info: artifact.map(ArtifactAnswer::from),
            phase: status.phase.map(word),
            phase_since: view.job.body().phase_since.map(Time),
            reason: status.reason.as_ref().map(ReasonWire::from),
            progress: view.progress.and_then(|progress| progress.fraction),
            eta_s: view.progress.and_then(|progress| progress.eta_s),
            attempt: view.job.attempt().map(|attempt| attempt.number.get()),
            exit_code: status.exit_code,
            completed_at: status.completed_at.map(Time),
            cost_usd: super::job::shown(view.cost),
            seq: view.seq.0,
        }
    }
}

/// What a submit came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubmitAnswer {
    job_id: String,
    provider: Option<String>,
    /// Null until the provider has given one.
    provider_job_id: Option<String>,
    state: String,
    started_at: Option<Time>,
}

impl From<&JobView> for SubmitAnswer {
    fn from(view: &JobView) -> Self {
        let status = view.job.status();
        SubmitAnswer {
            job_id: view.job.id().to_string(),
            provider: status.provider.as_ref().map(ToString::to_string),
            provider_job_id: status.provider_job_id.as_ref().map(ToString::to_string),
            state: status.state.to_string(),
            started_at: status.started_at.map(Time),
        }
    }
}

/// What a cancel came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelAnswer {
    job_id: String,
    state: String,
    completed_at: Option<Time>,
    message: String,
}

impl From<Cancelled> for CancelAnswer {
    fn from(cancelled: Cancelled) -> Self {
        let status = cancelled.view.job.status();
        CancelAnswer {
            job_id: cancelled.view.job.id().to_string(),
            state: status.state.to_string(),
            completed_at: status.completed_at.map(Time),
            message: cancelled.message,
        }
    }
}
