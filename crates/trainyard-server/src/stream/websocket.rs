//! One WebSocket: events out, pings both ways, and a close code that says why it ended.
//!
//! Messages go into actix-ws's queue of 32; while its reader keeps up, what comes in one burst leaves in one write.
//! A reader that leaves no room for `send_max` is closed with 1013 and the last `seq` it was sent. One that does not
//! even take the close frame is dropped by the kernel (see `serve`).

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_ws::{CloseCode, CloseReason, Item, Message, MessageStream, ProtocolError, Session};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use trainyard_domain::{EventBody, JobId, Seq};
use trainyard_orchestrator::{Error, ErrorKind, EventStream, Orchestrator, SharedEvent, StreamEnd};

use super::text_of;
use crate::config::StreamLimits;
use crate::error::ApiError;
use crate::state::{AppState, StreamGuard};
use crate::wire::{self, Time};

/// How long a close frame may wait for room.
const CLOSE_SEND_MAX: Duration = Duration::from_secs(5);
/// The same, to a reader that is too slow: it is to hear why, if it begins to read again before the kernel drops it.
const CLOSE_SLOW_MAX: Duration = Duration::from_secs(20);
/// How long the peer's close frame is waited for.
const CLOSE_ANSWER_MAX: Duration = Duration::from_secs(3);

/// What a socket begins with.
pub(crate) struct Opened {
    /// All that comes after `first`.
    pub(crate) events: EventStream,
    /// The number after which they go on.
    pub(crate) from: u64,
    /// `connected`, and the current status where no number was asked for.
    pub(crate) first: Vec<String>,
}

/// Opens a job's events. Without a number: live from now, for a job that has ended its whole history.
pub(crate) async fn open(state: &AppState, id: &JobId, after: Option<u64>) -> Result<Opened, ApiError> {
    let job = id.clone();
    let (events, from, view) = state
        .call(|o| async move {
            let (events, from) = begin(&o, &job, after).await?;
            // Loaded after the stream began, so that what it shows is never older than where the stream goes on.
            Ok((events, from, o.job(&job).await?))
        })
        .await?;
    let now = Time(state.orchestrator.now());
    let attempt = view.job.attempt().map(|attempt| attempt.number.get());
    let last = events.last_seq_at_start().0;
    let mut first = vec![wire::Message::connected(id.as_str(), last, now, attempt).to_text()];
    if after.is_none() {
        first.push(wire::Message::status(&view.job.status(), from, now, attempt).to_text());
    }
    Ok(Opened { events, from, first })
}

/// The stream, and the number after which it goes on.
async fn begin(o: &Orchestrator, id: &JobId, after: Option<u64>) -> Result<(EventStream, u64), Error> {
    if let Some(after) = after {
        return Ok((o.events(id, Some(Seq(after))).await?, after));
    }
    if !o.job(id).await?.job.state().name().is_end() {
        let events = o.events(id, None).await?;
        let from = events.last_seq_at_start().0;
        return Ok((events, from));
    }
    match o.events(id, Some(Seq(0))).await {
        Ok(events) => Ok((events, 0)),
        Err(Error { kind: ErrorKind::Gone, oldest_seq: Some(oldest), .. }) => {
            let from = oldest.saturating_sub(1);
            Ok((o.events(id, Some(Seq(from))).await?, from))
        }
        Err(error) => Err(error),
    }
}

/// Why a socket ended.
enum End {
    /// The stream is over.
    Over,
    /// The job was deleted.
    Deleted,
    /// The peer said goodbye.
    Goodbye,
    /// The connection is gone, or silent for too long.
    Lost,
    /// The reader is too slow.
    Slow,
    /// The server goes down.
    Leaving,
    /// The peer broke the protocol.
    Broken(CloseCode),
    /// We failed.
    Failed,
}

/// An open WebSocket.
pub(crate) struct Socket {
    session: Session,
    messages: MessageStream,
    events: EventStream,
    limits: StreamLimits,
    leaving: watch::Receiver<bool>,
    log: bool,
    /// The last number that was sent, or skipped because it was not asked for; before the first, the reader's own.
    last: u64,
    _open: StreamGuard,
}

