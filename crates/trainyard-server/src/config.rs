//! Everything the server can be told, each limit with its unit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

/// How the server listens, who may speak to it and what it bears.
#[derive(Clone)]
pub struct ServerConfig {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// The URL under which users reach it, behind a proxy: `https://train.example.org`. Its host is a good `Host`.
    pub public_url: Option<String>,
    /// Further good values of `Host`, without a port.
    pub allowed_hosts: Vec<String>,
    /// Further good values of `Origin`, whole: `https://app.example.org`. They get CORS headers.
    pub allowed_origins: Vec<String>,
    /// The agent's binaries that machines may fetch from `/agent/{sha256}`, by that digest in lower case.
    pub agents: BTreeMap<String, PathBuf>,
    /// Threads that serve connections.
    pub workers: usize,
    /// Limits of request bodies.
    pub body: BodyLimits,
    /// Limits of connections.
    pub connections: ConnectionLimits,
    /// Limits of WebSocket and SSE.
    pub streams: StreamLimits,
    /// Where `/metrics` is rendered from; without it the route answers 404.
    pub prometheus: Option<PrometheusHandle>,
}

/// Limits of request bodies.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest JSON body, in bytes.
    pub json_bytes_max: usize,
    /// Longest time for a JSON body to come whole.
    pub json_deadline: Duration,
    /// Largest upload, in bytes.
    pub upload_bytes_max: u64,
    /// Longest silence within an upload.
    pub upload_idle_max: Duration,
}

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections served at once, over all workers; more wait in the listen queue.
    pub max: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Longest time for a request's head to come whole.
    pub head_deadline: Duration,
    /// How long a peer may take nothing of what is written before the kernel drops it (Linux only).
    pub stalled_max: Duration,
    /// How long requests under way are waited for at shutdown.
    pub shutdown_grace: Duration,
}

/// Limits of WebSocket and SSE.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Time between protocol pings of a WebSocket.
    pub ping_every: Duration,
    /// A WebSocket peer silent for that long is dropped.
    pub silence_max: Duration,
    /// Time between heartbeat comments of an SSE stream.
    pub heartbeat_every: Duration,
    /// How long one message may wait for a slow reader before it is closed.
    pub send_max: Duration,
    /// Largest frame taken from a client and sent to one, in bytes.
    pub frame_bytes_max: usize,
    /// Streams open at once, WebSocket and SSE together; more are refused with 503.
    pub open_max: usize,
}

impl ServerConfig {
    /// The defaults, listening there.
    pub fn new(listen: SocketAddr) -> ServerConfig {
        ServerConfig { listen: vec![listen], ..ServerConfig::default() }
    }
}

impl Default for ServerConfig {
    /// Listens on `127.0.0.1:8000`.
    fn default() -> Self {
        ServerConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            agents: BTreeMap::new(),
            workers: 2,
            body: BodyLimits::default(),
            connections: ConnectionLimits::default(),
            streams: StreamLimits::default(),
            prometheus: None,
        }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        BodyLimits {
            json_bytes_max: 256 * 1024,
            json_deadline: Duration::from_secs(10),
            upload_bytes_max: 64 << 30,
            upload_idle_max: Duration::from_secs(30),
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            max: 16_384,
            keep_alive: Duration::from_secs(75),
            head_deadline: Duration::from_secs(5),
            stalled_max: Duration::from_secs(40),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            ping_every: Duration::from_secs(15),
            silence_max: Duration::from_secs(45),
            heartbeat_every: Duration::from_secs(15),
            send_max: Duration::from_secs(20),
            frame_bytes_max: 64 * 1024,
            open_max: 10_000,
        }
    }
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("public_url", &self.public_url)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("allowed_origins", &self.allowed_origins)
            .field("agents", &self.agents)
            .field("workers", &self.workers)
            .field("body", &self.body)
            .field("connections", &self.connections)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}
