//! `POST /resources/{machine}/release`: a warm machine is given back before its time.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Answer;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::MachineWire;

/// Give a warm machine back before its time is over. It is on the ledger, with `gone_at`, once that is proven.
#[utoipa::path(
    post,
    path = "/api/training/resources/{machine}/release",
    tag = "providers",
    params(("machine" = String, Path, description = "The name of its order, or the provider's id")),
    responses((status = 202, description = "It is being given back", body = MachineWire))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let machine = request.match_info().query("machine").to_owned();
    Query::of(&request, &[])?;
    let released = state.call(|o| async move { o.release_machine(&machine).await }).await?;
    Ok(HttpResponse::Accepted().json(MachineWire::new(&released, &[], state.orchestrator.now())))
}
