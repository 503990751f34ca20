//! The one connection to a machine: made when it is needed, made again when it broke.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::exec::{self, ExecLimits, Executed};
use super::forward::Forward;
use super::trust::Trust;
use super::{HostKeyRule, SshError, SshKey};

/// Bytes that may be under way in one channel: enough for 40 MB/s over 200 ms.
const WINDOW_BYTES: u32 = 8 << 20;
/// Most bytes of one packet; SSH's own limit is a little above.
const PACKET_BYTES: u32 = 64_000;
/// Silence after which the machine is asked whether it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection counts as broken: 20 s of silence.
const ALIVE_MISSED: usize = 3;
/// After a try that failed the next one waits so long: many may want the connection at once.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// How a machine is reached by SSH.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// The user to log in as.
    pub user: String,
    /// The key to log in with.
    pub key: SshKey,
    /// Which host key may answer.
    pub host: HostKeyRule,
    /// How long a connection may take until the login is done.
    pub connect_within: Duration,
}

/// The way to one machine. Cheap to clone; clones share the connection. With the last clone it ends, and so does every
/// forwarded port.
#[derive(Debug, Clone)]
pub struct Tunnel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    config: TunnelConfig,
    trust: Trust,
    address: Mutex<Option<SocketAddr>>,
    /// Held while a connection is made: whoever needs one waits for that one instead of making another.
    session: tokio::sync::Mutex<Session>,
    forwards: Mutex<HashMap<u16, Forward>>,
    reached: AtomicBool,
}

#[derive(Default)]
struct Session {
    handle: Option<Arc<Handle<Trust>>>,
    to: Option<SocketAddr>,
    not_before: Option<Instant>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("to", &self.to).field("open", &self.is_open()).finish()
    }
}

impl Session {
    fn is_open(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| !handle.is_closed())
    }
}

impl Tunnel {
    /// The way to a machine whose address is known now or told later. Nothing is sent yet.
    pub fn new(address: Option<SocketAddr>, config: TunnelConfig) -> Tunnel {
        let trust = Trust::new(config.host.clone());
        Tunnel {
            inner: Arc::new(Inner {
                config,
                trust,
                address: Mutex::new(address),
                session: tokio::sync::Mutex::default(),
                forwards: Mutex::default(),
                reached: AtomicBool::new(false),
            }),
        }
    }

    /// Tells where the machine is now. A connection to another address is not used any more.
    pub fn set_address(&self, address: Option<SocketAddr>) {
        *locked(&self.inner.address) = address;
    }

    /// Where the machine is, as far as it is known.
    pub fn address(&self) -> Option<SocketAddr> {
        *locked(&self.inner.address)
    }

    /// Whether a connection came about at any time.
    pub fn was_reached(&self) -> bool {
        self.inner.reached.load(Ordering::Relaxed)
    }

    /// What was noticed since the last asking, for the job's history. Each is given once.
    pub fn take_remarks(&self) -> Vec<String> {
        self.inner.trust.take_remarks()
    }

    /// The host keys that may answer, as `known_hosts` writes a key; the given one first.
    pub fn host_keys(&self) -> Vec<String> {
        self.inner.trust.host_keys()
    }

    /// Another host key than the given one that was accepted.
    pub fn accepted_host_key(&self) -> Option<String> {
        self.inner.trust.accepted()
    }

    /// Tells which other one was accepted before, by an earlier process.
    pub fn recall_host_key(&self, accepted: &str) {
        self.inner.trust.recall(accepted);
    }

    /// Makes a connection where there is none. Bounded by [`TunnelConfig::connect_within`].
    ///
    /// # Errors
    /// [`SshError`].
    pub async fn connect(&self) -> Result<(), SshError> {
        self.inner.session().await.map(drop)
    }

