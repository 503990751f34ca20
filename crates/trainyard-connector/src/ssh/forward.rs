//! A port of this machine behind which a port of the other one is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::SshError;
use super::tunnel::Inner;

/// Connections at once through one port; more wait.
const CONNECTIONS_MAX: usize = 64;
/// Opening a channel on a connection that lives.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// After an `accept` that failed: out of descriptors, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Bytes copied at once.
const BUFFER_BYTES: usize = 64 << 10;

/// An open port. It closes, with every connection through it, when this is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) local: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Forward {
    pub(super) async fn open(tunnel: Weak<Inner>, port: u16) -> Result<Forward, SshError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(SshError::Local)?;
        let local = listener.local_addr().map_err(SshError::Local)?;
        let accepting = tokio::spawn(accept(listener, tunnel, port));
        Ok(Forward { local, accepting })
    }
}

async fn accept(listener: TcpListener, tunnel: Weak<Inner>, port: u16) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the local end of a tunnel takes no connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Some(tunnel) = tunnel.upgrade() else { return };
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let _permit = permit;
            carry(stream, tunnel, port).await;
        });
    }
}

/// Carries one connection until either side ends it. Where the machine is not reached, it is closed at once.
async fn carry(mut stream: TcpStream, tunnel: Arc<Inner>, port: u16) {
    let channel = match channel(&tunnel, port).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::debug!(%error, port, "a connection through a tunnel was not made");
            return;
        }
    };
    // The tunnel may end meanwhile; its end is ours too.
    drop(tunnel);
    let _ = stream.set_nodelay(true);
    let mut channel = channel.into_stream();
    // How a connection ends is told by what speaks through it.
    let _ = copy_bidirectional_with_sizes(&mut stream, &mut channel, BUFFER_BYTES, BUFFER_BYTES).await;
}

async fn channel(tunnel: &Inner, port: u16) -> Result<Channel<Msg>, SshError> {
    let handle = tunnel.session().await?;
    match open(&handle, port).await {
        Err(SshError::Broken(_) | SshError::TimedOut { .. }) => {
            let fresh = tunnel.after_break(&handle).await?;
            open(&fresh, port).await
        }
        done => done,
    }
}

async fn open<H: russh::client::Handler>(
    handle: &russh::client::Handle<H>,
    port: u16,
) -> Result<Channel<Msg>, SshError> {
    let from = Ipv4Addr::LOCALHOST.to_string();
    let opening = handle.channel_open_direct_tcpip(from.clone(), u32::from(port), from, 0);
    let opened = timeout(OPEN_WITHIN, opening).await;
    match opened.map_err(|_| SshError::TimedOut { doing: "opening a channel", within: OPEN_WITHIN })? {
        Ok(channel) => Ok(channel),
        Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed)) => {
            Err(SshError::PortClosed { port })
        }
        Err(error) => Err(SshError::Broken(error)),
    }
}
