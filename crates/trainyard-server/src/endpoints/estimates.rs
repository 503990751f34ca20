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
    params(("training_s" = Option<u64>, Query, description = "How long the training is expected to take, in seconds: then `expected` is told")),
    request_body(content = crate::openapi::JobRequest, description = "The specification"),
    responses((status = 200, description = "One estimate per provider", body = EstimatesAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let query = Query::of(&request, &["training_s"])?;
    let training_s = query.number("training_s", 1, 10 * 366 * 86_400)?;
    let (_, spec) = create_job::read(body::value(&state, &request, payload).await?)?;
    let estimates = state.call(|o| async move { o.estimate(&spec, training_s).await }).await?;
    Ok(HttpResponse::Ok().json(EstimatesAnswer::from(estimates)))
}
