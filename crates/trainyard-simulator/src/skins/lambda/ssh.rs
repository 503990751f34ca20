//! SSH to one machine: its own address, the user `ubuntu`, one key. Commands run in its directory; `direct-tcpip` leads to
//! its ports.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::world::{Machine, Uid, World};

/// The user of every image.
const USER: &str = "ubuntu";
/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a program's output at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces of input that wait for a program.
const INPUT_PIECES_MAX: usize = 64;
/// Between two tries to listen at an address that is in use.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);

/// Serves until it is dropped.
pub(super) async fn serve(world: &World, machine: &Machine, public: &str, key: PrivateKey) {
    let listener = listen(world, machine).await;
    let config = Arc::new(server::Config {
        keys: vec![key],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        nodelay: true,
        window_size: 8 << 20,
        ..server::Config::default()
    });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others must close first.
            tokio::time::sleep(LISTEN_AGAIN).await;
            continue;
        };
        if connections.len() >= CONNECTIONS_MAX || !answers(world, machine.uid) {
            continue;
        }
        let login = Login::new(world.clone(), machine.clone(), public.to_owned());
        connections.spawn(connection(stream, Arc::clone(&config), login));
    }
}

async fn listen(world: &World, machine: &Machine) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind((machine.address, world.ssh_port())).await {
            Ok(listener) => return listener,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    world.note(machine, format!("sshd: cannot listen at {}: {error}", machine.address));
                }
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

fn answers(world: &World, uid: Uid) -> bool {
    world.by_uid(uid).is_some_and(|machine| machine.answers())
}

/// One connection, until either side or the machine ends it. The session runs as a task of its own behind a pipe, so that
/// dropping this cuts it.
async fn connection(mut stream: TcpStream, config: Arc<server::Config>, login: Login) {
    let (world, uid) = (login.world.clone(), login.machine.uid);
    let _ = stream.set_nodelay(true);
    let (mut ours, theirs) = tokio::io::duplex(256 << 10);
    let session = async {
        // A client that breaks off is its own affair.
        if let Ok(session) = server::run_stream(config, theirs, login).await {
            let _ = session.await;
        }
    };
    let carry = async {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut ours).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(session, carry) } => {}
        () = lost(&world, uid) => {}
    }
}

/// Resolves when the machine does not answer any more.
async fn lost(world: &World, uid: Uid) {
    while !world.until(Duration::from_secs(3600), |world| !answers(world, uid)).await {}
}

/// One client.
struct Login {
    world: World,
    machine: Machine,
    public: Option<PublicKey>,
    /// Where input of running commands goes. Dropped at the end of input.
    inputs: HashMap<ChannelId, mpsc::Sender<Vec<u8>>>,
    tasks: JoinSet<()>,
}

impl Login {
    fn new(world: World, machine: Machine, public: String) -> Login {
        let public = PublicKey::from_openssh(&public).ok();
        Login { world, machine, public, inputs: HashMap::new(), tasks: JoinSet::new() }
    }

    fn run(
        &mut self,
        channel: ChannelId,
        program: &[String],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let started = self.world.commands(&self.machine).ok().and_then(|commands| {
            let mut command = commands.command(program)?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            self.world.start_program(self.machine.uid, || command.spawn()).ok()
        });
        let Some(mut child) = started else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        let (input, pieces) = mpsc::channel(INPUT_PIECES_MAX);
        self.inputs.insert(channel, input);
        let handle = session.handle();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        self.tasks.spawn(async move {
            let feeding = tokio::spawn(feed(stdin, pieces));
            tokio::join!(tell(stdout, &handle, channel, false), tell(stderr, &handle, channel, true));
            let status = child.wait().await.ok().and_then(|status| status.code());
            feeding.abort();
            // A client that is gone needs no answer.
            let _ = handle.exit_status_request(channel, status.map_or(255, |code| code as u32)).await;
            let _ = handle.eof(channel).await;
            let _ = handle.close(channel).await;
        });
        Ok(())
    }
}

/// What the client sends becomes the program's input.
async fn feed(stdin: Option<ChildStdin>, mut pieces: mpsc::Receiver<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(piece) = pieces.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// What the program says goes to the client.
async fn tell(output: Option<impl AsyncRead + Unpin>, handle: &Handle, channel: ChannelId, errors: bool) {
    let Some(mut output) = output else { return };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(read @ 1..) = output.read(&mut piece).await {
        let bytes = piece[..read].to_vec();
        let sent = match errors {
            false => handle.data(channel, bytes).await.is_ok(),
            true => handle.extended_data(channel, 1, bytes).await.is_ok(),
        };
        if !sent {
            return;
        }
    }
}

impl server::Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let known = self.public.as_ref().is_some_and(|public| public.key_data() == key.public_key.key_data());
        Ok(if user == USER && known { Auth::Accept } else { Auth::reject() })
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
        let own = matches!(host, "127.0.0.1" | "localhost" | "::1");
        let Some(port) = u16::try_from(port).ok().filter(|_| own) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        self.tasks.spawn(async move {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(mut inside) => {
                    reply.accept().await;
                    let _ = inside.set_nodelay(true);
                    let mut outside = channel.into_stream();
                    // A side that breaks off is its own affair.
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match String::from_utf8(command.to_vec()) {
            Ok(text) => self.run(channel, &["sh".to_owned(), "-c".to_owned(), text], session),
            Err(_) => session.channel_failure(channel),
        }
    }

    /// Without a terminal: there is no other user to give one to.
    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.run(channel, &["sh".to_owned()], session)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(input) = self.inputs.get(&channel)
            && input.send(data.to_vec()).await.is_err()
        {
            // The program reads no more.
            self.inputs.remove(&channel);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }
}
