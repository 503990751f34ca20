//! `POST /jobs/{id}/validate`: every check that costs nothing.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::body;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{ValidateAnswer, ValidateRequest};

/// Make every check that costs nothing, before any is paid.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/validate",
    tag = "jobs",
    params(("job_id" = String, Path)),
    request_body(content = Option<ValidateRequest>),
    responses((status = 200, description = "What was found", body = ValidateAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let ValidateRequest { provider } = body::json_or_default(&state, &request, payload).await?;
    let found = state.call(|o| async move { o.validate(&id, provider.as_deref()).await }).await?;
    Ok(HttpResponse::Ok().json(ValidateAnswer::from(found)))
}
