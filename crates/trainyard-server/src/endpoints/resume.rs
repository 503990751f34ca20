//! `POST /jobs/{id}/resume`: local only.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id, status_of};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::StatusAnswer;

/// Let a paused job go on.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/resume",
    tag = "jobs",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "It runs", body = StatusAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let view = state.call_under(&request, |o| async move { o.resume(&id).await }).await?;
    Ok(HttpResponse::Ok().json(status_of(&state, &view)))
}
