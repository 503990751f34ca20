//! `DELETE /jobs/{id}`: forgets a job and its files.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::query::Query;
use crate::state::AppState;

/// Forget a `created` or ended job and its files.
#[utoipa::path(
    delete,
    path = "/api/training/jobs/{job_id}",
    tag = "jobs",
    params(
        ("job_id" = String, Path),
        ("keep_artifact" = Option<bool>, Query, description = "Leave its artifact where it is"),
    ),
    responses((status = 204, description = "Forgotten"))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    let keep_artifact = Query::of(&request, &["keep_artifact"])?.flag("keep_artifact")?;
    state.call(|o| async move { o.delete_job(&id, keep_artifact).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}
