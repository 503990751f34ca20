//! `GET /resources`: the ledger.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Answer;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{AlarmWire, BudgetWire, MachineWire, ResourcesAnswer};

/// The ledger: every machine ever rented, what it cost, and what proved it gone.
#[utoipa::path(
    get,
    path = "/api/training/resources",
    tag = "providers",
    responses((status = 200, description = "The machines, the newest first", body = ResourcesAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    Query::of(&request, &[])?;
    let machines = state.call(|o| async move { o.machines().await }).await?;
    let accounts = state.call(|o| async move { o.accounts().await }).await?;
    let now = state.orchestrator.now();
    let answer = ResourcesAnswer {
        installation: state.orchestrator.installation().to_string(),
        machines: machines.iter().map(|machine| MachineWire::new(machine, &accounts.alarms, now)).collect(),
        alarms: accounts.alarms.iter().map(AlarmWire::from).collect(),
        budgets: accounts.budgets.into_iter().map(BudgetWire::from).collect(),
    };
    Ok(HttpResponse::Ok().json(answer))
}
