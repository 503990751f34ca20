//! One file per endpoint, each with its `handle` and its description for OpenAPI. What they share is here.

use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::JobId;
use trainyard_orchestrator::JobView;

use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{JobAnswer, StatusAnswer};

pub(crate) mod agent;
pub(crate) mod artifact_file;
pub(crate) mod cancel;
pub(crate) mod clone_job;
pub(crate) mod create_job;
pub(crate) mod delete_job;
pub(crate) mod delete_secret;
pub(crate) mod docs;
pub(crate) mod download_artifact;
pub(crate) mod estimates;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod get_job;
pub(crate) mod head_input;
pub(crate) mod healthz;
pub(crate) mod list_jobs;
pub(crate) mod list_secrets;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod notifications;
pub(crate) mod offers;
pub(crate) mod openapi_json;
pub(crate) mod patch_job;
pub(crate) mod pause;
pub(crate) mod prometheus;
pub(crate) mod providers;
pub(crate) mod put_input;
pub(crate) mod put_secret;
pub(crate) mod readyz;
pub(crate) mod release_machine;
pub(crate) mod resources;
pub(crate) mod resume;
pub(crate) mod root;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod validate;
pub(crate) mod verify_artifact;
pub(crate) mod websocket;

/// What a handler gives back.
pub(crate) type Answer = Result<HttpResponse, ApiError>;

/// A part of the path by name.
fn part<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.match_info().get(name).unwrap_or("")
}

/// The job that the path is about.
fn job_id(request: &HttpRequest) -> Result<JobId, ApiError> {
    part(request, "job_id").parse().map_err(|error: trainyard_domain::IdError| {
        ApiError::bad("invalid_job_id", "the path has no valid job_id").detail(error.to_string())
    })
}

/// A job's status as JSON.
fn status_of(state: &AppState, view: &JobView) -> StatusAnswer {
    StatusAnswer::new(view, state.orchestrator.artifact_info(view).as_ref())
}

/// Everything known of a job as JSON.
fn job_of(state: &AppState, view: &JobView) -> JobAnswer {
    JobAnswer::new(view, state.orchestrator.artifact_info(view).as_ref())
}

/// Where a job is found.
fn location(view: &JobView) -> String {
    format!("/api/training/jobs/{}", view.job.id())
}

/// Whether the client asks for an event stream.
fn wants_sse(request: &HttpRequest) -> bool {
    let accept = request.headers().get(actix_web::http::header::ACCEPT);
    accept.and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("text/event-stream"))
}
