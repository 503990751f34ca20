//! `GET /secrets`: the names.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Answer;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{SecretWire, SecretsAnswer};

/// The names of all secrets.
#[utoipa::path(
    get,
    path = "/api/training/secrets",
    tag = "secrets",
    responses((status = 200, description = "The names, sorted", body = SecretsAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    Query::of(&request, &[])?;
    let names = state.call(|o| async move { o.secrets().await }).await?;
    let secrets = names.into_iter().map(|(name, at)| SecretWire { name: name.into(), updated_at: at.into() });
    Ok(HttpResponse::Ok().json(SecretsAnswer { secrets: secrets.collect() }))
}
