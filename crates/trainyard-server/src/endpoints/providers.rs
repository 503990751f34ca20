//! `GET /providers`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Answer;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{ProviderWire, ProvidersAnswer};

/// Each provider: configured or not, reachable or not, what it can do, how far it has been proven.
#[utoipa::path(
    get,
    path = "/api/training/providers",
    tag = "providers",
    responses((status = 200, description = "All that this build knows", body = ProvidersAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    Query::of(&request, &[])?;
    let providers = state.orchestrator.providers().into_iter().map(ProviderWire::from).collect();
    Ok(HttpResponse::Ok().json(ProvidersAnswer { providers }))
}
