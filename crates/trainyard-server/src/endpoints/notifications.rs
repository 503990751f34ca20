//! `GET /jobs/{id}/notifications`: the milestones.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id};
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{NotificationWire, NotificationsAnswer};

/// A job's milestones.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/notifications",
    tag = "telemetry",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "The milestones, the first first", body = NotificationsAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let job_id = id.to_string();
    let events = state.call(|o| async move { o.notifications(&id).await }).await?;
    let notifications = events.iter().filter_map(NotificationWire::of).collect();
    Ok(HttpResponse::Ok().json(NotificationsAnswer { job_id, notifications }))
}
