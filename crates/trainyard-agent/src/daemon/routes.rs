//! One arm per request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::CONTENT_RANGE;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use trainyard_connector::TrainingState;
use trainyard_domain::Sha256;

use super::agent::Agent;
use super::attempt::{Start, Why};
use super::exec::exec;
use super::inputs::{self, Part};
use super::manifest;
use super::refusal::Refusal;
use crate::protocol::{
    ANSWER_BYTES_MAX, ATTEMPT_QUERY, CODE_OTHER_ATTEMPT, HoldBody, ReleaseBody, RenewBody, StartBody,
    StopBody, WAIT_MS_MAX, attempt_word,
};

/// Events in one answer, unless asked for fewer.
const EVENTS_MAX: usize = 4096;
/// Longest grace, so that a mistake in units does not keep a machine for years.
const GRACE_MS_MAX: u64 = 24 * 3_600_000;

/// What is answered.
pub(super) enum Answer {
    /// A JSON document.
    Json(Bytes),
    /// Bytes as they are.
    Bytes(Bytes),
}

/// The unsigned greeting.
pub(super) fn hello(agent: &Agent) -> Result<Answer, Refusal> {
    json(&agent.greeting())
}

/// A signed request.
pub(super) async fn route(agent: &Arc<Agent>, head: &Parts, body: Bytes) -> Result<Answer, Refusal> {
    let query = Query(head.uri.query().unwrap_or_default());
    let Some(path) = head.uri.path().strip_prefix("/v1/") else { return Err(unknown(head)) };
    meant_for_current(agent, path, &query)?;
    match (&head.method, path) {
        (&Method::GET, "state") => json(&agent.state()),
        (&Method::POST, "start") => {
            let body: StartBody = parse(&body)?;
            json(&agent.start(Start::from(body)).await?)
        }
        (&Method::GET, "job") => json(&agent.current().map(|attempt| attempt.kept().clone())),
        (&Method::GET, "events") => events(agent, &query).await,
        (&Method::GET, "log") => log(agent, &query).await,
        (&Method::POST, "stop") => {
            let body: StopBody = parse(&body)?;
            agent.attempt()?.stop(Duration::from_millis(body.grace_ms.min(GRACE_MS_MAX)), Why::Asked);
            nothing()
        }
        (&Method::POST, "exec") => json(&exec(agent, parse(&body)?).await?),
        (&Method::POST, "pause") => agent.attempt()?.pause().await.and_then(|()| nothing()),
        (&Method::POST, "resume") => agent.attempt()?.resume().await.and_then(|()| nothing()),
        (&Method::GET, "manifest") => {
            let manifest = agent.attempt()?.manifest(query.wait()?).await?;
            json(&manifest.as_deref())
        }
        (&Method::GET, "file") => file(agent, &query).await,
        (&Method::GET, "checkpoints") => json(&agent.attempt()?.sources().checkpoints()),
        (&Method::POST, "checkpoints/hold") => {
            let HoldBody { path, wait_ms } = parse(&body)?;
            let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
            let attempt = agent.attempt()?;
            json(&attempt.hold().hold(attempt.sources(), &path, wait).await?.as_deref())
        }
        (&Method::GET, "checkpoints/file") => checkpoint_file(agent, &query).await,
        (&Method::POST, "checkpoints/release") => {
            let ReleaseBody { path } = parse(&body)?;
            agent.attempt()?.hold().let_go(Some(&path)).await;
            nothing()
        }
        (&Method::POST, "renew") => {
            let body: RenewBody = parse(&body)?;
            agent.renew(Duration::from_millis(body.lease_ms));
            if let Some(deadline) = body.deadline_ms {
                agent.attempt()?.extend(Duration::from_millis(deadline));
            }
            if let Some(ends) = body.machine_ends_ms {
                agent.machine_ends_in(Duration::from_millis(ends));
            }
            nothing()
        }
        (&Method::POST, "release") => agent.release().await.and_then(|()| nothing()),
        (method, path) => match path.strip_prefix("inputs/") {
            Some(digest) => input(agent, method, digest, head, body).await,
            None => Err(unknown(head)),
        },
    }
}

