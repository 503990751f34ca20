//! Machines for rent: one cache per provider, filled in the background and before orders, never by a caller.
//!
//! A vendor is asked for what meets one need at a time, so readings are kept by need: of a handful of needs, those
//! asked for last. Many who want the same reading at once share one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use trainyard_connector::Offer;
use trainyard_domain::{ProviderName, Reason, Resources, Timestamp};

use crate::bells::lock;
use crate::core::{Core, Provider};
use crate::reconcile::reason_of;

/// Needs whose offers are kept per provider.
const NEEDS_MAX: usize = 32;
/// A need that nobody asked about for this long is not read any more.
const NEED_KEPT: Duration = Duration::from_secs(600);
/// How often the background looks for readings that grow old.
const REFRESH_EVERY: Duration = Duration::from_secs(15);
/// A failed reading is not repeated before this: many may ask at once.
const FAILED_FOR: Duration = Duration::from_secs(2);

/// The readings of one provider.
#[derive(Debug)]
pub(crate) struct Offers {
    needs: Mutex<Vec<Arc<Need>>>,
    bell: Notify,
    /// Counts readings, good and failed.
    read: watch::Sender<u64>,
}

/// One need and what was last read for it.
#[derive(Debug)]
struct Need {
    resources: Resources,
    state: Mutex<NeedState>,
    /// One reading at a time.
    gate: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct NeedState {
    reading: Option<Reading>,
    failed: Option<(Instant, Reason)>,
    asked: Instant,
}

/// What a provider answered.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) offers: Arc<Vec<Offer>>,
    pub(crate) as_of: Timestamp,
    at: Instant,
}

/// What is known of a provider's offers for a need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The last good reading, however old.
    pub(crate) reading: Option<Reading>,
    /// Why the one after it failed.
    pub(crate) error: Option<Reason>,
}

impl Default for Offers {
    fn default() -> Self {
        Offers { needs: Mutex::default(), bell: Notify::new(), read: watch::channel(0).0 }
    }
}

/// Everything that a provider has on demand.
pub(crate) fn everything() -> Resources {
    Resources { gpu_count: 0, disk_gb: 1, ..Resources::default() }
}

/// What decides which offers a vendor shows; prices are looked at here.
fn key(need: &Resources) -> Resources {
    let mut key = Resources { max_price_per_hour: None, keep_warm_s: 0, ..need.clone() };
    key.gpu.sort();
    key.regions.sort();
    key
}

impl Offers {
    fn need(&self, resources: &Resources) -> Arc<Need> {
        let resources = key(resources);
        let mut needs = lock(&self.needs);
        if let Some(known) = needs.iter().find(|need| need.resources == resources) {
            lock(&known.state).asked = Instant::now();
            return known.clone();
        }
        if needs.len() >= NEEDS_MAX {
            let oldest = needs.iter().enumerate().min_by_key(|(_, need)| lock(&need.state).asked);
            if let Some(oldest) = oldest.map(|(i, _)| i) {
                needs.swap_remove(oldest);
            }
        }
        let state = NeedState { reading: None, failed: None, asked: Instant::now() };
        let need =
            Arc::new(Need { resources, state: Mutex::new(state), gate: tokio::sync::Mutex::default() });
        needs.push(need.clone());
        need
    }

    /// What is known without asking anybody.
    pub(crate) fn known(&self, resources: &Resources) -> Known {
        self.need(resources).known()
    }

    /// Asks the background to look whether everything is young enough.
    pub(crate) fn refresh_soon(&self) {
        self.need(&everything());
        self.bell.notify_one();
    }

    /// What is known, at most that old where the provider answers: an older reading is asked for and waited for, a while.
    /// The provider is asked in the background; dropping this future stops nothing.
    pub(crate) async fn recent(&self, resources: &Resources, age: Duration, wait: Duration) -> Known {
        let need = self.need(resources);
        let deadline = Instant::now() + wait;
        let began = Instant::now();
        let mut read = self.read.subscribe();
        loop {
            read.mark_unchanged();
            let failed = lock(&need.state).failed.as_ref().is_some_and(|(at, _)| *at >= began);
            if failed || need.is_younger(age) {
                return need.known();
            }
            self.bell.notify_one();
            if tokio::time::timeout_at(deadline, read.changed()).await.is_err() {
                return need.known();
            }
        }
    }

    /// A reading at most that old; asks the provider where there is none. For the reconciler and the background only.
    pub(crate) async fn read(
        &self,
        core: &Core,
        provider: &Provider,
        resources: &Resources,
        age: Duration,
    ) -> Result<Reading, Reason> {
        self.read_need(core, provider, &self.need(resources), age).await
    }

    async fn read_need(
        &self,
        core: &Core,
        provider: &Provider,
        need: &Need,
        age: Duration,
    ) -> Result<Reading, Reason> {
        let _one = need.gate.lock().await;
        if let Some(settled) = need.settled(age) {
            return settled;
        }
        let asked = provider.connector.offers(&need.resources).await;
        provider.note_health(core.clock.now(), asked.as_ref().err());
        let read = match asked {
            Ok(offers) => {
                let reading =
                    Reading { offers: Arc::new(offers), as_of: core.clock.now(), at: Instant::now() };
                let mut state = lock(&need.state);
                (state.reading, state.failed) = (Some(reading.clone()), None);
                Ok(reading)
            }
            Err(error) => {
                tracing::debug!(error = %error, "offers could not be read");
                let reason = reason_of(&error);
                lock(&need.state).failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        };
        self.read.send_modify(|count| *count += 1);
        read
    }

    /// Needs that somebody asked about lately.
    fn wanted(&self) -> Vec<Arc<Need>> {
        let mut needs = lock(&self.needs);
        needs.retain(|need| lock(&need.state).asked.elapsed() < NEED_KEPT);
        needs.clone()
    }
}

impl Need {
    fn known(&self) -> Known {
        let state = lock(&self.state);
        Known {
            reading: state.reading.clone(),
            error: state.failed.as_ref().map(|(_, reason)| reason.clone()),
        }
    }

    fn is_younger(&self, age: Duration) -> bool {
        lock(&self.state).reading.as_ref().is_some_and(|reading| reading.at.elapsed() <= age)
    }

    /// The answer where the provider need not be asked.
    fn settled(&self, age: Duration) -> Option<Result<Reading, Reason>> {
        let state = lock(&self.state);
        if let Some((at, reason)) = &state.failed
            && at.elapsed() < FAILED_FOR
        {
            return Some(Err(reason.clone()));
        }
        state.reading.clone().filter(|reading| reading.at.elapsed() <= age).map(Ok)
    }
}

/// Keeps a provider's readings young for as long as the orchestrator lives: those that somebody asked about lately.
pub(crate) async fn keep_offers(core: Arc<Core>, name: ProviderName) {
    let Some(provider) = core.providers.get(&name) else { return };
    let offers = &provider.offers;
    // The first reading tells whether the provider answers at all.
    offers.need(&everything());
    loop {
        for need in offers.wanted() {
            // Old before the next look, or old already.
            let age = core.policy.offers_age.saturating_sub(REFRESH_EVERY);
            tokio::select! {
                // A failure is kept with the need, and shown.
                _ = offers.read_need(&core, provider, &need, age) => {}
                () = core.closed() => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH_EVERY) => {}
            () = offers.bell.notified() => {}
            () = core.closed() => return,
        }
    }
}
