//! What the way does to an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use serde_json::{Map, Value};
use tokio::time::{Interval, Sleep, interval, sleep};

use super::{Body, Content, Response};
use crate::faults::{Canned, Drawn, Fault};
use crate::world::Call;

/// A connection that is broken off loses what was not sent yet: head and first bytes have this long.
const FLUSHED_WITHIN: Duration = Duration::from_millis(20);

/// An answer that stands ready.
pub(super) fn canned(canned: &Canned) -> Response {
    let mut response = match &canned.body {
        None => Response::page(canned.status),
        Some(body) => {
            let json = body.trim_start().starts_with(['{', '[']);
            let guessed = if json { "application/json" } else { "text/html" };
            Response::text(canned.status, canned.content_type.as_deref().unwrap_or(guessed), body.clone())
        }
    };
    if let Some(seconds) = canned.retry_after_s {
        response = response.with("retry-after", &seconds.to_string());
    }
    response
}

/// What the faults change in a whole answer.
pub(super) fn change(mut response: Response, drawn: &Drawn) -> Response {
    for fault in drawn.all() {
        let Content::Whole(body) = &response.body else { return response };
        let changed = match fault {
            Fault::Truncate { bytes } => body.slice(..body.len().min(*bytes)),
            Fault::Answer { body, content_type } => {
                let kind = content_type.as_deref().unwrap_or("text/html");
                response = Response::text(200, kind, body.clone());
                continue;
            }
            Fault::Replace { pointer, value } => edit(body, |json| replace(json, pointer, value)),
            Fault::ExtraFields => edit(body, extend),
            Fault::NumbersAsStrings => edit(body, quote),
            _ => continue,
        };
        response.body = Content::Whole(changed);
        // That of the agent's, behind the proxy; the body's own is written when it is sent.
        response.headers.remove(CONTENT_LENGTH);
    }
    response
}

/// As it goes out, with what happens to the connection.
pub(super) fn send(response: Response, call: &Call) -> hyper::Response<Body> {
    let cut = call.drawn.find(|fault| match fault {
        Fault::Cut { bytes } => Some(*bytes),
        _ => None,
    });
    let slow = call.drawn.find(|fault| match fault {
        Fault::Slow { bytes_per_s } => Some((*bytes_per_s).max(1)),
        _ => None,
    });
    let whole = match &response.body {
        Content::Whole(bytes) => Some(bytes.clone()),
        Content::Stream(_) => None,
    };
    let mut sent = response.send();
    if let (Some(bytes), true) = (whole, cut.is_some() || slow.is_some()) {
        sent.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let pace = slow.map(|per_s| interval(Duration::from_secs(1) / per_s.min(1000)));
        let left = bytes.slice(..cut.unwrap_or(bytes.len()).min(bytes.len()));
        *sent.body_mut() = {
            let breaks = cut.map(|_| Box::pin(sleep(FLUSHED_WITHIN)));
            StreamBody::new(Dripping { left, breaks, pace }).boxed()
        };
    }
    if call.skew_s() != 0 {
        date(&mut sent, call.skew_s());
    }
    sent
}

fn date(response: &mut hyper::Response<Body>, skew_s: i64) {
    let skew = chrono::TimeDelta::try_seconds(skew_s).unwrap_or_default();
    let shown = crate::clock::real_now().checked_add_signed(skew).unwrap_or_default();
    let text = shown.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(DATE, value);
    }
}

/// A body that comes byte by byte, or breaks before its end, or both.
struct Dripping {
    left: Bytes,
    /// When it may break: what was written before must have left.
    breaks: Option<Pin<Box<Sleep>>>,
    pace: Option<Interval>,
}

