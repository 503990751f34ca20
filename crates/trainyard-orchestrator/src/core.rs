//! What every part of the orchestrator shares.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use trainyard_connector::{Connector, Vacancy};
use trainyard_domain::{AttemptNumber, Job, JobId, Machine, OrderName, ProviderName};
use trainyard_storage::{DiskArtifacts, InputFiles, LogFiles, Storage};

use crate::bells::{Bells, lock};
use crate::feed::Feeds;
use crate::line::Line;
use crate::link::Link;
use crate::queue::Queue;
use crate::vault::Vault;
use crate::{Clock, Error, Installation, Policy};

/// The shared core. Everything durable is in `storage`; the rest can be lost at any moment.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) artifacts: DiskArtifacts,
    pub(crate) logs: LogFiles,
    pub(crate) inputs: InputFiles,
    pub(crate) installation: Installation,
    pub(crate) vault: Vault,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) providers: BTreeMap<ProviderName, Provider>,
    pub(crate) allowed_paths: Vec<PathBuf>,
    pub(crate) queue: Queue,
    pub(crate) bells: Bells,
    pub(crate) feeds: Feeds,
    pub(crate) links: Mutex<HashMap<OrderName, Arc<Link>>>,
    pub(crate) tokens: crate::commands::TokenCache,
    pub(crate) closing: watch::Sender<bool>,
}

/// A configured provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) line: Line,
}

impl Provider {
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

    /// How soon an agent that comes up is asked again: soon at first, then ever less often.
    pub(crate) fn boot_poll(&self, job: &Job) -> Duration {
        let placed = job.attempt().and_then(|attempt| attempt.placed_at);
        let since = placed.map_or(Duration::ZERO, |at| (self.clock.now() - at).to_std().unwrap_or_default());
        (since / 4).clamp(self.policy.boot_poll, self.policy.look_every)
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
