//! `POST /jobs/{id}/exec`: a command beside the training, through the agent.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::body;
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{ExecAnswer, ExecRequest};

/// Runs a command on the machine of a job, in its training's directory and with its environment, and answers when it has
/// ended. The job's secrets are masked in what it printed.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/exec",
    tag = "jobs",
    params(("job_id" = String, Path)),
    request_body = ExecRequest,
    responses((status = 200, description = "It ended, or its time was over", body = ExecAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let ExecRequest { command, timeout_s } = body::json(&state, &request, payload).await?;
    if !(1..=60).contains(&timeout_s) {
        return Err(ApiError::bad("invalid_body", "`timeout_s` is not valid").detail("write 1 to 60 seconds"));
    }
    let within = Duration::from_secs(timeout_s);
    let done = state.call_under(&request, |o| async move { o.exec(&id, command, within).await }).await?;
    Ok(HttpResponse::Ok().json(ExecAnswer::from(done)))
}