/// What commands or reads an attempt is refused where another one is served by now: whoever spoke to the one before,
/// and is late, neither stops nor reads this one.
fn meant_for_current(agent: &Agent, path: &str, query: &Query<'_>) -> Result<(), Refusal> {
    let of_machine = ["state", "job", "start", "release"].contains(&path) || path.starts_with("inputs/");
    let Some(meant) = query.raw(ATTEMPT_QUERY).filter(|_| !of_machine) else { return Ok(()) };
    match agent.current() {
        Some(now) if attempt_word(now.job(), now.number()) != meant => {
            let text = "another attempt runs on this machine by now";
            Err(Refusal::new(StatusCode::CONFLICT, CODE_OTHER_ATTEMPT, text))
        }
        Some(_) | None => Ok(()),
    }
}

async fn events(agent: &Agent, query: &Query<'_>) -> Result<Answer, Refusal> {
    let after = query.number("after")?.unwrap_or(0);
    let limit = query.number("limit")?.map_or(EVENTS_MAX, |limit| (limit as usize).clamp(1, EVENTS_MAX));
    let (wait, gather) = (query.wait()?, query.duration("gather_ms")?);
    let mut leaving = agent.leaving();
    let (lines, last) = match agent.current_within(wait).await {
        Some(attempt) => {
            if !matches!(attempt.state(), TrainingState::Exited { .. }) {
                tokio::select! {
                    () = attempt.journal().wait(after, wait, gather) => {}
                    _ = leaving.wait_for(|leaving| *leaving) => {}
                }
            }
            attempt.journal().after(after, limit).map_err(|error| Refusal::broken("events", &error))?
        }
        None => (Vec::new(), 0),
    };
    // The lines are JSON already: they are not parsed to be written again.
    let events = lines.join(",");
    let text = format!(r#"{{"boot_id":"{}","events":[{events}],"last":{last}}}"#, agent.boot_id());
    Ok(Answer::Json(text.into()))
}

async fn log(agent: &Agent, query: &Query<'_>) -> Result<Answer, Refusal> {
    let offset = query.number("offset")?.unwrap_or(0);
    let limit = query.number("limit")?.unwrap_or(ANSWER_BYTES_MAX).min(ANSWER_BYTES_MAX);
    let attempt = agent.attempt()?;
    // Only what an event may have told of: a write under way is not shown half.
    let there = attempt.output().bytes().saturating_sub(offset).min(limit);
    let broken = |error: std::io::Error| Refusal::broken("the log could not be read", &error);
    let mut file = tokio::fs::File::open(agent.layout().log()).await.map_err(broken)?;
    file.seek(std::io::SeekFrom::Start(offset)).await.map_err(broken)?;
    let mut bytes = Vec::with_capacity(there as usize);
    file.take(there).read_to_end(&mut bytes).await.map_err(broken)?;
    Ok(Answer::Bytes(bytes.into()))
}

async fn file(agent: &Agent, query: &Query<'_>) -> Result<Answer, Refusal> {
    let path = query.text("path")?.ok_or_else(|| Refusal::invalid("`path` is missing"))?;
    let offset = query.number("offset")?.unwrap_or(0);
    let limit = query.number("limit")?.unwrap_or(ANSWER_BYTES_MAX).min(ANSWER_BYTES_MAX);
    let made = agent.attempt()?.manifest(Duration::ZERO).await?;
    let manifest = made.ok_or_else(|| Refusal::state("there is no manifest yet"))?;
    // Only what the manifest names: that is inside and a plain file.
    if manifest.files.binary_search_by(|file| file.path.as_str().cmp(&path)).is_err() {
        return Err(Refusal::not_found(format!("the manifest has no file `{path}`")));
    }
    let dir = agent.layout().output_dir();
    let read = tokio::task::spawn_blocking(move || manifest::read(&dir, &path, offset, limit)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Answer::Bytes(bytes.into())),
        Ok(Err(error)) => Err(Refusal::broken("the file could not be read", &error)),
        Err(error) => Err(Refusal::broken("the file could not be read", &error)),
    }
}

