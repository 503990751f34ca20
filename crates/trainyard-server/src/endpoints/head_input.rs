//! `HEAD /inputs/{sha256}`: how much of an input is here.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, put_input};
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;

/// How much of an input is here: `Upload-Offset` and `Upload-Complete`.
#[utoipa::path(
    head,
    path = "/api/training/inputs/{sha256}",
    tag = "inputs",
    params(("sha256" = String, Path)),
    responses((status = 200, description = "Some or all of it is here"))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let sha = put_input::digest(&request)?;
    Query::of(&request, &[])?;
    let status = state.call(|o| async move { o.input_received(&sha).await }).await?;
    if status.received == 0 && !status.complete {
        return Err(ApiError::missing("input_not_found", "nothing of this input is here"));
    }
    let mut response = HttpResponse::Ok();
    put_input::progress(&mut response, status);
    Ok(response.finish())
}
