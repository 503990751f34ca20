//! Listening, serving, going down.
//!
//! actix-web starts its workers as threads of their own, each with a small runtime; commands are sent from there
//! to the runtime that [`Bound::run`] was called on (see [`AppState::call`]). So the server runs inside any tokio
//! runtime, single-threaded ones too, and nothing of the orchestrator ends with a worker.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpServer, web};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use trainyard_orchestrator::Orchestrator;

use crate::config::ServerConfig;
use crate::middleware;
use crate::routes;
use crate::state::AppState;

/// The HTTP server.
#[derive(Debug)]
pub struct Server;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address was given.
    #[error("no address to listen on was given")]
    NoAddress,
    /// The system refused.
    #[error("cannot listen on {address}: is another server running there? choose another with --listen")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Waiting connections that the kernel holds per listener.
const BACKLOG: i32 = 1024;

impl Server {
    /// Takes the addresses; nothing is served yet, connections wait.
    ///
    /// # Errors
    /// [`BindError`] where one cannot be had.
    pub fn bind(config: ServerConfig) -> Result<Bound, BindError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let refused = |source| BindError::Refused { address, source };
            let listener = listen(address).map_err(refused)?;
            addresses.push(listener.local_addr().map_err(refused)?);
            listeners.push(listener);
        }
        match addresses.first() {
            Some(_) => Ok(Bound { config, listeners, addresses }),
            None => Err(BindError::NoAddress),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections to time out. On Windows this would let two servers share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A server that has its addresses.
#[derive(Debug)]
pub struct Bound {
    config: ServerConfig,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    /// The addresses, with their real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URL of the first address: `http://127.0.0.1:8000`.
    pub fn url(&self) -> String {
        self.addresses.first().map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Serves until `shutdown` resolves: then new requests get 503, streams are closed (1001), requests under way
    /// are given `shutdown_grace`. Needs a tokio runtime, the one the orchestrator lives on; installs no signal
    /// handler.
    ///
    /// # Errors
    /// Where the workers cannot be started.
    pub async fn run(self, orchestrator: Orchestrator, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (leave, leaving) = watch::channel(false);
        let server = self.start(orchestrator, leaving)?;
        let handle = server.handle();
        let mut server = std::pin::pin!(server);
        tokio::select! {
            result = &mut server => return result,
            () = shutdown => {}
        }
        let _ = leave.send(true);
        let (result, ()) = tokio::join!(server, handle.stop(true));
        result
    }

    /// Starts the workers. Apart from `run`, whose future may be spawned: what builds them may not cross threads.
    fn start(
        self,
        orchestrator: Orchestrator,
        leaving: watch::Receiver<bool>,
    ) -> io::Result<actix_web::dev::Server> {
        let state = web::Data::new(AppState::new(orchestrator, self.config.clone(), leaving));
        let limits = self.config.connections;
        let workers = self.config.workers.max(1);
        let app = move || {
            App::new()
                .app_data(state.clone())
                .configure(routes::configure)
                .default_service(web::to(routes::not_found))
                .wrap(actix_web::middleware::from_fn(middleware::errors))
                .wrap(actix_web::middleware::from_fn(middleware::idempotency))
                .wrap(actix_web::middleware::from_fn(middleware::guard))
                .wrap(actix_web::middleware::from_fn(middleware::outermost))
        };
        let mut server = HttpServer::new(app)
            .workers(workers)
            .max_connections((limits.max / workers).max(1))
            .keep_alive(limits.keep_alive)
            .client_request_timeout(limits.head_deadline)
            .client_disconnect_timeout(std::time::Duration::from_secs(5))
            .shutdown_timeout(limits.shutdown_grace.as_secs().max(1))
            .on_connect(move |connection, _| give_up_on_stalled(connection, limits.stalled_max))
            .disable_signals();
        for listener in self.listeners {
            server = server.listen(listener)?;
        }
        Ok(server.run())
    }
}

/// Tells the kernel to drop a connection whose peer takes nothing: actix has no limit on writing, so a reader that
/// stands still would hold its connection for ever.
fn give_up_on_stalled(connection: &dyn std::any::Any, after: std::time::Duration) {
    #[cfg(target_os = "linux")]
    if let Some(tcp) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        let socket = socket2::SockRef::from(tcp);
        if let Err(error) = socket.set_tcp_user_timeout(Some(after)) {
            tracing::debug!(%error, "no limit on stalled writes for a connection");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (connection, after);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connection_gets_a_limit_on_stalled_writes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (connection, _) = accepted.unwrap();
        give_up_on_stalled(&connection, Duration::from_secs(40));
        let set = socket2::SockRef::from(&connection).tcp_user_timeout().unwrap();
        assert_eq!(set, Some(Duration::from_secs(40)));
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind(ServerConfig::new(address)).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
