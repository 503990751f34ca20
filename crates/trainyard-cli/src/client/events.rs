//! A job's events as they happen, across cut connections and restarts of the server: none missing, none twice.

use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::{Api, JobEvent, SseConnection};
use crate::exit::{Exit, Failure};
use crate::out::note;

/// How long a server may be away before the watching ends. A restart or an update takes seconds.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Wait before the first try again.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The events of one job after a number.
pub(crate) struct EventFeed<'a> {
    api: &'a Api,
    job: &'a str,
    after: u64,
    log: bool,
    connection: Option<SseConnection>,
    away_since: Option<Instant>,
    pause: Duration,
    fruitful: bool,
    ended: bool,
}

impl<'a> EventFeed<'a> {
    /// Everything after that number, then live; with the log's text where it is wanted.
    pub(crate) fn after(api: &'a Api, job: &'a str, after: u64, log: bool) -> EventFeed<'a> {
        EventFeed {
            api,
            job,
            after,
            log,
            connection: None,
            away_since: None,
            pause: PAUSE_MIN,
            fruitful: true,
            ended: false,
        }
    }

    /// The next event; none once the job has ended and everything was told. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<JobEvent>, Failure> {
        loop {
            let Some(connection) = &mut self.connection else {
                if self.ended {
                    return Ok(None);
                }
                self.connect().await?;
                continue;
            };
            let Some(event) = connection.next().await else {
                self.connection = None;
                continue;
            };
            self.fruitful = true;
            self.pause = PAUSE_MIN;
            if let Some(event) = decode(&event.data, &event.kind).filter(|event| self.is_new(event)) {
                return Ok(Some(event));
            }
        }
    }

    /// Notes an event's number; false for one that was given before.
    fn is_new(&mut self, event: &JobEvent) -> bool {
        let Some(seq) = event.seq else { return true };
        if event.kind == "connected" {
            // It carries the last number there is, and is not itself numbered.
            return true;
        }
        if seq <= self.after {
            return false;
        }
        self.after = seq;
        self.ended |= event.ends();
        true
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if !self.fruitful {
            // A connection that brought nothing is not followed by another one at once.
            self.rest().await;
        }
        let mut request = self
            .api
            .request(Method::GET, &["jobs", self.job, "events"])
            .header(ACCEPT, "text/event-stream")
            .header("last-event-id", self.after.to_string())
            .query(&[("after", self.after)]);
        if self.log {
            request = request.query(&[("log", "true")]);
        }
        // The head comes at once; the body has no end in time.
        let answer = tokio::time::timeout(super::CALL_MAX, self.api.send(request)).await;
        match answer {
            Ok(Ok(response)) => {
                if self.away_since.take().is_some() {
                    note("the server is back");
                }
                // To a reader that comes back: nothing more will come.
                self.ended |= response.status() == StatusCode::NO_CONTENT;
                self.fruitful = false;
                self.connection = Some(SseConnection::new(response));
                Ok(())
            }
            Ok(Err(failure)) => self.after_failure(failure).await,
            Err(_) => {
                self.after_failure(Failure::new(Exit::Unreachable, "the server did not answer in time")).await
            }
        }
    }

    /// Waits before the next try, where there is to be one.
    async fn after_failure(&mut self, failure: Failure) -> Result<(), Failure> {
        if let Some(oldest) = failure.oldest_seq.filter(|oldest| *oldest > self.after + 1) {
            note(format!("events before number {oldest} are no longer kept"));
            self.after = oldest - 1;
            return Ok(());
        }
        let passing = matches!(failure.exit, Exit::Unreachable) || failure.passing;
        if !passing {
            return Err(failure);
        }
        let since = *self.away_since.get_or_insert_with(|| {
            note(format!("{}; trying again", failure.message));
            Instant::now()
        });
        if since.elapsed() > AWAY_MAX {
            return Err(failure);
        }
        self.rest().await;
        Ok(())
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// An event that is not what it should be is passed over: a newer server may send other things too.
fn decode(data: &str, kind: &str) -> Option<JobEvent> {
    let mut event: JobEvent = serde_json::from_str(data).ok()?;
    if event.kind.is_empty() {
        event.kind = kind.to_owned();
    }
    if event.data == Value::Null {
        event.data = serde_json::from_str(data).ok()?;
    }
    Some(event)
}