async fn checkpoint_file(agent: &Agent, query: &Query<'_>) -> Result<Answer, Refusal> {
    let named =
        |name: &str| query.text(name)?.ok_or_else(|| Refusal::invalid(format!("`{name}` is missing")));
    let (path, file) = (named("path")?, named("file")?);
    let offset = query.number("offset")?.unwrap_or(0);
    let limit = query.number("limit")?.unwrap_or(ANSWER_BYTES_MAX).min(ANSWER_BYTES_MAX);
    let dir = agent.attempt()?.hold().dir_of(&path, &file).await?;
    let read = tokio::task::spawn_blocking(move || manifest::read(&dir, &file, offset, limit)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Answer::Bytes(bytes.into())),
        Ok(Err(error)) => Err(Refusal::broken("the checkpoint could not be read", &error)),
        Err(error) => Err(Refusal::broken("the checkpoint could not be read", &error)),
    }
}

async fn input(
    agent: &Agent,
    method: &Method,
    digest: &str,
    head: &Parts,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let digest: Sha256 = digest.parse().map_err(|_| Refusal::invalid("an input is named by its SHA-256"))?;
    if method == Method::GET {
        return json(&inputs::state(agent.layout(), &digest));
    }
    if method != Method::PUT {
        return Err(unknown(head));
    }
    let range = head.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let part =
        range.and_then(Part::parse).ok_or_else(|| Refusal::invalid("`Content-Range` is missing or wrong"))?;
    let (layout, place) = (agent.layout().clone(), agent.taking_inputs().await);
    let put = tokio::task::spawn_blocking(move || inputs::put(&layout, &digest, part, &body)).await;
    drop(place);
    agent.input_came();
    match put {
        Ok(state) => json(&state?),
        Err(error) => Err(Refusal::broken("the input could not be stored", &error)),
    }
}

fn unknown(head: &Parts) -> Refusal {
    Refusal::not_found(format!("there is no {} {}", head.method, head.uri.path()))
}

fn json(value: &impl Serialize) -> Result<Answer, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(|error| Refusal::broken("the answer", &error))?;
    Ok(Answer::Json(bytes.into()))
}

fn nothing() -> Result<Answer, Refusal> {
    Ok(Answer::Json(Bytes::from_static(b"{}")))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the body cannot be read: {error}")))
}

/// The query of a request. Names and numbers as they are, texts percent-encoded.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = self.raw(name).map(str::parse).transpose();
        number.map_err(|_| Refusal::invalid(format!("`{name}` is not a number")))
    }

    fn wait(&self) -> Result<Duration, Refusal> {
        self.duration("wait_ms")
    }

    fn duration(&self, name: &str) -> Result<Duration, Refusal> {
        Ok(Duration::from_millis(self.number(name)?.unwrap_or(0).min(WAIT_MS_MAX)))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let decode = |raw: &str| {
            let mut bytes = Vec::new();
            let mut rest = raw.as_bytes();
            while let [first, tail @ ..] = rest {
                rest = tail;
                bytes.push(match (first, tail) {
                    (b'%', [high, low, after @ ..]) => {
                        rest = after;
                        let digit = |byte: &u8| char::from(*byte).to_digit(16);
                        u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
                    }
                    (b'%', _) => return None,
                    (b'+', _) => b' ',
                    (&byte, _) => byte,
                });
            }
            String::from_utf8(bytes).ok()
        };
        let decoded = self.raw(name).map(|raw| {
            decode(raw).ok_or_else(|| Refusal::invalid(format!("`{name}` is not percent-encoded UTF-8")))
        });
        decoded.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly() {
        let query = Query("after=12&path=a%2Fb%20c+d&bad=%zz&wait_ms=999999999");
        assert_eq!(query.number("after").unwrap(), Some(12));
        assert_eq!(query.number("limit").unwrap(), None);
        assert_eq!(query.text("path").unwrap().as_deref(), Some("a/b c d"));
        assert!(query.text("bad").is_err() && query.number("path").is_err());
        assert_eq!(query.wait().unwrap(), Duration::from_millis(WAIT_MS_MAX));
    }
}
