//! `GET /jobs/{id}/ssh`: where a person reaches the job's machine.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::SshAnswer;

/// Where a person reaches the machine of a job by SSH. No key is told.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/ssh",
    tag = "jobs",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "Host, port, user and host keys", body = SshAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let target = state.call(|o| async move { o.ssh(&id).await }).await?;
    let target = target.ok_or_else(|| {
        ApiError::bad("no_address", "the machine has no address yet").detail("ask again in a minute")
    })?;
    Ok(HttpResponse::Ok().json(SshAnswer::from(target)))
}
