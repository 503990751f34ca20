//! `POST /jobs/{id}/download-artifact`: the artifact, verified again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::ArtifactAnswer;

/// The trained artifact: stored here and verified, once more on each call.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/download-artifact",
    tag = "artifacts",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "The artifact", body = ArtifactAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let artifact = state.call(|o| async move { o.artifact(&id).await }).await?;
    Ok(HttpResponse::Ok().json(ArtifactAnswer::from(&artifact)))
}
