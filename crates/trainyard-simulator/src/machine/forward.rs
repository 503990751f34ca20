//! Mapped ports: a port of 127.0.0.1 that leads to a machine's, with every byte on its bill.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{Uid, World};

/// Connections at once through one mapped port.
const CONNECTIONS_MAX: usize = 256;

/// The mapped ports of a machine. Dropping it closes them and every connection through them.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    ports: BTreeMap<u16, u16>,
    tasks: JoinSet<()>,
}

impl Forwards {
    /// Maps each; one that cannot be is left out.
    pub(crate) async fn bind(world: &World, uid: Uid, ports: &[u16]) -> Forwards {
        let mut forwards = Forwards::default();
        for port in ports {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            match bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener))) {
                Ok((outside, listener)) => {
                    forwards.ports.insert(*port, outside);
                    forwards.tasks.spawn(serve(listener, world.clone(), uid, *port));
                }
                Err(error) => tracing::warn!(port, %error, "a port could not be mapped"),
            }
        }
        forwards
    }

    /// Which leads where: the machine's port and the one outside.
    pub(crate) fn ports(&self) -> BTreeMap<u16, u16> {
        self.ports.clone()
    }
}

async fn serve(listener: TcpListener, world: World, uid: Uid, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(forward(stream, world.clone(), uid, port));
        } else {
            // Out of file descriptors, most likely: others must close first.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

async fn forward(outside: TcpStream, world: World, uid: Uid, port: u16) {
    if !world.by_uid(uid).is_some_and(|machine| machine.reachable) {
        return;
    }
    let Ok(inside) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
    let (outside_read, outside_write) = outside.into_split();
    let (inside_read, inside_write) = inside.into_split();
    // A side that breaks off is its own affair.
    let _ = tokio::join!(
        copy(outside_read, inside_write, &world, uid),
        copy(inside_read, outside_write, &world, uid)
    );
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    world: &World,
    uid: Uid,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes @ [_, ..]) = buffer.get(..read) else { return to.shutdown().await };
        world.traffic(uid, read as u64);
        to.write_all(bytes).await?;
    }
}
