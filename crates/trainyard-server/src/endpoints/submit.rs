//! `POST /jobs/{id}/submit`: to a provider, with a bounded wait.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::body;
use crate::prefer::Prefer;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{SubmitAnswer, SubmitRequest};

/// Submit a job to a provider. Answers when it runs or has ended, or after a bounded wait with its true state.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/submit",
    tag = "jobs",
    params(
        ("job_id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=N` seconds, at most 60; `respond-async`"),
    ),
    request_body = SubmitRequest,
    responses(
        (status = 200, description = "Submitted", body = SubmitAnswer),
        (status = 202, description = "Accepted, with `Prefer: respond-async`", body = SubmitAnswer),
    )
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let SubmitRequest { provider, machine } = body::json(&state, &request, payload).await?;
    let prefer = Prefer::of(request.headers());
    let submit = |o: trainyard_orchestrator::Orchestrator| async move {
        o.submit(&id, &provider, machine.as_deref(), prefer.wait).await
    };
    let submitted = state.call_under(&request, submit).await?;
    let mut response = match prefer.respond_async && submitted.under_way {
        true => HttpResponse::Accepted(),
        false => HttpResponse::Ok(),
    };
    if let Some(applied) = prefer.applied() {
        response.insert_header(("Preference-Applied", applied));
    }
    Ok(response.json(SubmitAnswer::from(&submitted.view)))
}
