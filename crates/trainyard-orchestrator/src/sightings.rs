//! What is rented at a provider that costs money, as its one shared listing shows it.
//!
//! A task per provider lists while something of ours may be rented there: quickly while something boots or ends, else
//! slowly; never per job. Jobs read what it saw, with the time of each reading. Only good listings prove anything: a
//! machine is gone when several in a row, each begun after its removal was accepted, do not show it (any more).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use trainyard_connector::{ConnectorError, MachineObservation, MachinePhase};
use trainyard_domain::{JobId, OrderName, ProviderJobId, ProviderName, Reason, Timestamp};

use crate::bells::lock;
use crate::core::Core;
use crate::reconcile::reason_of;
use crate::release;

/// Listings that are remembered: more than any proof asks for.
const LISTINGS_KEPT: usize = 4;
/// How long one look that wants the next listing soon keeps the quick pace.
const HURRY: Duration = Duration::from_secs(5);
/// A clock that is off by more than this since the listing before was set, or stood still while the machine slept.
const JUMP_MIN: Duration = Duration::from_secs(5);
/// Entries of the ledger that are looked at for one provider.
pub(crate) const OPEN_ENTRIES: usize = 10_000;

/// The readings of one provider.
#[derive(Debug)]
pub(crate) struct Sightings {
    state: Mutex<State>,
    /// Rung by who wants a listing now.
    bell: Notify,
    /// Counts listings, good and failed.
    made: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Good listings, the newest first.
    good: VecDeque<Arc<Listing>>,
    good_at: Option<Instant>,
    /// Why the last one failed; none where it was good.
    error: Option<Reason>,
    /// How many failed in a row.
    failed: u32,
    /// When each machine was last shown as not gone, by its id: a vendor may make two under one name. Only those that are
    /// open on the ledger.
    shown: HashMap<OrderName, HashMap<ProviderJobId, Timestamp>>,
    /// When each of them was first shown as up; none where it was never shown as anything else before.
    up: HashMap<OrderName, HashMap<ProviderJobId, Option<Timestamp>>>,
    /// Jobs that are to be looked at after the next listing.
    waiting: HashSet<JobId>,
    quick_until: Option<Instant>,
    /// Our clock, and the time that cannot be set, at the listing before.
    clock: Option<(Timestamp, Instant)>,
    /// Until then absence proves nothing: our clock jumped, and what was ordered before may seem older than it is.
    doubtful_until: Option<Instant>,
}

/// One good listing.
#[derive(Debug)]
struct Listing {
    /// Our own clock before it was asked for: what it shows was true at that moment or later.
    began: Timestamp,
    machines: HashMap<OrderName, Vec<MachineObservation>>,
}

/// The readings that prove a machine gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// In words, for the ledger.
    pub(crate) text: String,
    /// The last reading that still showed it, where one did.
    pub(crate) last_shown: Option<Timestamp>,
}

impl Default for Sightings {
    fn default() -> Self {
        Sightings { state: Mutex::default(), bell: Notify::new(), made: watch::channel(0).0 }
    }
}

impl Sightings {
    /// The job wants the next listing soon, and to be looked at after it.
    pub(crate) fn want(&self, id: &JobId) {
        let mut state = lock(&self.state);
        state.waiting.insert(id.clone());
        let began = state.quick_until.is_none_or(|until| until <= Instant::now());
        state.quick_until = Some(Instant::now() + HURRY);
        drop(state);
        if began {
            self.bell.notify_one();
        }
    }

    /// The machine of an order as the newest good listing shows it: of several under one name the one with that id,
    /// else one that is not gone, else the one with the lowest id.
    pub(crate) fn latest(&self, order: &OrderName, id: Option<&ProviderJobId>) -> Option<MachineObservation> {
        let state = lock(&self.state);
        let all = state.good.front()?.machines.get(order)?;
        match id {
            Some(id) => all.iter().find(|machine| machine.id == *id).cloned(),
            None => all.iter().find(|machine| machine.phase != MachinePhase::Gone).or(all.first()).cloned(),
        }
    }

    /// Whether so many good listings in a row, the newest included and each begun after that moment, show no machine
    /// of that order (with that id, where one is given) that is not gone.
    pub(crate) fn absent(
        &self,
        order: &OrderName,
        id: Option<&ProviderJobId>,
        after: Timestamp,
        readings: usize,
    ) -> Option<Proof> {
        self.absent_at(Instant::now(), order, id, after, readings)
    }

