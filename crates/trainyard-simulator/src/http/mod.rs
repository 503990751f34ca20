//! What the skins see of HTTP: a request that came whole, an answer that is whole or a stream.

mod mangle;
mod proxy;
mod router;
mod server;

pub(crate) use server::serve;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::world::Call;

/// A body on its way out. An error in it breaks the connection.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A request to a vendor, with its body.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the vendor's base address, percent-encoded as it came, with `/` in front.
    pub path: String,
    /// The query as it came, without `?`.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What was drawn for it, for the world and for the skin's own switches.
    pub call: Call,
}

impl Request {
    /// The path's parts, percent-decoded; empty ones (a slash at the end) are left out.
    pub fn parts(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect()
    }

    /// The first value of that name in the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The whole query, decoded, in its order.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let split = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        };
        pairs.map(split).collect()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer …`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The body as JSON; none where it is none.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers. Behind a pointer, so that an answer is small enough to be an error too.
    pub headers: Box<HeaderMap>,
    /// Its body.
    pub body: Content,
}

/// What an answer consists of.
#[derive(Debug)]
pub enum Content {
    /// These bytes.
    Whole(Bytes),
    /// What comes, until the sender is dropped or the reader goes away.
    Stream(mpsc::Receiver<Bytes>),
}

impl Response {
    /// That status with nothing.
    pub fn empty(status: u16) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Response { status, headers: Box::default(), body: Content::Whole(Bytes::new()) }
    }

    /// JSON.
    pub fn json(status: u16, body: &Value) -> Response {
        Response::text(status, "application/json", body.to_string())
    }

    /// Text of that kind.
    pub fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
        let response = Response { body: Content::Whole(body.into()), ..Response::empty(status) };
        response.with(CONTENT_TYPE.as_str(), content_type)
    }

    /// A page as a proxy in front of a vendor shows it.
    pub fn page(status: u16) -> Response {
        let words = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let title = format!("{status} {}", words.unwrap_or("error"));
        let body = format!("<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
        Response::text(status, "text/html; charset=UTF-8", body)
    }

    /// A stream of that kind, and where to put its pieces. At most 64 wait for the reader.
    pub fn stream(status: u16, content_type: &str) -> (Response, mpsc::Sender<Bytes>) {
        let (sender, receiver) = mpsc::channel(64);
        let response = Response { body: Content::Stream(receiver), ..Response::empty(status) };
        (response.with(CONTENT_TYPE.as_str(), content_type), sender)
    }

    /// With a header more; one that cannot be written is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Response {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// As it goes out.
    pub(crate) fn send(self) -> hyper::Response<Body> {
        let body = match self.body {
            Content::Whole(bytes) => whole(bytes),
            Content::Stream(pieces) => StreamBody::new(Pieces(pieces)).boxed(),
        };
        let mut response = hyper::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        response
    }
}

/// The pieces of a stream as they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl futures_util::Stream for Pieces {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// Percent-decodes; what is not encoded well stays as it is. In a query `+` is a blank.
pub(crate) fn decode(text: &str, query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let [first, tail @ ..] = rest {
        rest = tail;
        let encoded = match (first, tail) {
            (b'%', [high, low, ..]) => {
                digit(*high).zip(digit(*low)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        match encoded {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None if query && *first == b'+' => bytes.push(b' '),
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_decoded() {
        assert_eq!(decode("NVIDIA%20RTX%2f4090+%zz%4", false), "NVIDIA RTX/4090+%zz%4");
        assert_eq!(decode("a+b%2Bc", true), "a b+c");
    }
}
