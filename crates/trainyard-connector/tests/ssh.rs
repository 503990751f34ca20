//! The way over SSH against a server in this process: keys, commands, ports, breaks.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test itself does")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use trainyard_connector::ssh::{ExecLimits, HostKeyRule, SshError, SshKey, Tunnel, TunnelConfig};
use trainyard_connector::{ConnectorError, Effect, ErrorKind};

const LIMITS: ExecLimits = ExecLimits { within: Duration::from_secs(20), output_bytes_max: 4 << 20 };

/// A machine's SSH server: one user's key is taken, commands are words that this file knows.
struct Machine {
    address: SocketAddr,
    logins: Arc<AtomicU32>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Machine {
    async fn start(host: &SshKey, user: &SshKey) -> Machine {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let private = PrivateKey::from_openssh(host.private().unwrap().expose_secret()).unwrap();
        let config = Arc::new(server::Config {
            keys: vec![private],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        });
        let (logins, open) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (user, counted, kept) = (user.public().to_owned(), logins.clone(), open.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let handler = Login { user: user.clone(), logins: counted.clone(), command: None };
                let config = config.clone();
                let serving = tokio::spawn(async move {
                    // Which of the two sides ends first is not looked at here.
                    let stream = Cut(stream);
                    let _ = serve(config, stream, handler).await;
                });
                kept.lock().unwrap().push(serving.abort_handle());
            }
        });
        Machine { address, logins, open, accepting }
    }

    /// Ends every connection, as a network that breaks.
    fn cut(&self) {
        for serving in self.open.lock().unwrap().drain(..) {
            serving.abort();
        }
    }
}

struct Cut(TcpStream);

async fn serve(config: Arc<server::Config>, stream: Cut, handler: Login) -> Result<(), russh::Error> {
    // The session runs as a task of its own; a pipe between lets the test cut it.
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let session = server::run_stream(config, theirs, handler);
    let (mut stream, mut ours) = (stream.0, ours);
    let copying = tokio::io::copy_bidirectional(&mut stream, &mut ours);
    let (session, _) = tokio::join!(async { session.await?.await }, copying);
    session
}

struct Login {
    user: String,
    logins: Arc<AtomicU32>,
    command: Option<(String, Vec<u8>)>,
}

impl server::Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let is = user == "ubuntu" && key.public_key.to_openssh().is_ok_and(|shown| shown == self.user);
        if !is {
            return Ok(Auth::reject());
        }
        self.logins.fetch_add(1, Ordering::SeqCst);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        match TcpStream::connect((host, u16::try_from(port).unwrap())).await {
            Ok(mut stream) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut channel = channel.into_stream();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut channel).await;
                });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8(command.to_vec()).unwrap();
        session.channel_success(channel)?;
        match command.as_str() {
            "count" => self.command = Some((command, Vec::new())),
            "fail" => {
                session.extended_data(channel, 1, b"no such thing\n".to_vec())?;
                session.exit_status_request(channel, 3)?;
                session.close(channel)?;
            }
            "pour" => {
                session.data(channel, vec![b'x'; 100_000])?;
                session.exit_status_request(channel, 0)?;
                session.close(channel)?;
            }
            // Takes nothing and says nothing.
            "hang" => {}
            other => panic!("no command `{other}`"),
        }
        Ok(())
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some((_, input)) = &mut self.command {
            input.extend_from_slice(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if let Some((_, input)) = self.command.take() {
            session.data(channel, input.len().to_string().into_bytes())?;
            session.exit_status_request(channel, 0)?;
            session.close(channel)?;
        }
        Ok(())
    }
}

fn key(seed: u8) -> SshKey {
    SshKey::from_seed(&[seed; 32]).unwrap()
}

/// The host's key is of seed 1, the user's of seed 2.
fn config(strict: bool, given: u8) -> TunnelConfig {
    TunnelConfig {
        user: "ubuntu".to_owned(),
        key: key(2),
        host: HostKeyRule { given: Some(key(given).public().to_owned()), strict, accepted: None },
        connect_within: Duration::from_secs(10),
    }
}

/// A server that sends every byte back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

async fn say(address: SocketAddr, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await?;
    Ok(back)
}

