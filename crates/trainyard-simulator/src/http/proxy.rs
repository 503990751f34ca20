//! RunPod's proxy: `/proxy/{pod}/{port}/…` leads to that port of that pod.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::server::Close;
use super::{Body, Content, Response, mangle, router};
use crate::skins;
use crate::vendor::Vendor;
use crate::world::{Call, World};

/// The proxy waits that long for the head of an answer, and then answers 524.
const ANSWER_WITHIN: Duration = Duration::from_secs(100);
/// Most bytes of an answer that a fault strikes.
const CHANGED_BYTES_MAX: usize = 64 << 20;

/// Passes a request on. 404 for a pod that is not known, 502 where nothing listens (yet), 524 where no answer comes.
pub(super) async fn forward(
    request: Request<Incoming>,
    rest: &str,
    world: &World,
) -> Result<hyper::Response<Body>, Close> {
    let call = world.call(Vendor::Runpod, operation(rest));
    let answer = strike(request, rest, &call, world).await;
    let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    world.answered(&call, status);
    answer
}

/// What of the agent is asked.
fn operation(rest: &str) -> &'static str {
    match rest.splitn(3, '/').nth(2) {
        Some("v1/events") => "proxy_events",
        Some("v1/log") => "proxy_log",
        Some("v1/manifest") => "proxy_manifest",
        Some("v1/file") => "proxy_file",
        _ => "proxy",
    }
}

/// What strikes before and after, with the passing on between.
async fn strike(
    request: Request<Incoming>,
    rest: &str,
    call: &Call,
    world: &World,
) -> Result<hyper::Response<Body>, Close> {
    if let Some(refused) = skins::runpod::proxy_refusal(request.headers(), call) {
        return Ok(refused.send());
    }
    if call.drawn.all().is_empty() {
        return pass(request, rest, call, world).await;
    }
    if let Some(instead) = router::instead(&call.drawn, true).await? {
        return Ok(instead.send());
    }
    let (head, body) = pass(request, rest, call, world).await?.into_parts();
    // Whole, so that it can be cut: agents send 32 MiB at most.
    let body = Limited::new(body, CHANGED_BYTES_MAX).collect().await.map_err(|_| Close)?.to_bytes();
    if let Some(instead) = router::instead(&call.drawn, false).await? {
        return Ok(instead.send());
    }
    let headers = Box::new(head.headers);
    let answer = Response { status: head.status, headers, body: Content::Whole(body) };
    Ok(mangle::send(mangle::change(answer, &call.drawn), call))
}

async fn pass(
    mut request: Request<Incoming>,
    rest: &str,
    call: &Call,
    world: &World,
) -> Result<hyper::Response<Body>, Close> {
    let mut parts = rest.splitn(3, '/');
    let (pod, port, path) =
        (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
    let pod = world.machine(Vendor::Runpod, pod).filter(|machine| machine.is_alive());
    let (Some(pod), Some(port)) = (pod, port.and_then(|port| port.parse::<u16>().ok())) else {
        return Ok(Response::page(404).send());
    };
    if !pod.answers() || !pod.order.ports.contains(&port) {
        return Ok(Response::page(502).send());
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Some(agent) = world.hosted(pod.uid) {
        let (head, body) = request.into_parts();
        let body = router::read(body).await?;
        let request = super::Request {
            method: head.method,
            path: format!("/{path}"),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
            call: call.clone(),
        };
        return Ok(agent.answer(&request, world.clock()).await.send());
    }
    let Ok(target) = format!("/{path}{query}").parse::<Uri>() else { return Ok(Response::page(400).send()) };
    *request.uri_mut() = target;
    request.headers_mut().remove(CONNECTION);
    if let Ok(host) = HeaderValue::from_str(&format!("127.0.0.1:{port}")) {
        request.headers_mut().insert(HOST, host);
    }
    match tokio::time::timeout(ANSWER_WITHIN, exchange(request, port)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Ok(Response::page(502).send()),
        Err(_) => Ok(Response::page(524).send()),
    }
}

async fn exchange(request: Request<Incoming>, port: u16) -> io::Result<hyper::Response<Body>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    // It ends with the answer's body, or when the sender and the body are dropped.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    head.headers.remove(CONNECTION);
    Ok(hyper::Response::from_parts(head, body.map_err(io::Error::other).boxed()))
}
