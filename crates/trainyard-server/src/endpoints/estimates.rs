//! `POST /estimates`: price and time of a specification.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, create_job};
use crate::body;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::EstimatesAnswer;

/// Price and time of a specification over the configured providers.
#[utoipa::path(
    post,
    path = "/api/training/estimates",
    tag = "providers",
    request_body(content = crate::openapi::JobRequest, description = "The specification"),
    responses((status = 200, description = "One estimate per provider", body = EstimatesAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    Query::of(&request, &[])?;
    let (_, spec) = create_job::read(body::value(&state, &request, payload).await?)?;
    let estimates = state.call(|o| async move { o.estimate(&spec).await }).await?;
    Ok(HttpResponse::Ok().json(EstimatesAnswer::from(estimates)))
}
