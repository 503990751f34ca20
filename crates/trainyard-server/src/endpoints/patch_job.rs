//! `PATCH /jobs/{id}`: labels and limits.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use trainyard_orchestrator::JobPatch;

use super::{Answer, job_id, job_of};
use crate::body;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{JobAnswer, PatchRequest};

/// Replace labels; raise or lower limits while it runs.
#[utoipa::path(
    patch,
    path = "/api/training/jobs/{job_id}",
    tag = "jobs",
    params(("job_id" = String, Path)),
    request_body = PatchRequest,
    responses((status = 200, description = "The job", body = JobAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let PatchRequest { labels, limits } = body::json(&state, &request, payload).await?;
    let patch = JobPatch { labels, limits };
    let view = state.call(|o| async move { o.patch_job(&id, patch).await }).await?;
    Ok(HttpResponse::Ok().json(job_of(&state, &view)))
}