impl Stream for Dripping {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left.is_empty() {
            let Some(breaks) = &mut self.breaks else { return Poll::Ready(None) };
            let broken = || Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
            return breaks.as_mut().poll(context).map(|()| broken());
        }
        let piece = match &mut self.pace {
            None => self.left.len(),
            Some(pace) => match pace.poll_tick(context) {
                Poll::Ready(_) => 1,
                Poll::Pending => return Poll::Pending,
            },
        };
        let piece = self.left.split_to(piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// Changes a body that is JSON; another stays.
fn edit(body: &Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut json) => {
            change(&mut json);
            json.to_string().into()
        }
        Err(_) => body.clone(),
    }
}

/// Puts a value at a pointer; `*` is every element or field. What is not there is left so.
fn replace(json: &mut Value, pointer: &str, value: &Value) {
    let Some(rest) = pointer.strip_prefix('/') else {
        *json = value.clone();
        return;
    };
    let (first, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let first = first.replace("~1", "/").replace("~0", "~");
    match json {
        Value::Object(fields) if first == "*" => {
            fields.values_mut().for_each(|one| replace(one, rest, value))
        }
        Value::Array(items) if first == "*" => items.iter_mut().for_each(|one| replace(one, rest, value)),
        Value::Object(fields) => {
            if let Some(field) = fields.get_mut(&first) {
                replace(field, rest, value);
            }
        }
        Value::Array(items) => {
            if let Some(item) = first.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                replace(item, rest, value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields that nobody documented, in every object.
fn extend(json: &mut Value) {
    each(json, &mut |value| {
        if let Value::Object(fields) = value {
            fields.insert("nobodyToldOfThis".to_owned(), Value::Object(Map::new()));
        }
    });
}

fn quote(json: &mut Value) {
    each(json, &mut |value| {
        if let Value::Number(number) = value {
            *value = Value::String(number.to_string());
        }
    });
}

fn each(json: &mut Value, change: &mut impl FnMut(&mut Value)) {
    match json {
        Value::Object(fields) => fields.values_mut().for_each(|one| each(one, change)),
        Value::Array(items) => items.iter_mut().for_each(|one| each(one, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    change(json);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(body: Value, fault: Fault) -> Value {
        let response = change(Response::json(200, &body), &Drawn::of(vec![fault]));
        let Content::Whole(bytes) = response.body else { panic!("a whole answer stays one") };
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn an_answer_is_changed_as_documented() {
        let body = json!({"pods": [{"status": "RUNNING", "cost": 0.5}, {"status": "EXITED", "cost": 1}]});
        let new_word = Fault::Replace { pointer: "/pods/*/status".to_owned(), value: json!("DREAMING") };
        let seen = changed(body.clone(), new_word);
        assert_eq!(seen["pods"][0]["status"], "DREAMING");
        assert_eq!(seen["pods"][1]["status"], "DREAMING");
        let absent = Fault::Replace { pointer: "/nothing/here".to_owned(), value: json!(1) };
        assert_eq!(changed(body.clone(), absent), body);
        assert_eq!(changed(body.clone(), Fault::NumbersAsStrings)["pods"][0]["cost"], "0.5");
        let extended = changed(body, Fault::ExtraFields);
        assert!(
            extended["nobodyToldOfThis"].is_object() && extended["pods"][1]["nobodyToldOfThis"].is_object()
        );
    }

    #[test]
    fn a_body_is_cut_at_every_byte() {
        for bytes in 0..20 {
            let response =
                change(Response::json(200, &json!({"a": 1})), &Drawn::of(vec![Fault::Truncate { bytes }]));
            let Content::Whole(body) = response.body else { panic!("a whole answer stays one") };
            assert_eq!(body.len(), bytes.min(r#"{"a":1}"#.len()));
        }
    }

    #[test]
    fn a_canned_answer_is_a_page_or_what_is_said() {
        assert_eq!(canned(&Canned::status(503)).status, 503);
        let told = Canned { body: Some("{}".to_owned()), retry_after_s: Some(7), ..Canned::status(429) };
        let response = canned(&told);
        assert_eq!(response.headers["retry-after"], "7");
        assert_eq!(response.headers["content-type"], "application/json");
    }
}
