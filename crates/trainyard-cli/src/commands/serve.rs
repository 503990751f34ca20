//! `trainyard serve`: the server, until it is asked to stop. Trainings outlive it.

use std::net::SocketAddr;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use trainyard::Orchestrator;

use crate::config::{ConfigArgs, Environment, Settings};
use crate::embedded::{SHUTDOWN_GRACE, bind, open, prometheus};
use crate::exit::{Exit, Failure, Outcome};
use crate::out::{Out, note};
use crate::parent;

/// Serve the HTTP API, the WebSocket and their documentation
///
/// Settings come from defaults, then trainyard.toml, then the environment (TRAINYARD_LOCAL_SLOTS for `slots` in
/// `[local]`), then flags. SIGTERM and Ctrl-C end the server; trainings go on and are taken up at the next start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one line of JSON when ready: {"url","pid","version"}
    #[arg(long)]
    ready_json: bool,
    /// End (the server, not the trainings) when this process is gone
    #[arg(long, value_name = "PID")]
    parent_pid: Option<u32>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, environment: Environment) -> Outcome {
    let settings = Settings::load(&args.config, &environment)?;
    let asked = Asked::listen(args.parent_pid)?;
    let bound = bind(&settings, Some(prometheus()?))?;
    let orchestrator = open(&settings).await?;
    if let Err(failure) = may_listen(settings.listen, &orchestrator).await {
        orchestrator.shutdown(SHUTDOWN_GRACE).await;
        return Err(failure);
    }
    let url = own_url(&bound);
    if args.ready_json {
        // Connections wait in the listen queue from here on, so whoever reads the line may connect at once.
        Out { json: true }.json(&json!({
            "url": url, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
        }))?;
    }
    note(format!("trainyard serves {url} over {}; Ctrl-C ends it, trainings go on", settings.data.display()));
    let served = bound.run(orchestrator.clone(), asked.wait()).await;
    orchestrator.shutdown(SHUTDOWN_GRACE).await;
    served.map_err(|error| Failure::failed("the server ended").because(&error))?;
    Ok(Exit::Done)
}

/// Where this machine's own programs reach it: an address that means "all" is no address to connect to.
fn own_url(bound: &trainyard_server::Bound) -> String {
    match bound.addresses().first() {
        Some(address) if address.ip().is_unspecified() && address.is_ipv4() => {
            format!("http://127.0.0.1:{}", address.port())
        }
        Some(address) if address.ip().is_unspecified() => format!("http://[::1]:{}", address.port()),
        Some(_) | None => bound.url(),
    }
}

/// Whoever reaches the server commands this machine: nobody but its own users without a token.
async fn may_listen(listen: SocketAddr, orchestrator: &Orchestrator) -> Result<(), Failure> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let tokens = orchestrator
        .tokens()
        .await
        .map_err(|error| Failure::failed("the tokens cannot be read").because(&error))?;
    if !tokens.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{listen} can be reached from other machines, and no token guards it"))
        .hint("make one with `trainyard token create NAME --data DIR`, or listen on 127.0.0.1"))
}

/// What ends a server.
struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    parent: Option<u32>,
}

impl Asked {
    /// From here on signals are heard, and do not end the process by themselves.
    fn listen(parent: Option<u32>) -> Result<Asked, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::failed("signals cannot be heard").because(&error));
        Ok(Asked {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
            parent,
        })
    }

    async fn wait(mut self) {
        let parent_gone = async {
            match self.parent {
                Some(pid) => parent::gone(pid).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = parent_gone => note("the parent process is gone"),
        }
        note("ending; trainings go on");
        // A second request ends it at once: nothing is lost that the next start would not find.
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            std::process::exit(i32::from(Exit::Failed.number()));
        });
    }
}
