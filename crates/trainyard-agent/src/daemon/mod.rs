//! The agent: a signed HTTP interface over one training at a time.
//!
//! It promises: a training is started only by a signed `start`, once per attempt and boot; every event and every
//! byte of the log is on disk before it is sent; events are numbered densely from 1 within an attempt; `Exited` is
//! the last of them and no process of the training is left then. An agent that is started anew after the end of a
//! training serves that end, and never trains by itself. It rents nothing and calls nobody, with one exception:
//! where nobody speaks to it any more, or its money is used up, it has its own machine removed (`lease`, `vendor`).

mod agent;
mod aside;
mod attempt;
mod auth;
mod check;
mod ended;
mod environment;
mod exec;
mod failure;
mod fetch;
mod held;
mod hold;
mod http;
mod inputs;
mod journal;
mod keep;
mod layout;
mod lease;
mod manifest;
mod output;
mod outputs;
mod place;
mod prepare;
mod recipe;
mod refusal;
mod requirements;
mod routes;
mod side;
mod sources;
mod supervise;
mod tls;
mod unpack;
mod vendor;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::key::PublicKey;
use crate::process::ProcessId;
use crate::system;

use agent::Agent;

/// How an agent is started.
#[derive(Debug)]
pub(crate) struct Options {
    /// Its directory, for itself alone.
    pub(crate) root: PathBuf,
    /// The exact name of the order it was started for.
    pub(crate) order: String,
    /// Who may command it.
    pub(crate) public_key: PublicKey,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Where checkpoints outlive the attempt; none: inside `root`.
    pub(crate) keep: Option<PathBuf>,
    /// The program of the `builtin` trainer; none: this one.
    pub(crate) trainer: Option<PathBuf>,
    /// The PEM file with private key and certificate; none: it speaks plain HTTP.
    pub(crate) tls: Option<PathBuf>,
    /// The environment it was started with, read once.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Where an agent listens.
#[derive(Debug)]
pub(crate) enum Listen {
    /// It binds this address.
    At(SocketAddr),
    /// Its standard input is a listening socket that its parent has bound.
    StandardInput,
}

/// What an agent writes to `agent.json` in its directory as soon as it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Which process it is.
    #[serde(flatten)]
    pub process: ProcessId,
    /// Which boot of the agent.
    pub boot_id: String,
    /// Which boot of the machine: a pid and a start time mean nothing in another one.
    pub machine_boot: Option<String>,
    /// The port it listens on.
    pub port: u16,
    /// The order it serves.
    pub order: String,
}

impl AgentRecord {
    /// Its name within an agent's directory.
    pub const FILE: &str = "agent.json";
}

/// Runs an agent until it is released.
pub(crate) fn run(options: Options) -> ExitCode {
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the agent could not start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options) -> io::Result<()> {
    // Fails only where this is a process group's leader already, which is as good for surviving the parent.
    let _ = nix::unistd::setsid();
    system::become_subreaper()?;
    std::fs::create_dir_all(&options.root)?;
    let listener = match options.listen {
        Listen::At(address) => TcpListener::bind(address)?,
        Listen::StandardInput => TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?),
    };
    let tls = options.tls.as_deref().map(tls::acceptor).transpose()?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let agent = Arc::new(Agent::new(options)?);
        write_record(&agent, port)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let signals = tokio::spawn(mind_signals(Arc::clone(&agent)));
        let limits = tokio::spawn(Arc::clone(&agent).mind_lease());
        let proof = tokio::spawn(Arc::clone(&agent).prove_removal());
        http::serve(listener, tls, Arc::clone(&agent)).await;
        signals.abort();
        limits.abort();
        proof.abort();
        Ok(())
    });
    // What may still hash or read a file is not waited for.
    runtime.shutdown_background();
    served
}

/// Has this machine removed by its vendor, as the environment says how; for the script that started no agent, or whose
/// agent has ended.
pub(crate) fn remove_machine(environment: &[(OsString, OsString)]) -> ExitCode {
    let removed = || {
        let vendor =
            vendor::Vendor::of(environment).ok_or("this machine was left no means to remove itself")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(vendor.remove())
    };
    match removed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn write_record(agent: &Agent, port: u16) -> io::Result<()> {
    let Some(process) = ProcessId::own() else {
        return Err(io::Error::other("no entry in the process table"));
    };
    let record = AgentRecord {
        process,
        boot_id: agent.boot_id().to_owned(),
        machine_boot: system::machine_boot(),
        port,
        order: agent.order().to_owned(),
    };
    place::replace(&agent.layout().record(), &serde_json::to_vec(&record)?)
}

/// An interrupt or hang-up is meant for the server in the foreground and not for us; SIGTERM ends the training in
/// order and then us.
async fn mind_signals(agent: Arc<Agent>) {
    let streams =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = streams else { return };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
    agent.leave_in_order().await;
}

/// One line to whoever started the agent.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "trainyard: {text}");
}
