//! `GET /jobs/{id}/status`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id, status_of};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::StatusAnswer;

/// Get the current status of a job.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/status",
    tag = "jobs",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "Its status", body = StatusAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let view = state.call(|o| async move { o.job(&id).await }).await?;
    Ok(HttpResponse::Ok().json(status_of(&state, &view)))
}
