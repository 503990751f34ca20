//! What is asked and what is answered.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use trainyard_domain::ProviderName;

use crate::{ConnectorError, Effect, ErrorKind};

/// One request. `Debug` leaves out what is sent with it.
#[derive(Clone)]
pub struct Call {
    /// The operation, for pace, breaker and messages: `list`, `order`.
    pub op: &'static str,
    /// The method. A `GET` never has an effect.
    pub method: Method,
    /// The path from the base URL, beginning with `/`, percent-encoded.
    pub path: String,
    /// The query, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// What is sent as JSON.
    pub body: Option<serde_json::Value>,
    /// Whether it may be sent again.
    pub repeat: Repeat,
    /// Another limit than the client's for the time on the line.
    pub within: Option<Duration>,
}

impl Call {
    /// A call without query and body, with the client's limits.
    pub fn new(op: &'static str, method: Method, path: impl Into<String>, repeat: Repeat) -> Call {
        Call { op, method, path: path.into(), query: Vec::new(), body: None, repeat, within: None }
    }

    /// A reading.
    pub fn get(op: &'static str, path: impl Into<String>) -> Call {
        Call::new(op, Method::GET, path, Repeat::Freely)
    }
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Sending it twice is as good as once.
    Freely,
    /// An order, or another call that is not idempotent: sent once, whatever happens.
    Never,
}

/// What came back: any status. `Debug` leaves out headers and body.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body. It may hold secrets of the account's machines: not for logs.
    pub body: Bytes,
    /// Who answered.
    pub provider: ProviderName,
    /// What was asked.
    pub op: &'static str,
    /// What failing to understand this answer leaves open.
    pub effect: Effect,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("op", &self.op).field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Answer");
        shown.field("op", &self.op).field("status", &self.status).field("bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}

impl Answer {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// `Unreachable` where it is something else, with effect `Unknown` unless the call only read. The message says
    /// what was met, not the body's text.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ConnectorError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => "nothing",
                Some(b'<') => "a web page",
                Some(b'{' | b'[') => "other JSON than expected",
                Some(_) => "no JSON",
            };
            let message =
                format!("{} answered `{}` with {what} (status {})", self.provider, self.op, self.status);
            ConnectorError { effect: self.effect, ..ConnectorError::unknown(ErrorKind::Unreachable, message) }
                .because(Unreadable { line: error.line(), column: error.column(), class: error.classify() })
        })
    }

    /// At most `chars` characters of the body as text, on one line: what a person may see of an answer that is no
    /// JSON. The caller decides whether this body may be shown.
    pub fn text(&self, chars: usize) -> String {
        let part = &self.body[..self.body.len().min(chars.saturating_mul(4))];
        let text = String::from_utf8_lossy(part);
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let mut line = String::new();
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        line.chars().take(chars).collect()
    }
}

/// Where reading broke off. `serde_json`'s own message may quote a value of the body.
#[derive(Debug, thiserror::Error)]
#[error("the JSON is not readable at line {line}, column {column} ({class:?})")]
struct Unreadable {
    line: usize,
    column: usize,
    class: serde_json::error::Category,
}
