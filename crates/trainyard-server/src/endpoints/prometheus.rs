//! `GET /metrics`: Prometheus text.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Answer;
use crate::error::ApiError;
use crate::state::AppState;

/// Counters and gauges of the server, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, description = "Prometheus text", content_type = "text/plain", body = String))
)]
pub(crate) async fn handle(state: Data<AppState>) -> Answer {
    let handle = state.config.prometheus.as_ref();
    let handle = handle.ok_or_else(|| ApiError::missing("no_metrics", "metrics are switched off"))?;
    handle.run_upkeep();
    let response =
        HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(handle.render());
    Ok(response)
}
