//! `POST /jobs/{id}/cancel`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::CancelAnswer;

/// Cancel a job: its training ends and its machine is handed back.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/cancel",
    tag = "jobs",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "Cancelled", body = CancelAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let cancelled = state.call_under(&request, |o| async move { o.cancel(&id).await }).await?;
    Ok(HttpResponse::Ok().json(CancelAnswer::from(cancelled)))
}
