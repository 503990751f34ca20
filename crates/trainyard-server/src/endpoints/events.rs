//! `GET /jobs/{id}/events`: the numbered history, as a JSON page or as server-sent events.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::{EventBody, JobId, Seq};

use super::{Answer, job_id, wants_sse};
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::stream::event_source;
use crate::wire::{EventsAnswer, Message};

/// Events on a page unless told.
const LIMIT: u64 = 100;
/// Events on a page at most.
const LIMIT_MAX: u64 = 1000;

/// A job's numbered history. With `Accept: text/event-stream` it goes on live until the job has ended.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/events",
    tag = "telemetry",
    params(
        ("job_id" = String, Path),
        ("after" = Option<u64>, Query, description = "Only events after that number"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100; for a JSON page"),
        ("log" = Option<bool>, Query, description = "With the log's text"),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, for an event stream"),
    ),
    responses(
        (status = 200, description = "A page, or the stream", content(
            (EventsAnswer = "application/json"), (String = "text/event-stream"),
        )),
        (status = 204, description = "To a returning event stream: nothing more will come"),
        (status = 410, description = "Events that old are not kept any more", body = crate::wire::ErrorBody),
    )
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    let query = Query::of(&request, &["after", "limit", "log"])?;
    let after = query.number("after", 0, u64::MAX)?;
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
    let log = query.flag("log")?;
    if wants_sse(&request) {
        let last = last_event_id(&request)?;
        return event_source::respond(state, id, last, Seq(last.or(after).unwrap_or(0)), log).await;
    }
    page(&state, id, Seq(after.unwrap_or(0)), limit as usize, log).await
}

async fn page(state: &AppState, id: JobId, after: Seq, limit: usize, log: bool) -> Answer {
    let job_id = id.to_string();
    let (page, texts) = state
        .call(|o| async move {
            let page = o.event_page(&id, after, limit).await?;
            let has_log = page.events.iter().any(|event| matches!(event.body, EventBody::Log(_)));
            let texts = if log && has_log { o.shared_events(&id, after, limit).await? } else { Vec::new() };
            Ok((page, texts))
        })
        .await?;
    let next_after = page.events.last().map_or(after, |event| event.seq);
    let text_of = |seq: Seq| {
        let found = texts.binary_search_by_key(&seq, |shared| shared.event.seq);
        found.map_or("", |i| texts[i].log_text.as_str())
    };
    let shown = page.events.iter().filter(|event| log || !matches!(event.body, EventBody::Log(_)));
    let answer = EventsAnswer {
        job_id,
        events: shown.map(|event| Message::of(event, text_of(event.seq))).collect(),
        next_after: next_after.0,
        last_seq: page.last.0,
        oldest_seq: page.oldest.0,
        more: next_after < page.last,
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// Where an event stream that broke off goes on.
fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, ApiError> {
    let Some(id) = request.headers().get("last-event-id") else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| ApiError::bad("invalid_last_event_id", "`Last-Event-ID` must be an event's number"))
}
