//! What every part of the orchestrator shares.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use trainyard_connector::{Connector, ConnectorError, Vacancy};
use trainyard_domain::{AttemptNumber, Job, JobId, Machine, OrderName, ProviderName, Timestamp};
use trainyard_storage::{DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles, Storage};

use crate::bells::{Bells, lock};
use crate::feed::Feeds;
use crate::guard::Guard;
use crate::line::Line;
use crate::link::Link;
use crate::offers::Offers;
use crate::queue::Queue;
use crate::sightings::Sightings;
use crate::sweep::Strays;
use crate::vault::Vault;
use crate::watch::Watch;
use crate::{Clock, Error, Installation, Policy};

/// Between two questions to the agent of a rented machine that is reached and comes up, at least.
const CLOUD_POLL: Duration = Duration::from_millis(100);
/// Between two tries to reach a rented machine; each may ask the vendor.
const UNREACHED_POLL: Duration = Duration::from_millis(700);

/// The shared core. Everything durable is in `storage`; the rest can be lost at any moment.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) artifacts: DiskArtifacts,
    pub(crate) checkpoints: DiskCheckpoints,
    /// Places for copies of checkpoints.
    pub(crate) copies: Semaphore,
    pub(crate) logs: LogFiles,
    pub(crate) inputs: InputFiles,
    pub(crate) installation: Installation,
    pub(crate) vault: Vault,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) providers: BTreeMap<ProviderName, Provider>,
    /// Names of providers that could be configured and are not, each with how to do it.
    pub(crate) unconfigured: Vec<(String, String)>,
    pub(crate) allowed_paths: Vec<PathBuf>,
    pub(crate) queue: Queue,
    pub(crate) bells: Bells,
    pub(crate) feeds: Feeds,
    pub(crate) links: Mutex<HashMap<OrderName, Arc<Link>>>,
    /// What this process knows of rented machines beside their agents.
    pub(crate) watches: Mutex<HashMap<OrderName, Watch>>,
    pub(crate) books: crate::money::Books,
    pub(crate) tokens: crate::commands::TokenCache,
    /// Whether the database is what the machines were ordered with.
    pub(crate) guard: Guard,
    pub(crate) closing: watch::Sender<bool>,
}

/// A configured provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) line: Line,
    pub(crate) sightings: Sightings,
    pub(crate) offers: Offers,
    /// What of ours is there and claimed by nobody.
    pub(crate) strays: Strays,
    /// When it was last asked anything in the background, and what was wrong with the answer.
    pub(crate) health: Mutex<Option<(Timestamp, Option<String>)>>,
    /// What runs there cost beside their training.
    pub(crate) habit: Mutex<crate::money::Habit>,
}

impl Provider {
    pub(crate) fn new(connector: Arc<dyn Connector>) -> Provider {
        Provider {
            connector,
            line: Line::default(),
            sightings: Sightings::default(),
            offers: Offers::default(),
            strays: Strays::default(),
            health: Mutex::default(),
            habit: Mutex::default(),
        }
    }

    /// Whether its machines cost money, and so are watched by one shared listing.
    pub(crate) fn costs(&self) -> bool {
        self.connector.info().capabilities.costs
    }

    /// How long after its order a machine shows in a listing for certain.
    pub(crate) fn settle(&self) -> Duration {
        Duration::from_secs(self.connector.info().settle_s)
    }

    /// Notes how an answer was.
    pub(crate) fn note_health(&self, at: Timestamp, error: Option<&ConnectorError>) {
        *lock(&self.health) = Some((at, error.map(ToString::to_string)));
    }

    pub(crate) fn vacancy(&self, job: &Job) -> Vacancy {
        self.connector.vacancy(&job.spec().resources)
    }
}

impl Core {
    /// The provider that a job was submitted to, where it is configured.
    pub(crate) fn provider_of(&self, job: &Job) -> Option<&Provider> {
        self.providers.get(job.provider()?)
    }

    /// The ledger's entry of an attempt's machine.
    pub(crate) async fn machine_of(
        &self,
        job: &Job,
        attempt: AttemptNumber,
    ) -> Result<Option<Machine>, Error> {
        let Some(attempt) = job.attempts().iter().find(|a| a.number == attempt) else { return Ok(None) };
        Ok(self.storage.machine(&attempt.order).await?)
    }

    /// How soon an agent that comes up is asked again: soon at first, then ever less often. One that is not reached yet
    /// is waited for: the next listing wakes its job.
    pub(crate) fn boot_poll(&self, job: &Job) -> Duration {
        let Some(attempt) = job.attempt() else { return self.policy.boot_poll };
        let since = attempt
            .placed_at
            .map_or(Duration::ZERO, |at| (self.clock.now() - at).to_std().unwrap_or_default());
        let least = match self.provider_of(job).is_some_and(Provider::costs) {
            true if !lock(&self.links).contains_key(&attempt.order) => UNREACHED_POLL,
            true => CLOUD_POLL,
            false => self.policy.boot_poll,
        };
        (since / 4).clamp(least, self.policy.look_every.max(least))
    }

    /// What this process knows of an order's machine, and may change.
    pub(crate) fn watching<T>(&self, order: &OrderName, look: impl FnOnce(&mut Watch) -> T) -> T {
        look(lock(&self.watches).entry(order.clone()).or_default())
    }

    /// The job waits for nothing any more. The bell of a free slot may have been rung for it: the next one hears it.
    pub(crate) fn leave(&self, id: &JobId) {
        for provider in self.providers.values() {
            if provider.line.leave(id)
                && let Some(next) = provider.line.first()
            {
                self.queue.ring(&next);
            }
        }
    }

    /// The job is gone.
    pub(crate) fn forget(&self, id: &JobId) {
        self.leave(id);
        self.bells.ring(id);
    }

    /// The agent of that order is of no more interest.
    pub(crate) fn unlink(&self, order: &OrderName) {
        let link = lock(&self.links).remove(order);
        lock(&self.watches).remove(order);
        // Also where somebody else still holds the link: nothing more is to be taken from that agent.
        if let Some(link) = link {
            link.unfollow();
        }
    }

    /// Resolves when the orchestrator goes down.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // An error means that the core itself is gone, which is as good as closed.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
