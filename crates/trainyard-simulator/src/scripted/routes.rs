//! The agent's protocol, one arm per request.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trainyard_connector::{AgentGreeting, EventBatch};
use trainyard_domain::{AttemptNumber, JobId};

use super::agent::{Agent, FILES};
use crate::clock::Clock;
use crate::http::{Request, Response};

/// Events in one answer, unless asked for fewer.
const EVENTS_MAX: usize = 4096;
/// Longest wait of a long poll, in milliseconds; the real agent's.
const WAIT_MS_MAX: u64 = 30_000;
/// The header that says for which boot of the agent a request was made.
const BOOT_HEADER: &str = "trainyard-boot";

/// What of `start` matters to a script.
#[derive(Deserialize)]
struct StartBody {
    job_id: JobId,
    attempt: AttemptNumber,
}

impl Agent {
    /// Answers a request, its path as on the agent.
    pub(crate) async fn answer(&self, request: &Request, clock: &Clock) -> Response {
        let now = clock.now();
        if (&request.method, request.path.as_str()) == (&Method::GET, "/v1/hello") {
            return told(&AgentGreeting {
                boot_id: self.boot_id.clone(),
                time: now,
                version: "scripted".to_owned(),
                order: self.order.clone(),
            });
        }
        if request.header(BOOT_HEADER) != Some(&self.boot_id) {
            return refused(409, "boot_changed", "the request is for another boot of the agent");
        }
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "/v1/state") => told(&self.state(now)),
            (&Method::POST, "/v1/start") => match serde_json::from_slice::<StartBody>(&request.body) {
                Ok(body) => {
                    self.start(body.job_id, body.attempt, now);
                    told(&self.state(now))
                }
                Err(error) => refused(400, "invalid", &format!("the body cannot be read: {error}")),
            },
            (&Method::GET, "/v1/events") => self.events(request, clock).await,
            (&Method::GET, "/v1/log") => Response::text(200, "application/octet-stream", ""),
            (&Method::POST, "/v1/stop") => {
                self.stop(now);
                told(&json!({}))
            }
            (&Method::GET, "/v1/manifest") => told(&self.manifest(now)),
            (&Method::GET, "/v1/file") => file(request),
            (&Method::GET, "/v1/checkpoints") => told(&json!([])),
            (&Method::POST, "/v1/renew" | "/v1/release") => told(&json!({})),
            (_, path) if path.starts_with("/v1/inputs/") => told(&json!({"received": 0, "complete": true})),
            (_, path) => refused(404, "unsupported", &format!("a scripted agent has no {path}")),
        }
    }

    async fn events(&self, request: &Request, clock: &Clock) -> Response {
        let number = |name| request.parameter(name).and_then(|text| text.parse::<u64>().ok());
        let after = number("after").unwrap_or(0);
        let limit = number("limit").map_or(EVENTS_MAX, |limit| (limit as usize).clamp(1, EVENTS_MAX));
        let wait = Duration::from_millis(number("wait_ms").unwrap_or(0).min(WAIT_MS_MAX));
        let gather = Duration::from_millis(number("gather_ms").unwrap_or(0).min(WAIT_MS_MAX));
        // Nothing new within the time is an answer too.
        let came = tokio::time::timeout(wait, self.beyond(after, clock)).await.is_ok();
        if came && after > 0 && !gather.is_zero() {
            // The start is told at once, and so is the end.
            let _ = tokio::time::timeout(gather, self.over(clock)).await;
        }
        let now = clock.now();
        let (events, last) = match self.story() {
            Some(story) => (story.after(after, limit, now), story.last(now)),
            None => (Vec::new(), 0),
        };
        told(&EventBatch { boot_id: self.boot_id.clone(), events, last })
    }

    /// Waits for the end of the training.
    async fn over(&self, clock: &Clock) {
        let mut bell = self.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let Some(story) = self.story() else { return };
            tokio::select! {
                () = clock.sleep_until(story.end()) => return,
                _ = bell.changed() => {}
            }
        }
    }

    /// Waits until there is an event after that number, or there will be none any more.
    async fn beyond(&self, after: u64, clock: &Clock) {
        let mut bell = self.bell.subscribe();
        loop {
            bell.borrow_and_update();
            let next = match self.story() {
                None => None,
                Some(story) if story.last(clock.now()) > after => return,
                Some(story) => match story.next(clock.now()) {
                    Some(next) => Some(next),
                    None => return,
                },
            };
            let come = async {
                match next {
                    Some(next) => clock.sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = come => {}
                _ = bell.changed() => {}
            }
        }
    }
}

fn file(request: &Request) -> Response {
    let path = request.parameter("path").unwrap_or_default();
    let number = |name| request.parameter(name).and_then(|text| text.parse::<usize>().ok());
    match FILES.iter().find(|(known, _)| *known == path) {
        Some((_, bytes)) => {
            let from = number("offset").unwrap_or(0).min(bytes.len());
            let until = from.saturating_add(number("limit").unwrap_or(usize::MAX)).min(bytes.len());
            Response::text(200, "application/octet-stream", &bytes[from..until])
        }
        None => refused(404, "not_found", &format!("the manifest has no file `{path}`")),
    }
}

fn told(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => Response::text(200, "application/json", body),
        Err(error) => refused(500, "internal", &error.to_string()),
    }
}

fn refused(status: u16, code: &str, error: &str) -> Response {
    Response::json(status, &json!({"error": error, "code": code}))
}
