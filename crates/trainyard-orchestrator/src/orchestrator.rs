//! The orchestrator: a cheap handle on the shared core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use trainyard_connector::Connector;
use trainyard_domain::{InstallationId, Timestamp};
use trainyard_storage::{DiskArtifacts, DiskCheckpoints, Fence, InputFiles, LogFiles, Storage};

use crate::bells::lock;
use crate::core::{Core, Provider};
use crate::queue::Queue;
use crate::vault::Vault;
use crate::{
    Clock, Error, Installation, Keyed, Policy, guard, housekeeping, leftovers, money, offers, reconcile,
    sightings, sweep,
};

/// What an orchestrator is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where jobs and events are kept.
    pub storage: Arc<dyn Storage>,
    /// Where artifacts are kept.
    pub artifacts: DiskArtifacts,
    /// Where checkpoints are kept that were brought home.
    pub checkpoints: DiskCheckpoints,
    /// Where logs are kept.
    pub logs: LogFiles,
    /// Where uploaded inputs are kept.
    pub inputs: InputFiles,
    /// Who we are.
    pub installation: Installation,
    /// The providers, each under its own name.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// Providers that could be configured and are not: name, and in words how to do it. They are listed as such.
    pub unconfigured: Vec<(String, String)>,
    /// Directories that `path:` sources may lie under.
    pub allowed_paths: Vec<PathBuf>,
    /// The limits.
    pub policy: Policy,
    /// Clock and dice.
    pub clock: Arc<dyn Clock>,
}

/// The core to embed. Cloning is cheap; the work goes on until [`Orchestrator::shutdown`].
#[derive(Debug, Clone)]
pub struct Orchestrator {
    pub(crate) core: Arc<Core>,
    pub(crate) tasks: Arc<Mutex<JoinSet<()>>>,
    /// The key under which its commands are given.
    pub(crate) under: Option<Arc<Keyed>>,
}

impl Orchestrator {
    /// Starts to work: takes up every job that is not at rest. Needs a running tokio runtime.
    ///
    /// # Errors
    /// Where the installation's key cannot be used.
    pub fn start(parts: Parts) -> Result<Orchestrator, Error> {
        let vault = Vault::new(&parts.installation)?;
        let providers: BTreeMap<_, _> = parts
            .connectors
            .into_iter()
            .map(|connector| (connector.info().name.clone(), Provider::new(connector)))
            .collect();
        let began = parts.clock.now();
        let core = Arc::new(Core {
            storage: parts.storage,
            artifacts: parts.artifacts,
            checkpoints: parts.checkpoints,
            copies: Semaphore::new(parts.policy.checkpoint_copies_max.max(1)),
            logs: parts.logs,
            inputs: parts.inputs,
            installation: parts.installation,
            vault,
            policy: parts.policy,
            clock: parts.clock,
            providers,
            unconfigured: parts.unconfigured,
            allowed_paths: parts.allowed_paths,
            queue: Queue::default(),
            bells: Default::default(),
            feeds: Default::default(),
            links: Default::default(),
            watches: Default::default(),
            books: Default::default(),
            tokens: Default::default(),
            guard: crate::guard::Guard::new(began),
            closing: watch::channel(false).0,
        });
        let mut tasks = JoinSet::new();
        let driven = core.clone();
        tasks.spawn(async move {
            housekeeping::take_up(&driven).await;
            reconcile::drive(driven).await;
        });
        tasks.spawn(housekeeping::ring_due(core.clone()));
        tasks.spawn(housekeeping::keep_house(core.clone()));
        tasks.spawn(guard::keep(core.clone()));
        tasks.spawn(money::keep_books(core.clone()));
        for (name, provider) in &core.providers {
            let capabilities = provider.connector.info().capabilities;
            tasks.spawn(housekeeping::ring_free(core.clone(), name.clone()));
            tasks.spawn(sweep::keep_swept(core.clone(), name.clone()));
            if capabilities.costs {
                tasks.spawn(sightings::watch_machines(core.clone(), name.clone()));
                tasks.spawn(leftovers::keep_swept(core.clone(), name.clone()));
            }
            if capabilities.offers {
                tasks.spawn(offers::keep_offers(core.clone(), name.clone()));
            }
        }
        Ok(Orchestrator { core, tasks: Arc::new(Mutex::new(tasks)), under: None })
    }

    /// The moment, by the injected clock.
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Who we are.
    pub fn installation(&self) -> &InstallationId {
        self.core.installation.id()
    }

    /// The limits in force.
    pub fn policy(&self) -> &Policy {
        &self.core.policy
    }

    /// The fence under which this process writes.
    pub fn fence(&self) -> Fence {
        self.core.storage.fence()
    }

    /// Whether machines of ours that this database does not know are only reported: it is older than they are, or was
    /// lost, and `recover` has not run.
    pub fn needs_recover(&self) -> bool {
        self.core.guard.holds()
    }

    /// Declares that this database is the one to go by: what it does not know is handed back from now on.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn trust_database(&self) -> Result<(), Error> {
        self.core.guard.lift(&self.core).await
    }

    /// Whether the work goes on: the database takes a write and tells what is due, and the disk takes a small file
    /// where logs and artifacts are.
    ///
    /// # Errors
    /// Where storage refuses, or everything is going down.
    pub async fn ready(&self) -> Result<(), Error> {
        if *self.core.closing.borrow() {
            return Err(Error::new(crate::ErrorKind::Unavailable, "draining", "the server is shutting down"));
        }
        self.core.storage.probe().await?;
        self.core.storage.due(self.core.clock.now(), 1).await?;
        self.core.logs.probe().await?;
        Ok(self.core.artifacts.probe().await?)
    }

    /// Ends streams, stops working, waits up to `grace` for looks under way, and closes storage. Trainings go on.
    pub async fn shutdown(&self, grace: Duration) {
        self.core.closing.send_replace(true);
        self.core.queue.close();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(
                "work was still under way at the end of the grace; it is taken up again at the next start"
            );
            tasks.abort_all();
        }
        lock(&self.core.links).clear();
        self.core.storage.close().await;
    }
}
