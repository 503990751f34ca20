//! One try: bytes out, bytes in, both bounded; and whether anything may have left.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use tokio::time::{Instant, timeout_at};

use super::retry::{Outcome, retry_after};

/// A complete answer.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Complete {
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::Answered(self.status, retry_after(&self.headers))
    }
}

/// Why there is no complete answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, or no request that could be written: nothing was sent.
    #[error("nothing was sent")]
    NotSent(#[source] reqwest::Error),
    /// The connection broke after something may have been sent, before the whole answer was there.
    #[error("the connection broke")]
    Broken(#[source] reqwest::Error),
    /// The answer was not complete in time.
    #[error("there was no whole answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Failure {
    fn of(error: reqwest::Error) -> Failure {
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            Failure::NotSent(error)
        } else {
            Failure::Broken(error)
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Failure::NotSent(_) | Failure::Broken(_) => Outcome::Broken,
            Failure::TimedOut(_) => Outcome::TimedOut,
            // Repeating it would bring the same; and whoever sends that much is there.
            Failure::TooLong(_) => Outcome::Answered(200, None),
        }
    }
}

/// How an answer is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// For all of it.
    pub(super) within: Duration,
    /// Bytes.
    pub(super) bytes_max: usize,
    /// A success that falls silent for that long counts as complete, and so does one that breaks off, runs out of time
    /// or grows too long: for streams that never end. One that has not begun in time counts as an empty one (204): some
    /// vendors send not even headers before a first line.
    pub(super) silence: Option<Duration>,
}

/// Sends once and reads all of the answer.
pub(super) async fn attempt(request: RequestBuilder, how: Reading) -> Result<Complete, Failure> {
    let until = Instant::now() + how.within;
    let late = |_| Failure::TimedOut(how.within);
    let response = match timeout_at(until, request.send()).await {
        Ok(sent) => sent.map_err(Failure::of)?,
        Err(_) if how.silence.is_some() => {
            return Ok(Complete { status: 204, headers: HeaderMap::new(), body: Bytes::new() });
        }
        Err(elapsed) => return Err(late(elapsed)),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match how.silence.filter(|_| status.is_success()) {
        Some(silence) => what_came(response, how.bytes_max, until, silence).await,
        None => timeout_at(until, whole(response, how.bytes_max)).await.map_err(late)??,
    };
    Ok(Complete { status: status.as_u16(), headers, body })
}

async fn whole(mut response: Response, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = response.content_length().unwrap_or(0);
    if announced > bytes_max as u64 {
        return Err(Failure::TooLong(bytes_max));
    }
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(Failure::of)? {
        if body.len() + piece.len() > bytes_max {
            return Err(Failure::TooLong(bytes_max));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

async fn what_came(mut response: Response, bytes_max: usize, until: Instant, silence: Duration) -> Bytes {
    let mut body = BytesMut::new();
    loop {
        let quiet = (Instant::now() + silence).min(until);
        let Ok(Ok(Some(piece))) = timeout_at(quiet, response.chunk()).await else { break };
        let room = bytes_max - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == bytes_max {
            break;
        }
    }
    body.freeze()
}