impl Socket {
    pub(crate) fn new(
        state: &AppState,
        session: Session,
        messages: MessageStream,
        (events, from): (EventStream, u64),
        log: bool,
        open: StreamGuard,
    ) -> Socket {
        let limits = state.config.streams;
        let messages = messages.max_frame_size(limits.frame_bytes_max);
        let leaving = state.leaving.clone();
        Socket { session, messages, events, limits, leaving, log, last: from, _open: open }
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self, first: Vec<String>) {
        let end = match self.serve(first).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let patience = if matches!(end, End::Slow) { CLOSE_SLOW_MAX } else { CLOSE_SEND_MAX };
        let (code, description) = match end {
            End::Lost => return,
            End::Over => (CloseCode::Normal, None),
            End::Deleted => (CloseCode::Normal, Some("the job was deleted".to_owned())),
            End::Goodbye => (CloseCode::Normal, None),
            End::Slow => (CloseCode::Again, Some(self.last.to_string())),
            End::Leaving => (CloseCode::Away, Some("the server is shutting down".to_owned())),
            End::Broken(code) => (code, None),
            End::Failed => (CloseCode::Error, Some("the server failed".to_owned())),
        };
        let close = self.session.close(Some(CloseReason { code, description }));
        if !matches!(timeout(patience, close).await, Ok(Ok(()))) {
            return;
        }
        // Closing the connection with something unread would take back what the peer has not read yet.
        let goodbye = async {
            while let Some(Ok(message)) = self.messages.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
        };
        let _ = timeout(CLOSE_ANSWER_MAX, goodbye).await;
    }

    async fn serve(&mut self, first: Vec<String>) -> Result<std::convert::Infallible, End> {
        for text in first {
            self.send(&text).await?;
        }
        let start = Instant::now();
        let mut ping = interval_at(start + self.limits.ping_every, self.limits.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = start;
        let mut silence = std::pin::pin!(sleep_until(start + self.limits.silence_max));
        let mut leaving = self.leaving.clone();
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Ok(event)) => self.tell(&event).await?,
                    Some(Err(StreamEnd::Lagged(_))) => return Err(End::Slow),
                    Some(Err(StreamEnd::Deleted(_))) => return Err(End::Deleted),
                    Some(Err(StreamEnd::ShuttingDown)) => return Err(End::Leaving),
                    Some(Err(StreamEnd::Storage)) => return Err(End::Failed),
                    None => return Err(End::Over),
                },
                message = self.messages.recv() => {
                    heard = Instant::now();
                    self.hear(message).await?;
                }
                _ = ping.tick() => {
                    let ping = timeout(self.limits.send_max, self.session.ping(b""));
                    sent(ping.await)?;
                }
                () = &mut silence => {
                    let until = heard + self.limits.silence_max;
                    if until <= Instant::now() {
                        return Err(End::Lost);
                    }
                    silence.as_mut().reset(until);
                }
                _ = leaving.wait_for(|leaving| *leaving) => return Err(End::Leaving),
            }
        }
    }

    async fn tell(&mut self, event: &SharedEvent) -> Result<(), End> {
        if self.log || !matches!(event.event.body, EventBody::Log(_)) {
            self.send(text_of(event)).await?;
        }
        self.last = event.event.seq.0;
        Ok(())
    }

    async fn hear(&mut self, message: Option<Result<Message, ProtocolError>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) if text.trim() == "ping" => self.send(r#"{"type":"pong"}"#).await,
            Some(Ok(Message::Ping(payload))) => {
                let pong = timeout(self.limits.send_max, self.session.pong(&payload));
                sent(pong.await)
            }
            Some(Ok(
                Message::Text(_)
                | Message::Binary(_)
                | Message::Continuation(_)
                | Message::Pong(_)
                | Message::Nop,
            )) => Ok(()),
            Some(Ok(Message::Close(_))) => Err(End::Goodbye),
            Some(Err(ProtocolError::Overflow)) => Err(End::Broken(CloseCode::Size)),
            Some(Err(ProtocolError::Io(error))) if is_overflow(&error) => Err(End::Broken(CloseCode::Size)),
            Some(Err(ProtocolError::Io(_))) | None => Err(End::Lost),
            Some(Err(_)) => Err(End::Broken(CloseCode::Protocol)),
        }
    }

    /// Sends a text; one that is larger than a frame in several frames of one message.
    async fn send(&mut self, text: &str) -> Result<(), End> {
        let (max, patience) = (self.limits.frame_bytes_max.max(1), self.limits.send_max);
        if text.len() <= max {
            return sent(timeout(patience, self.session.text(text)).await);
        }
        let count = text.len().div_ceil(max);
        for (i, part) in text.as_bytes().chunks(max).enumerate() {
            let part = Bytes::copy_from_slice(part);
            let item = match i {
                0 => Item::FirstText(part),
                i if i + 1 == count => Item::Last(part),
                _ => Item::Continue(part),
            };
            sent(timeout(patience, self.session.continuation(item)).await)?;
        }
        Ok(())
    }
}

/// Whether the frame limit cut the stream off.
fn is_overflow(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<PayloadError>());
    matches!(cause, Some(PayloadError::Overflow))
}

fn sent(result: Result<Result<(), actix_ws::Closed>, tokio::time::error::Elapsed>) -> Result<(), End> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Lost),
        Err(_) => Err(End::Slow),
    }
}
