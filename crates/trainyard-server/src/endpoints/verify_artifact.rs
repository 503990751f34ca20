//! `POST /jobs/{id}/verify-artifact`: hashes every stored file again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::VerifyAnswer;

/// Hash every stored file again and compare.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/verify-artifact",
    tag = "artifacts",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "What was found", body = VerifyAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let checks = state.call(|o| async move { o.verify_artifact(&id).await }).await?;
    Ok(HttpResponse::Ok().json(VerifyAnswer::from(checks)))
}
