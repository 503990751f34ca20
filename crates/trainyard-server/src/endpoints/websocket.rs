//! `GET /ws/training/jobs/{id}`: the job's messages as they come. What can be refused is refused before the upgrade.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, rt};

use super::{Answer, job_id};
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::stream::frame_limit;
use crate::stream::websocket::{self, Socket};

/// The subprotocol that we speak; the other one that a client may offer bears its token.
const PROTOCOL: &str = "trainyard.v1";

/// Follow a job over a WebSocket: `connected`, `status`, `metrics`, `progress`, `notification`, and `log` where asked.
#[utoipa::path(
    get,
    path = "/ws/training/jobs/{job_id}",
    tag = "telemetry",
    params(
        ("job_id" = String, Path),
        ("after" = Option<u64>, Query, description = "Replay from after that event, then live"),
        ("log" = Option<bool>, Query, description = "With the log"),
    ),
    responses(
        (status = 101, description = "Switching to a WebSocket; each text is a message", body = crate::wire::Message),
        (status = 410, description = "Events that old are not kept any more", body = crate::wire::ErrorBody),
        (status = 426, description = "Not a WebSocket request", body = crate::wire::ErrorBody),
    )
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    let query = Query::of(&request, &["after", "log"])?;
    let (after, log) = (query.number("after", 0, u64::MAX)?, query.flag("log")?);
    let guard = state.open_stream()?;
    let opened = websocket::open(&state, &id, after).await?;
    let asks = request.headers().contains_key(header::UPGRADE);
    let payload = frame_limit::limited(&request, payload, state.config.streams.frame_bytes_max)
        .await
        .map_err(|_| ApiError::internal())?;
    let (response, session, messages) = actix_ws::handle_with_protocols(&request, payload, &[PROTOCOL])
        .map_err(|error| no_handshake(asks, &error.to_string()))?;
    let websocket::Opened { events, from, first } = opened;
    let socket = Socket::new(&state, session, messages, (events, from), log, guard);
    rt::spawn(socket.run(first));
    Ok(response)
}

fn no_handshake(asks: bool, why: &str) -> ApiError {
    let status = if asks { StatusCode::BAD_REQUEST } else { StatusCode::UPGRADE_REQUIRED };
    ApiError::new(status, "not_a_websocket", "this path takes WebSocket connections only")
        .detail(why)
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
}
