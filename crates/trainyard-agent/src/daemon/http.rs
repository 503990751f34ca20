//! The way in: connections, limits, bodies, signatures, and answers as JSON.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::Digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::agent::Agent;
use super::refusal::Refusal;
use super::routes::{self, Answer};
use crate::protocol::{BODY_BYTES_MAX, DIGEST_HEADER, ErrorBody};

/// Connections at once: an orchestrator needs two or three, a replica of it as many.
const CONNECTIONS_MAX: usize = 64;
/// Large bodies at once; each may take `BODY_BYTES_MAX` of memory.
const LARGE_BODIES_MAX: usize = 3;
/// Bodies up to this size are read without waiting for a place.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// A head must be whole within this time; also how long an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// A body must be whole within this time.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// Answers under way have this long when the agent leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 << 10;

type Body = Full<Bytes>;

/// Serves until the agent leaves.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, agent: Arc<Agent>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let large = Arc::new(Semaphore::new(LARGE_BODIES_MAX));
    let mut leaving = agent.leaving();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = leaving.wait_for(|leaving| *leaving) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others must close before another try makes sense.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (agent, large, tls) = (Arc::clone(&agent), Arc::clone(&large), tls.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                None => converse(stream, agent, large).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await {
                        converse(stream, agent, large).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(LEAVE_WITHIN, places.acquire_many(all)).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, agent: Arc<Agent>, large: Arc<Semaphore>) {
    let mut leaving = agent.leaving();
    let service = service_fn(move |request| {
        let (agent, large) = (Arc::clone(&agent), Arc::clone(&large));
        async move { Ok::<_, Infallible>(answer(request, &agent, &large).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A peer that breaks off is its own affair.
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, agent: &Arc<Agent>, large: &Semaphore) -> Response<Body> {
    let result = if request.method() == Method::GET && request.uri().path() == "/v1/hello" {
        routes::hello(agent)
    } else {
        checked(request, agent, large).await
    };
    match result {
        Ok(answer) => respond(StatusCode::OK, answer),
        Err(refusal) => {
            let body = ErrorBody { error: refusal.text, code: refusal.code.to_owned() };
            let json = serde_json::to_vec(&body).unwrap_or_default();
            respond(refusal.status, Answer::Json(json.into()))
        }
    }
}

async fn checked(
    request: Request<Incoming>,
    agent: &Arc<Agent>,
    large: &Semaphore,
) -> Result<Answer, Refusal> {
    agent.guard().look(request.headers())?;
    let (head, body) = request.into_parts();
    let place = if content_length(&head.headers) <= SMALL_BODY_BYTES {
        None
    } else {
        Some(large.acquire().await.map_err(|error| Refusal::broken("no place for a body", &error))?)
    };
    let limit = if place.is_some() { BODY_BYTES_MAX } else { SMALL_BODY_BYTES };
    let body = read(body, limit).await?;
    agent.guard().check(&head, &body)?;
    agent.was_called();
    let answer = routes::route(agent, &head, body).await;
    drop(place);
    answer
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_WITHIN, Limited::new(body, limit).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {limit} bytes"),
        )),
        Ok(Err(_)) => Err(Refusal::invalid("the body broke off")),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body came too slowly")),
    }
}

/// A body without a length is taken to be small; it is held to that.
fn content_length(headers: &HeaderMap) -> usize {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn respond(status: StatusCode, answer: Answer) -> Response<Body> {
    let (kind, body, digest) = match answer {
        Answer::Json(body) => {
            let digest = HeaderValue::from_str(&hex::encode(sha2::Sha256::digest(&body))).ok();
            ("application/json", body, digest)
        }
        // A file has its digest in the manifest.
        Answer::Bytes(body) => ("application/octet-stream", body, None),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(digest) = digest {
        response.headers_mut().insert(DIGEST_HEADER, digest);
    }
    response
}