#[tokio::test]
async fn a_command_gets_its_input_and_tells_its_status() {
    let machine = Machine::start(&key(1), &key(2)).await;
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    assert!(!tunnel.was_reached());
    // More than a window and many packets.
    let input = vec![7_u8; 10 << 20];
    let done = tunnel.exec("count", input.as_slice(), LIMITS).await.unwrap();
    assert!(done.is_success() && done.output == b"10485760", "{done:?}");
    let done = tunnel.exec("fail", tokio::io::empty(), LIMITS).await.unwrap();
    assert_eq!((done.status, done.errors.as_slice()), (Some(3), b"no such thing\n".as_slice()));
    assert!(tunnel.was_reached());
    assert_eq!(machine.logins.load(Ordering::SeqCst), 1, "one connection serves everything");
    assert!(tunnel.take_remarks().is_empty());
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_and_a_command_that_hangs_is_left() {
    let machine = Machine::start(&key(1), &key(2)).await;
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    let few = ExecLimits { output_bytes_max: 1000, ..LIMITS };
    let done = tunnel.exec("pour", tokio::io::empty(), few).await.unwrap();
    assert!(done.cut && done.output.len() == 1000);
    let short = ExecLimits { within: Duration::from_millis(300), ..LIMITS };
    let error = tunnel.exec("hang", tokio::io::empty(), short).await.unwrap_err();
    assert!(matches!(error, SshError::TimedOut { .. }), "{error}");
    assert_eq!(ConnectorError::from(error).effect, Effect::Unknown);
    // Input that nobody reads does not hold up what ended.
    let done = tunnel.exec("fail", tokio::io::repeat(0), LIMITS).await.unwrap();
    assert_eq!(done.status, Some(3));
}

#[tokio::test]
async fn a_port_of_the_machine_is_a_port_here_also_after_a_break() {
    let (machine, service) = (Machine::start(&key(1), &key(2)).await, echo().await);
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    let local = tunnel.forward(service.port()).await.unwrap();
    assert!(local.ip().is_loopback());
    assert_eq!(tunnel.forward(service.port()).await.unwrap(), local);
    let long = vec![b'y'; 3 << 20];
    assert_eq!(say(local, &long).await.unwrap(), long);
    for turn in 2..5 {
        machine.cut();
        let mut back = Vec::new();
        // The break may show only while something is under way; what comes after it goes through.
        for _ in 0..3 {
            back = say(local, b"hello").await.unwrap_or_default();
            if back == b"hello" {
                break;
            }
        }
        assert_eq!(back, b"hello");
        assert!(machine.logins.load(Ordering::SeqCst) <= turn);
    }
}

#[tokio::test]
async fn many_at_once_share_one_connection() {
    let (machine, service) = (Machine::start(&key(1), &key(2)).await, echo().await);
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    let local = tunnel.forward(service.port()).await.unwrap();
    let all = (0..40).map(|number| async move {
        let text = format!("line {number}").repeat(1000);
        say(local, text.as_bytes()).await.unwrap() == text.as_bytes()
    });
    assert!(futures_util::future::join_all(all).await.into_iter().all(|same| same));
    assert_eq!(machine.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_closed_port_a_missing_address_and_a_dead_machine_end_at_once() {
    let machine = Machine::start(&key(1), &key(2)).await;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let tunnel = Tunnel::new(None, config(true, 1));
    let local = tunnel.forward(free.port()).await.unwrap();
    // Closed or reset: which of the two is the system's choice.
    let nothing = |answer: std::io::Result<Vec<u8>>| answer.unwrap_or_default().is_empty();
    assert!(nothing(say(local, b"x").await));
    assert!(matches!(tunnel.connect().await, Err(SshError::NoAddress)));
    tunnel.set_address(Some(machine.address));
    tunnel.connect().await.unwrap();
    assert!(nothing(say(local, b"x").await));
    assert_eq!(machine.logins.load(Ordering::SeqCst), 1, "a closed port is no broken connection");
    tunnel.set_address(Some(free));
    let error = tunnel.connect().await.unwrap_err();
    assert!(matches!(error, SshError::Connect(_)), "{error}");
    let error = ConnectorError::from(error);
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None));
}

#[tokio::test]
async fn another_host_key_is_accepted_once_unless_the_rule_is_strict() {
    let machine = Machine::start(&key(1), &key(2)).await;
    let strict = Tunnel::new(Some(machine.address), config(true, 9));
    let error = strict.connect().await.unwrap_err();
    assert!(matches!(&error, SshError::HostKey { shown } if *shown == key(1).fingerprint()), "{error}");
    assert_eq!(strict.take_remarks().len(), 1);

    let open = Tunnel::new(Some(machine.address), config(false, 9));
    open.connect().await.unwrap();
    assert!(open.take_remarks()[0].contains(&key(1).fingerprint()));
    assert_eq!(open.accepted_host_key().as_deref(), Some(key(1).public()));
    // A third one at the same address is another machine.
    let other = Machine::start(&key(5), &key(2)).await;
    open.set_address(Some(other.address));
    assert!(matches!(open.connect().await, Err(SshError::HostKey { .. })));
    assert_eq!(other.logins.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_machine_that_does_not_take_the_key_says_so() {
    let machine = Machine::start(&key(1), &key(3)).await;
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    assert!(matches!(tunnel.connect().await, Err(SshError::Login)));
    assert!(!tunnel.was_reached());
}

#[tokio::test]
async fn a_machine_that_takes_connections_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let short = TunnelConfig { connect_within: Duration::from_millis(200), ..config(true, 1) };
    let tunnel = Tunnel::new(Some(silent.local_addr().unwrap()), short);
    assert!(matches!(tunnel.connect().await, Err(SshError::TimedOut { .. })));
}

#[tokio::test]
async fn with_the_last_handle_the_port_closes() {
    let (machine, service) = (Machine::start(&key(1), &key(2)).await, echo().await);
    let tunnel = Tunnel::new(Some(machine.address), config(true, 1));
    let local = tunnel.forward(service.port()).await.unwrap();
    let again = tunnel.clone();
    drop(tunnel);
    assert_eq!(say(local, b"still").await.unwrap(), b"still");
    drop(again);
    for _ in 0..200 {
        if TcpStream::connect(local).await.is_err() {
            return;
        }
        // waits: the task that owns the listener ends at its next turn, and nothing tells when.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the port is still open");
}
