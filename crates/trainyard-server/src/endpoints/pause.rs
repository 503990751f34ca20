//! `POST /jobs/{id}/pause`: local only.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use trainyard_orchestrator::PauseMode;

use super::{Answer, job_id, status_of};
use crate::body;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{PauseModeWord, PauseRequest, StatusAnswer};

/// Pause a running job. Works for `local` only.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/pause",
    tag = "jobs",
    params(("job_id" = String, Path)),
    request_body(content = Option<PauseRequest>),
    responses((status = 200, description = "Paused", body = StatusAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let PauseRequest { mode } = body::json_or_default(&state, &request, payload).await?;
    let mode = match mode {
        None | Some(PauseModeWord::Signal) => PauseMode::Signal,
        Some(PauseModeWord::Checkpoint) => PauseMode::Checkpoint,
    };
    let view = state.call_under(&request, |o| async move { o.pause(&id, mode).await }).await?;
    Ok(HttpResponse::Ok().json(status_of(&state, &view)))
}