    fn absent_at(
        &self,
        now: Instant,
        order: &OrderName,
        id: Option<&ProviderJobId>,
        after: Timestamp,
        readings: usize,
    ) -> Option<Proof> {
        let state = lock(&self.state);
        if state.doubtful_until.is_some_and(|until| until > now) {
            return None;
        }
        let absent = |listing: &&Arc<Listing>| listing.began >= after && !listing.shows(order, id);
        let streak: Vec<&Arc<Listing>> = state.good.iter().take_while(absent).take(readings.max(1)).collect();
        if streak.len() < readings.max(1) {
            return None;
        }
        let times: Vec<String> = streak
            .iter()
            .rev()
            .map(|listing| listing.began.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .collect();
        let last_shown = state.shown.get(order).and_then(|shown| shown.values().max()).copied();
        let text = format!("{} listings of the provider do not show it ({})", times.len(), times.join(", "));
        Some(Proof { text, last_shown })
    }

    /// Whether a listing of this process ever showed that order's machine (the one with that id, where one is given).
    pub(crate) fn was_shown(&self, order: &OrderName, id: Option<&ProviderJobId>) -> bool {
        let state = lock(&self.state);
        state.shown.get(order).is_some_and(|shown| id.is_none_or(|id| shown.contains_key(id)))
    }

    /// When a listing of this process first showed that order's machine as up: the one with that id, since a vendor may
    /// make two under one name. Where the first one that showed it at all showed it as up, it may have been since
    /// `placed`.
    pub(crate) fn up_since(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
        placed: Timestamp,
    ) -> Option<Timestamp> {
        lock(&self.state).up.get(order)?.get(id).map(|seen| seen.unwrap_or(placed))
    }

    /// What the newest good listing shows that is not gone.
    pub(crate) fn alive(&self) -> Vec<MachineObservation> {
        let state = lock(&self.state);
        let all = state.good.front().into_iter().flat_map(|listing| listing.machines.values().flatten());
        all.filter(|machine| machine.phase != MachinePhase::Gone).cloned().collect()
    }

    /// Whether the provider answers: the last listing was good and is not old.
    pub(crate) fn is_fresh(&self, patience: Duration) -> bool {
        let state = lock(&self.state);
        state.error.is_none() && state.good_at.is_some_and(|at| at.elapsed() <= patience)
    }

    /// Why the provider's listing failed, twice or more in a row.
    pub(crate) fn trouble(&self) -> Option<Reason> {
        let state = lock(&self.state);
        state.error.clone().filter(|_| state.failed >= 2)
    }

    /// What every one of the last so many good listings shows and does not call gone. Asks for a listing and waits for
    /// it, at most that long; none where it failed or did not come.
    pub(crate) async fn steady(&self, readings: usize, wait: Duration) -> Option<Vec<MachineObservation>> {
        let mut made = self.made.subscribe();
        made.mark_unchanged();
        self.bell.notify_one();
        tokio::time::timeout(wait, made.changed()).await.ok()?.ok()?;
        let state = lock(&self.state);
        if state.error.is_some() || state.good.len() < readings {
            return None;
        }
        let newest = state.good.front()?;
        let steady = |machine: &&MachineObservation| {
            let mut last = state.good.iter().take(readings);
            last.all(|listing| listing.shows(&machine.order, Some(&machine.id)))
        };
        Some(newest.machines.values().flatten().filter(steady).cloned().collect())
    }

    /// Notes the time of a listing that begins. Where our clock jumped since the one before, the readings before it are
    /// dropped, and for `settle` absence proves nothing.
    fn note_clock(&self, began: Timestamp, now: Instant, settle: Duration) {
        let mut state = lock(&self.state);
        let Some((before, then)) = state.clock.replace((began, now)) else { return };
        let passed = chrono::TimeDelta::from_std(now - then).unwrap_or(chrono::TimeDelta::MAX);
        let off = ((began - before) - passed).abs().to_std().unwrap_or_default();
        if off > JUMP_MIN {
            state.good.clear();
            state.doubtful_until = Some(now + settle);
        }
    }

    /// Takes a good listing.
    fn take(&self, began: Timestamp, machines: Vec<MachineObservation>, open: &HashSet<OrderName>) {
        let mut by_order: HashMap<OrderName, Vec<MachineObservation>> = HashMap::new();
        for machine in machines {
            by_order.entry(machine.order.clone()).or_default().push(machine);
        }
        for all in by_order.values_mut() {
            all.sort_by(|a, b| a.id.cmp(&b.id));
            // Mostly one, and kept for a while.
            all.shrink_to_fit();
        }
        let listing = Listing { began, machines: by_order };
        let mut state = lock(&self.state);
        state.shown.retain(|order, _| open.contains(order));
        state.up.retain(|order, _| open.contains(order));
        for order in open {
            for machine in listing.machines.get(order).into_iter().flatten() {
                state.note(order, machine, began);
            }
        }
        state.good.push_front(Arc::new(listing));
        state.good.truncate(LISTINGS_KEPT);
        (state.good_at, state.error, state.failed) = (Some(Instant::now()), None, 0);
    }

    fn fail(&self, reason: Reason) {
        let mut state = lock(&self.state);
        state.error = Some(reason);
        state.failed = state.failed.saturating_add(1);
    }

    /// The pace: how long after the beginning of the last listing the next one is made.
    fn pace(&self, core: &Core, any_open: bool) -> Option<Duration> {
        let state = lock(&self.state);
        let (quick, slow) = (core.policy.listing_quick, core.policy.listing_slow);
        if state.failed > 0 {
            return Some((quick * 2u32.saturating_pow(state.failed.min(8))).min(slow));
        }
        if state.quick_until.is_some_and(|until| until > Instant::now()) {
            return Some(quick);
        }
        any_open.then_some(slow)
    }

    fn ring_waiting(&self, core: &Core) {
        let waiting = std::mem::take(&mut lock(&self.state).waiting);
        waiting.iter().for_each(|id| core.queue.ring(id));
    }
}

impl State {
    /// Notes what a listing that began then shows of a machine.
    fn note(&mut self, order: &OrderName, machine: &MachineObservation, began: Timestamp) {
        if machine.phase == MachinePhase::Gone {
            return;
        }
        let shown = self.shown.entry(order.clone()).or_default();
        let before = shown.insert(machine.id.clone(), began);
        if machine.phase == MachinePhase::Up {
            let up = self.up.entry(order.clone()).or_default();
            up.entry(machine.id.clone()).or_insert(before.map(|_| began));
        }
    }
}

impl Listing {
    fn shows(&self, order: &OrderName, id: Option<&ProviderJobId>) -> bool {
        self.machines.get(order).is_some_and(|all| {
            all.iter().any(|m| m.phase != MachinePhase::Gone && id.is_none_or(|id| m.id == *id))
        })
    }
}

/// Lists a provider's machines for as long as the orchestrator lives.
pub(crate) async fn watch_machines(core: Arc<Core>, name: ProviderName) {
    let Some(provider) = core.providers.get(&name) else { return };
    let sightings = &provider.sightings;
    loop {
        let began = Instant::now();
        let any_open = list(&core, &name).await;
        sightings.made.send_modify(|made| *made += 1);
        sightings.ring_waiting(&core);
        // A bell may ask for a listing sooner, but never sooner than the quick pace.
        tokio::select! {
            () = tokio::time::sleep_until(began + core.policy.listing_quick) => {}
            () = core.closed() => return,
        }
        let next = sightings.pace(&core, any_open).map(|pace| began + pace);
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = sightings.bell.notified() => {}
            () = core.closed() => return,
        }
    }
}

