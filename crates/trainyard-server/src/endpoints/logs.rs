//! `GET /jobs/{id}/logs`: a part by byte offset, the last lines, or followed as server-sent events.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::JobId;

use super::{Answer, job_id};
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::stream::log_follow;
use crate::wire::LogAnswer;

/// Bytes of one answer.
pub(crate) const PART_BYTES: u32 = 1024 * 1024;
/// Lines of `tail` at most.
const TAIL_MAX: u64 = 100_000;

/// A job's log. Kept after its machine is gone. With `Accept: text/plain` the bare text.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/logs",
    tag = "telemetry",
    params(
        ("job_id" = String, Path),
        ("after" = Option<u64>, Query, description = "From that byte on"),
        ("tail" = Option<u32>, Query, description = "Only the last lines"),
        ("follow" = Option<bool>, Query, description = "Server-sent events until the job has ended"),
    ),
    responses((status = 200, description = "A part of the log", content(
        (LogAnswer = "application/json"), (String = "text/plain"), (String = "text/event-stream"),
    )))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    let query = Query::of(&request, &["after", "tail", "follow"])?;
    let (after, tail) = (query.number("after", 0, u64::MAX)?, query.number("tail", 0, TAIL_MAX)?);
    if after.is_some() && tail.is_some() {
        return Err(ApiError::bad("invalid_parameter", "`after` and `tail` exclude each other"));
    }
    let from = match tail {
        Some(lines) => From::Tail(u32::try_from(lines).unwrap_or(u32::MAX)),
        None => From::Byte(after.unwrap_or(0)),
    };
    if query.flag("follow")? {
        let from = last_event_id(&request)?.map_or(from, From::Byte);
        return log_follow::respond(state, id, from).await;
    }
    let answer = read(&state, &id, from).await?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/plain")) {
        let response = HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .insert_header(("Log-Offset", answer.offset.to_string()))
            .insert_header(("Log-Next-Offset", answer.next_offset.to_string()))
            .body(answer.text);
        return Ok(response);
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    /// At a byte.
    Byte(u64),
    /// That many lines before the end.
    Tail(u32),
}

/// One part of the log.
pub(crate) async fn read(state: &AppState, id: &JobId, from: From) -> Result<LogAnswer, ApiError> {
    let id = id.clone();
    let chunk = state.call(|o| async move {
        match from {
            From::Byte(after) => o.log(&id, after, PART_BYTES).await,
            From::Tail(lines) => o.log_tail(&id, lines).await,
        }
    });
    Ok(chunk.await?.into())
}

/// Where an event stream that broke off goes on; the ids of this one are byte offsets.
fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, ApiError> {
    let Some(id) = request.headers().get("last-event-id") else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| ApiError::bad("invalid_last_event_id", "`Last-Event-ID` must be a byte offset"))
}
