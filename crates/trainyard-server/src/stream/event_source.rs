//! A job's events as server-sent events: the WebSocket's messages, with their numbers as ids, so that a client that
//! comes back goes on where it was.

use actix_web::HttpResponse;
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use trainyard_domain::{EventBody, JobId, Seq};
use trainyard_orchestrator::{EventStream, SharedEvent};

use super::{sse, text_of};
use crate::error::ApiError;
use crate::state::{AppState, StreamGuard};

/// What is ready is sent together, up to that many bytes.
const BURST_BYTES: usize = 64 * 1024;

/// Answers with the stream. A client that comes back to a job whose story it knows to the end gets 204, which tells an
/// `EventSource` to stay away.
pub(crate) async fn respond(
    state: Data<AppState>,
    id: JobId,
    last: Option<u64>,
    after: Seq,
    log: bool,
) -> Result<HttpResponse, ApiError> {
    let guard = state.open_stream()?;
    let (events, over) = state
        .call(|o| async move {
            let events = o.events(&id, Some(after)).await?;
            let view = o.job(&id).await?;
            let over =
                view.job.state().name().is_end() && view.job.state().claim().is_none() && view.seq <= after;
            Ok((events, over))
        })
        .await?;
    if over && last.is_some() {
        return Ok(HttpResponse::NoContent().finish());
    }
    let source = Source {
        events,
        log,
        heartbeat: heartbeat(&state),
        leaving: state.leaving.clone(),
        begun: false,
        ended: false,
        _open: guard,
    };
    Ok(sse::response(stream::unfold(source, |mut source| async move {
        let part = source.next().await?;
        Some((Ok(Bytes::from(part)), source))
    })))
}

/// Ticks for heartbeats.
pub(super) fn heartbeat(state: &AppState) -> Interval {
    let every = state.config.streams.heartbeat_every;
    let mut heartbeat = interval_at(Instant::now() + every, every);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

struct Source {
    events: EventStream,
    log: bool,
    heartbeat: Interval,
    leaving: watch::Receiver<bool>,
    begun: bool,
    ended: bool,
    _open: StreamGuard,
}

impl Source {
    /// What to send next; none at the end.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(sse::OPENING.to_owned());
        }
        let log = self.log;
        while !self.ended {
            let mut out = String::new();
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Ok(event)) => write(&mut out, &event, log),
                    // A client that fell behind, or whose server goes down, comes back with the last id.
                    Some(Err(_)) | None => return None,
                },
                _ = self.heartbeat.tick() => out.push_str(sse::HEARTBEAT),
                _ = self.leaving.wait_for(|leaving| *leaving) => return None,
            }
            while out.len() < BURST_BYTES {
                match self.events.next().now_or_never() {
                    None => break,
                    Some(Some(Ok(event))) => write(&mut out, &event, log),
                    Some(Some(Err(_)) | None) => {
                        self.ended = true;
                        break;
                    }
                }
            }
            if !out.is_empty() {
                return Some(out);
            }
        }
        None
    }
}

fn write(out: &mut String, event: &SharedEvent, log: bool) {
    if log || !matches!(event.event.body, EventBody::Log(_)) {
        sse::event(out, event.event.seq.0, event.event.body.kind(), text_of(event));
    }
}
