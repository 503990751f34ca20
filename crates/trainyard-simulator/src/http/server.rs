//! Connections in, answers out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::router;
use crate::world::World;

/// Connections at once.
const CONNECTIONS_MAX: usize = 4096;
/// A head must be whole within this time; also how long an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Close;

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Close {}

/// Serves until it is told to end; connections are broken off then.
pub(crate) async fn serve(listener: TcpListener, world: World, mut ending: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others must close before another try makes sense.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let world = world.clone();
        connections.spawn(async move {
            converse(stream, world).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, world: World) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| router::answer(request, world.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that breaks off is its own affair, and so is a break on purpose.
    let _ = connection.await;
}