/// One listing, and what follows from it for machines that no job waits for any more. Says whether anything of ours
/// may be rented there.
async fn list(core: &Arc<Core>, name: &ProviderName) -> bool {
    let Some(provider) = core.providers.get(name) else { return false };
    let began = core.clock.now();
    provider.sightings.note_clock(began, Instant::now(), provider.settle());
    let listed = tokio::select! {
        listed = provider.connector.list_owned(core.installation.id()) => listed,
        () = core.closed() => return false,
    };
    let open = match core.storage.machines(true, OPEN_ENTRIES).await {
        Ok(open) => open,
        Err(error) => {
            tracing::warn!(error = %error, "the ledger could not be read");
            return true;
        }
    };
    let open: Vec<_> = open.into_iter().filter(|entry| entry.provider == *name).collect();
    provider.note_health(core.clock.now(), listed.as_ref().err());
    match listed {
        Ok(machines) => {
            let orders = open.iter().map(|entry| entry.order.clone()).collect();
            provider.sightings.take(began, machines, &orders);
            release::close(core, provider, &open).await;
        }
        Err(error) => failed(provider, name, &error),
    }
    !open.is_empty()
}

fn failed(provider: &crate::core::Provider, name: &ProviderName, error: &ConnectorError) {
    tracing::warn!(provider = %name, error = %error, "a listing failed; it proves nothing");
    provider.sightings.fail(reason_of(error));
}

#[cfg(test)]
mod tests;
