//! Which request is whose, and what strikes it on its way.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request};

use super::server::Close;
use super::{Body, Content, Response, mangle, proxy};
use crate::console;
use crate::faults::{Drawn, Fault};
use crate::skins;
use crate::vendor::Vendor;
use crate::world::{Call, Exchange, World, span};

/// Most bytes of a request's body to a vendor. Each vendor's own limit is its skin's.
const BODY_BYTES_MAX: usize = 16 << 20;
/// A body must be whole within this time.
const BODY_WITHIN: Duration = Duration::from_secs(120);

/// Answers a request, or closes the connection without one.
pub(super) async fn answer(request: Request<Incoming>, world: World) -> Result<hyper::Response<Body>, Close> {
    let path = request.uri().path().to_owned();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
    if let Some(vendor) = Vendor::parse(first) {
        return ask(request, vendor, format!("/{rest}"), world).await;
    }
    match first {
        "proxy" => proxy::forward(request, rest, &world).await,
        "world" => {
            let (head, body) = request.into_parts();
            let body = read(body).await?;
            Ok(console::answer(&head, rest, &body, &world).send())
        }
        _ => Ok(Response::text(404, "text/plain", "there are /runpod, /lambda, /vastai and /world\n").send()),
    }
}

/// A request to a vendor.
async fn ask(
    request: Request<Incoming>,
    vendor: Vendor,
    path: String,
    world: World,
) -> Result<hyper::Response<Body>, Close> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let mut request = super::Request {
        method: head.method,
        path,
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        call: Call::plain(vendor, "other"),
    };
    request.call = world.call(vendor, skins::operation(vendor, &request));
    let mut exchange = exchange(&request, &world);
    let answered = strike(request.clone(), &world).await;
    let status = answered.as_ref().ok().map(|response| response.status.as_u16());
    world.answered(&request.call, status);
    exchange.status = status;
    exchange.answer = answered.as_ref().ok().and_then(|response| match &response.body {
        Content::Whole(bytes) => Some(bytes.clone()),
        Content::Stream(_) => None,
    });
    world.record(exchange);
    answered.map(|response| mangle::send(response, &request.call))
}

/// What strikes before and after the effect, with the effect between.
async fn strike(request: super::Request, world: &World) -> Result<Response, Close> {
    let drawn = request.call.drawn.clone();
    if let Some(answer) = instead(&drawn, true).await? {
        return Ok(answer);
    }
    let twice = drawn.has(&Fault::Twice).then(|| request.clone());
    let answer = act(request, world).await;
    if let Some(request) = twice {
        act(request, world).await;
    }
    match instead(&drawn, false).await? {
        Some(other) => Ok(other),
        None => Ok(mangle::change(answer, &drawn)),
    }
}

/// The effect. It happens to its end even where the client goes away meanwhile.
async fn act(request: super::Request, world: &World) -> Response {
    let vendor = request.call.vendor;
    let handled = world.spawn_with({
        let world = world.clone();
        async move { skins::handle(vendor, request, &world).await }
    });
    handled.await.unwrap_or_else(|error| {
        tracing::error!(%vendor, %error, "a skin broke");
        Response::text(500, "text/plain", "the simulator itself broke\n")
    })
}

/// The answer that a fault puts in place of the vendor's, or the end of the connection.
pub(super) async fn instead(drawn: &Drawn, before: bool) -> Result<Option<Response>, Close> {
    for fault in drawn.all() {
        match (fault, before) {
            (Fault::DropBefore, true) | (Fault::DropAfter, false) => return Err(Close),
            (Fault::StallBefore { seconds }, true) | (Fault::StallAfter { seconds }, false) => {
                // In real time: it is the client's patience that is tried.
                tokio::time::sleep(span(*seconds)).await;
                return Err(Close);
            }
            (Fault::StatusBefore(canned), true) | (Fault::StatusAfter(canned), false) => {
                return Ok(Some(mangle::canned(canned)));
            }
            _ => {}
        }
    }
    Ok(None)
}

pub(super) async fn read(body: Incoming) -> Result<Bytes, Close> {
    let read = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        // Too long, too slow, or broken off.
        Ok(Err(_)) | Err(_) => Err(Close),
    }
}

fn exchange(request: &super::Request, world: &World) -> Exchange {
    Exchange {
        at: world.now(),
        vendor: request.call.vendor,
        operation: request.call.operation,
        method: request.method.to_string(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: headers(&request.headers),
        body: request.body.clone(),
        status: None,
        answer: None,
    }
}

fn headers(headers: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    let told = headers.iter().filter(|(name, _)| *name != hyper::header::AUTHORIZATION);
    told.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}
