//! The simulator as a whole: started, pointed at, stopped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http;
use crate::options::Options;
use crate::vendor::Vendor;
use crate::world::{Account, World};

/// Why a simulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Its address is in use, or not this machine's.
    #[error("cannot listen at {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Its directory could not be made.
    #[error("cannot make the directory of the machines")]
    Root(#[source] io::Error),
}

/// A running simulator. [`Simulator::stop`] ends it in order; dropped, it kills every process at once.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    world: World,
    ending: watch::Sender<bool>,
    stopped: bool,
    serving: Option<JoinHandle<()>>,
    /// Removes itself when dropped; none where the caller named a directory.
    _root: Option<tempfile::TempDir>,
}

/// Starts a simulator. Needs a runtime with its I/O and time on; several threads are better, since machines are swept
/// by threads of their own.
pub async fn serve(options: Options) -> Result<Simulator, SimulatorError> {
    let listen = options.listen;
    let refused = |error| SimulatorError::Listen(listen, error);
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let addr = listener.local_addr().map_err(refused)?;
    // Any port that is free now: each machine takes it at an address of its own.
    let spare = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(refused)?;
    let ssh_port = spare.local_addr().map_err(refused)?.port();
    let (root, temporary) = root(&options).map_err(SimulatorError::Root)?;
    let world = World::new(options, root, ssh_port);
    let ending = watch::Sender::new(false);
    let serving = tokio::spawn(http::serve(listener, world.clone(), ending.subscribe()));
    Ok(Simulator { addr, world, ending, stopped: false, serving: Some(serving), _root: temporary })
}

fn root(options: &Options) -> io::Result<(std::path::PathBuf, Option<tempfile::TempDir>)> {
    let temporary = match &options.root {
        Some(root) => {
            std::fs::create_dir_all(root)?;
            None
        }
        None => Some(tempfile::Builder::new().prefix("trainyard-sim-").tempdir()?),
    };
    let root = options.root.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path));
    // Without links: processes are told by where they work.
    let root = root.unwrap_or_else(|| std::path::Path::new(".")).canonicalize()?;
    Ok((root, temporary))
}

impl Simulator {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The base address of a vendor.
    pub fn vendor_url(&self, vendor: Vendor) -> String {
        format!("{}/{vendor}", self.url())
    }

    /// The template of the addresses of RunPod's proxy.
    pub fn proxy_url(&self) -> String {
        format!("{}/proxy/{{pod}}/{{port}}", self.url())
    }

    /// The world.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// What points a server at it: names and values of environment variables.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TRAINYARD_RUNPOD_URL", self.vendor_url(Vendor::Runpod)),
            ("TRAINYARD_RUNPOD_PROXY_URL", self.proxy_url()),
            ("TRAINYARD_LAMBDA_URL", self.vendor_url(Vendor::Lambda)),
            ("TRAINYARD_LAMBDA_SSH_PORT", self.world.ssh_port().to_string()),
            ("TRAINYARD_VASTAI_URL", self.vendor_url(Vendor::Vastai)),
            ("RUNPOD_API_KEY", Account::usual_key(Vendor::Runpod)),
            ("LAMBDA_API_KEY", Account::usual_key(Vendor::Lambda)),
            ("VAST_API_KEY", Account::usual_key(Vendor::Vastai)),
        ]
    }

    /// The same as lines for a shell: `export NAME='value'`.
    pub fn environment_lines(&self) -> Vec<String> {
        self.environment().into_iter().map(|(name, value)| format!("export {name}='{value}'")).collect()
    }

    /// Nobody listens any more: connections are refused, those that were open are broken off. The machines live on.
    pub async fn unplug(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // Cancelled, as it should be.
            let _ = serving.await;
        }
    }

    /// Listens again, at the same address.
    ///
    /// # Errors
    /// [`SimulatorError::Listen`] where somebody else has taken it meanwhile.
    pub async fn plug(&mut self) -> Result<(), SimulatorError> {
        if self.serving.is_none() {
            let refused = |error| SimulatorError::Listen(self.addr, error);
            let listener = TcpListener::bind(self.addr).await.map_err(refused)?;
            self.serving =
                Some(tokio::spawn(http::serve(listener, self.world.clone(), self.ending.subscribe())));
        }
        Ok(())
    }

    /// Ends it: every machine goes, every process on them is killed, and their directories are removed. With
    /// [`Options::strict`] panics where a machine was alive that nobody explained.
    pub async fn stop(mut self) {
        let left = self.left();
        self.stopped = true;
        self.ending.send_replace(true);
        self.world.end().await;
        if let Some(serving) = self.serving.take() {
            // One that panicked has said so already.
            let _ = serving.await;
        }
        assert!(left.is_empty(), "machines were left alive, and billed: {}", left.join(", "));
    }

    fn left(&self) -> Vec<String> {
        if self.world.options().strict { self.world.unexplained() } else { Vec::new() }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        let left = self.left();
        self.ending.send_replace(true);
        self.world.close();
        self.world.clock().end();
        self.world.kill_all_now();
        let fine = left.is_empty() || std::thread::panicking();
        assert!(fine, "machines were left alive, and billed: {}", left.join(", "));
    }
}
