//! RunPod's proxy: `/proxy/{pod}/{port}/…` leads to that port of that pod.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::server::Close;
use super::{Body, Response, mangle, router};
use crate::faults::Fault;
use crate::skins;
use crate::vendor::Vendor;
use crate::world::{Call, World, span};

/// The proxy waits that long for the head of an answer, and then answers 524.
const ANSWER_WITHIN: Duration = Duration::from_secs(100);

/// Passes a request on. 404 for a pod that is not known, 502 where nothing listens (yet), 524 where no answer comes.
pub(super) async fn forward(
    request: Request<Incoming>,
    rest: &str,
    world: &World,
) -> Result<hyper::Response<Body>, Close> {
    let call = world.call(Vendor::Runpod, "proxy");
    let answer = pass(request, rest, &call, world).await;
    let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    world.answered(&call, status);
    answer
}

async fn pass(
    mut request: Request<Incoming>,
    rest: &str,
    call: &Call,
    world: &World,
) -> Result<hyper::Response<Body>, Close> {
    if let Some(refused) = skins::runpod::proxy_refusal(request.headers(), call) {
        return Ok(refused.send());
    }
    for fault in call.drawn.all() {
        match fault {
            Fault::DropBefore => return Err(Close),
            Fault::StallBefore { seconds } => {
                // In real time: it is the client's patience that is tried.
                tokio::time::sleep(span(*seconds)).await;
                return Err(Close);
            }
            Fault::StatusBefore(canned) => return Ok(mangle::canned(canned).send()),
            _ => {}
        }
    }
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