    /// Runs a command with that standard input, and gives what it said. A dropped future ends the channel, which the
    /// command sees as the end of its input and output.
    ///
    /// # Errors
    /// [`SshError`]; a command that ends with another status than 0 is no error.
    pub async fn exec(
        &self,
        command: &str,
        input: impl tokio::io::AsyncRead + Send + Unpin,
        limits: ExecLimits,
    ) -> Result<Executed, SshError> {
        let within = limits.within;
        let run = async {
            let handle = self.inner.session().await?;
            let channel = match handle.channel_open_session().await {
                Ok(channel) => channel,
                // It broke since it was last used; nothing ran yet.
                Err(_) => self.inner.after_break(&handle).await?.channel_open_session().await?,
            };
            exec::run(channel, command, input, limits.output_bytes_max).await
        };
        timeout(within, run).await.map_err(|_| SshError::TimedOut { doing: "a command over SSH", within })?
    }

    /// A port of this machine, on 127.0.0.1, behind which that port of the other one's 127.0.0.1 is. The same one for
    /// the same port, until the tunnel ends. Connections are made to it at any time; where the machine is not reached
    /// they end at once.
    ///
    /// # Errors
    /// [`SshError::Local`] where no port can be opened here.
    pub async fn forward(&self, port: u16) -> Result<SocketAddr, SshError> {
        if let Some(forward) = locked(&self.inner.forwards).get(&port) {
            return Ok(forward.local);
        }
        let forward = Forward::open(Arc::downgrade(&self.inner), port).await?;
        let mut forwards = locked(&self.inner.forwards);
        // Somebody else may have been quicker.
        Ok(forwards.entry(port).or_insert(forward).local)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// The connection, made now where there is none.
    pub(super) async fn session(&self) -> Result<Arc<Handle<Trust>>, SshError> {
        let address = locked(&self.address).ok_or(SshError::NoAddress)?;
        let mut session = self.session.lock().await;
        if session.to == Some(address)
            && let Some(handle) = session.handle.as_ref().filter(|handle| !handle.is_closed())
        {
            return Ok(handle.clone());
        }
        if let Some(then) = session.not_before.take() {
            tokio::time::sleep_until(then).await;
        }
        let within = self.config.connect_within;
        let made = timeout(within, self.log_in(address)).await;
        match made.unwrap_or(Err(SshError::TimedOut { doing: "connecting by SSH", within })) {
            Ok(handle) => {
                let handle = Arc::new(handle);
                *session = Session { handle: Some(handle.clone()), to: Some(address), not_before: None };
                self.reached.store(true, Ordering::Relaxed);
                Ok(handle)
            }
            Err(error) => {
                *session = Session { handle: None, to: None, not_before: Some(Instant::now() + RETRY_AFTER) };
                Err(error)
            }
        }
    }

    /// Another connection than that one.
    pub(super) async fn after_break(
        &self,
        broken: &Arc<Handle<Trust>>,
    ) -> Result<Arc<Handle<Trust>>, SshError> {
        let mut session = self.session.lock().await;
        if session.handle.as_ref().is_some_and(|handle| Arc::ptr_eq(handle, broken)) {
            session.handle = None;
        }
        drop(session);
        self.session().await
    }

    async fn log_in(&self, address: SocketAddr) -> Result<Handle<Trust>, SshError> {
        let config = client::Config {
            window_size: WINDOW_BYTES,
            maximum_packet_size: PACKET_BYTES,
            keepalive_interval: Some(ALIVE_EVERY),
            keepalive_max: ALIVE_MISSED,
            nodelay: true,
            ..client::Config::default()
        };
        let stream = TcpStream::connect(address).await.map_err(SshError::Connect)?;
        stream.set_nodelay(true).map_err(SshError::Connect)?;
        let connected = client::connect_stream(Arc::new(config), stream, self.trust.clone()).await;
        let mut handle = connected.map_err(|error| match self.trust.take_refused() {
            Some(shown) => SshError::HostKey { shown },
            None => error.before_login(),
        })?;
        let key = self.config.key.to_log_in();
        let answer = handle.authenticate_publickey(self.config.user.as_str(), key).await;
        let answer = answer.map_err(|error| SshError::from(error).before_login())?;
        if answer.success() { Ok(handle) } else { Err(SshError::Login) }
    }
}
