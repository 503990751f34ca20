//! A job's log as server-sent events: what is stored, then what comes, until the job has ended. Ids are byte offsets.

use actix_web::HttpResponse;
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use tokio::sync::watch;
use tokio::time::Interval;
use trainyard_domain::JobId;
use trainyard_orchestrator::EventStream;

use super::event_source::heartbeat;
use super::sse;
use crate::endpoints::logs::{self, From};
use crate::error::ApiError;
use crate::state::{AppState, StreamGuard};
use crate::wire::LogAnswer;

/// Answers with the stream: `event: log` with a part each, at the end one `event: end`.
pub(crate) async fn respond(state: Data<AppState>, id: JobId, from: From) -> Result<HttpResponse, ApiError> {
    let guard = state.open_stream()?;
    // The bell is hung up before the log is read, so that nothing comes unheard between.
    let job = id.clone();
    let events = state.call(|o| async move { o.events(&job, None).await }).await?;
    let first = logs::read(&state, &id, from).await?;
    let follower = Follower {
        heartbeat: heartbeat(&state),
        leaving: state.leaving.clone(),
        state,
        id,
        events,
        next: first.next_offset,
        ready: Some(first),
        over: false,
        done: false,
        _open: guard,
    };
    Ok(sse::response(stream::unfold(follower, |mut follower| async move {
        let part = follower.next().await?;
        Some((Ok(Bytes::from(part)), follower))
    })))
}

struct Follower {
    state: Data<AppState>,
    id: JobId,
    events: EventStream,
    heartbeat: Interval,
    leaving: watch::Receiver<bool>,
    /// Where the next part begins.
    next: u64,
    /// A part that was read and not sent.
    ready: Option<LogAnswer>,
    /// Nothing more will come; what is stored is still to be read.
    over: bool,
    done: bool,
    _open: StreamGuard,
}

impl Follower {
    /// What to send next; none at the end.
    async fn next(&mut self) -> Option<String> {
        while !self.done {
            if let Some(part) = self.ready.take() {
                let whole = part.next_offset >= part.size || part.next_offset == part.offset;
                if part.next_offset > part.offset {
                    if !whole {
                        self.ready = Some(self.read(part.next_offset).await?);
                    }
                    return Some(written(&part, "log"));
                }
            }
            if self.over {
                self.done = true;
                let end = LogAnswer {
                    text: String::new(),
                    offset: self.next,
                    next_offset: self.next,
                    size: self.next,
                    complete: true,
                };
                return Some(written(&end, "end"));
            }
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return None,
                    None => self.over = true,
                },
                _ = self.heartbeat.tick() => return Some(sse::HEARTBEAT.to_owned()),
                _ = self.leaving.wait_for(|leaving| *leaving) => return None,
            }
            // However many events there are, the log is read once.
            while !self.over
                && let Some(event) = self.events.next().now_or_never()
            {
                match event {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return None,
                    None => self.over = true,
                }
            }
            self.ready = Some(self.read(self.next).await?);
        }
        None
    }

    async fn read(&mut self, from: u64) -> Option<LogAnswer> {
        let part = logs::read(&self.state, &self.id, From::Byte(from)).await.ok()?;
        self.next = part.next_offset;
        Some(part)
    }
}

fn written(part: &LogAnswer, kind: &str) -> String {
    let mut out = String::new();
    let data = serde_json::to_string(part).unwrap_or_default();
    sse::event(&mut out, part.next_offset, kind, &data);
    out
}
