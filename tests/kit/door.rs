//! A door before a server: connections pass through it byte by byte, until it is shut and nobody listens any more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A door.
pub(crate) struct Door {
    at: SocketAddr,
    to: SocketAddr,
    /// What listens; none while it is shut.
    keeper: Arc<Mutex<Option<AbortHandle>>>,
}

impl Door {
    /// A door to that address, open.
    pub(crate) async fn to(to: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let door = Door { at: listener.local_addr().expect("an address"), to, keeper: Arc::default() };
        door.keep(listener);
        door
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Closes it with every connection that passes.
    pub(crate) fn shut(&self) {
        if let Some(keeper) = self.keeper.lock().expect("the keeper").take() {
            keeper.abort();
        }
    }

    /// Opens it where it is shut.
    pub(crate) async fn open(&self) {
        if self.keeper.lock().expect("the keeper").is_some() {
            return;
        }
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an address may be used again");
        socket.bind(self.at).expect("the same port");
        self.keep(socket.listen(64).expect("a listener"));
    }

    fn keep(&self, listener: TcpListener) {
        let to = self.to;
        let task = tokio::spawn(async move {
            // Aborted with this task.
            let mut passing = JoinSet::new();
            while let Ok((mut outside, _)) = listener.accept().await {
                passing.spawn(async move {
                    if let Ok(mut inside) = TcpStream::connect(to).await {
                        // Who breaks off is seen on the other side.
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
                while passing.try_join_next().is_some() {}
            }
        });
        *self.keeper.lock().expect("the keeper") = Some(task.abort_handle());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}
