//! `PUT /secrets/{name}`: sets a secret. It can never be read back.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::{IdError, SecretName};

use super::{Answer, part};
use crate::body;
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::SecretRequest;

/// Set or replace a secret. It is encrypted at rest and never read back.
#[utoipa::path(
    put,
    path = "/api/training/secrets/{name}",
    tag = "secrets",
    params(("name" = String, Path, description = "Also the environment variable that a training sees")),
    request_body = SecretRequest,
    responses((status = 204, description = "Set"))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let name = name(&request)?;
    Query::of(&request, &[])?;
    let SecretRequest { value } = body::json(&state, &request, payload).await?;
    state.call(|o| async move { o.set_secret(&name, value).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The secret that the path names.
pub(super) fn name(request: &HttpRequest) -> Result<SecretName, ApiError> {
    part(request, "name").parse().map_err(|error: IdError| {
        ApiError::bad("invalid_secret_name", "the path has no valid secret name").detail(error.to_string())
    })
}
