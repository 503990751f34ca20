//! The sweep: hands back what bears our installation's mark and nobody claims, and never anything else.
//!
//! A machine is claimed by an entry of the ledger that a job's present attempt, its hold or its keeping stands behind.
//! One that the ledger knows and nobody claims goes at once; one that it does not know after the settling time; both only
//! where several good listings in a row show it. A failed or short listing proves nothing. What was handed back is
//! asked for again and again for as long as it is listed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use trainyard_connector::{MachineObservation, MachinePhase};
use trainyard_domain::{Machine, OrderName, ProviderJobId, ProviderName};

use crate::bells::lock;
use crate::core::{Core, Provider};
use crate::{Error, ErrorKind};

/// How long the sweep waits for a listing.
const LISTING_WAIT: Duration = Duration::from_secs(90);
/// Between two sweeps at least, however much is due.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Strays that are shown of one provider.
const SHOWN_MAX: usize = 100;

/// What is there and claimed by nobody, by name and the vendor's id.
#[derive(Debug, Default)]
pub(crate) struct Strays(Mutex<HashMap<(OrderName, ProviderJobId), Stray>>);

/// One of them.
#[derive(Debug, Clone)]
struct Stray {
    /// When it was first seen so.
    since: Instant,
    kind: Kind,
    /// It is left alone: the database is not the one it was ordered with.
    spared: bool,
    /// When it was last asked to go.
    asked: Option<Instant>,
}

/// Why nobody claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its job has gone on without it, or it was believed gone.
    Left,
    /// A second machine under the name of an order: a vendor acted twice.
    Second,
    /// The ledger does not know it.
    Unknown,
}

impl Strays {
    /// What there is, in words.
    pub(crate) fn in_words(&self) -> Vec<String> {
        let all = lock(&self.0);
        let mut words: Vec<String> = all
            .iter()
            .map(|((order, id), stray)| match (stray.spared, stray.asked) {
                (true, _) => format!("{order} ({id}): not in this database; run `trainyard recover`"),
                (false, Some(_)) => format!("{order} ({id}): it was asked to go"),
                (false, None) => format!("{order} ({id}): it is about to be handed back"),
            })
            .collect();
        words.sort();
        words.truncate(SHOWN_MAX);
        words
    }

    /// Notes what is unclaimed now, and forgets what is not any more.
    fn note(&self, found: &HashMap<(OrderName, ProviderJobId), (Kind, bool)>) {
        let mut all = lock(&self.0);
        all.retain(|key, _| found.contains_key(key));
        for (key, (kind, spared)) in found {
            let new = || Stray { since: Instant::now(), kind: *kind, spared: *spared, asked: None };
            let stray = all.entry(key.clone()).or_insert_with(new);
            (stray.kind, stray.spared) = (*kind, *spared);
        }
    }

    /// What is to be handed back now, and when there is something to do again.
    fn due(&self, settle: Duration, again: Duration) -> (Vec<(OrderName, ProviderJobId)>, Option<Instant>) {
        let all = lock(&self.0);
        let (mut due, mut next, now) = (Vec::new(), None::<Instant>, Instant::now());
        for (key, stray) in all.iter().filter(|(_, stray)| !stray.spared) {
            let settled = match stray.kind {
                Kind::Unknown => stray.since + settle,
                Kind::Left | Kind::Second => stray.since,
            };
            let at = stray.asked.map_or(settled, |asked| settled.max(asked + again));
            if at <= now {
                due.push(key.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (due, next)
    }

    fn asked(&self, key: &(OrderName, ProviderJobId)) {
        if let Some(stray) = lock(&self.0).get_mut(key) {
            stray.asked = Some(Instant::now());
        }
    }
}

/// Sweeps one provider for as long as the orchestrator lives.
pub(crate) async fn keep_swept(core: Arc<Core>, name: ProviderName) {
    let Some(provider) = core.providers.get(&name) else { return };
    loop {
        let begun = Instant::now();
        // It waits for listings, which end with the orchestrator; what is cut off is swept after the next start.
        let swept = tokio::select! {
            swept = sweep(&core, provider) => swept,
            () = core.closed() => return,
        };
        let next = swept.unwrap_or_else(|error| {
            let detail = error.detail_text();
            tracing::warn!(provider = %name, error = %error, %detail, "the sweep failed; it is tried again");
            None
        });
        let usual = begun + core.policy.sweep_every;
        let at = next.map_or(usual, |next| next.min(usual)).max(Instant::now() + PAUSE_MIN);
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = core.closed() => return,
        }
    }
}

/// One sweep. Says when something is due before the next ordinary one.
async fn sweep(core: &Arc<Core>, provider: &Provider) -> Result<Option<Instant>, Error> {
    let Some(owned) = listed(core, provider, 1).await? else { return Ok(None) };
    let _turn = core.guard.turn.lock().await;
    note(core, provider, &owned).await?;
    let (due, next) = provider.strays.due(provider.settle(), core.policy.release_again);
    if due.is_empty() {
        return Ok(next);
    }
    // Only what several good listings show, the last of them made now.
    let Some(owned) = steady(core, provider).await? else { return Ok(next) };
    note(core, provider, &owned).await?;
    let (still, next) = provider.strays.due(provider.settle(), core.policy.release_again);
    for key in due.iter().filter(|key| still.contains(key)) {
        hand_back(provider, key).await;
    }
    Ok(next)
}

/// What the provider shows of ours that is not gone; none where its listing did not come.
async fn listed(
    core: &Arc<Core>,
    provider: &Provider,
    readings: usize,
) -> Result<Option<Vec<MachineObservation>>, Error> {
    let owned = if provider.costs() {
        provider.sightings.steady(readings, LISTING_WAIT).await
    } else {
        let listed = provider.connector.list_owned(core.installation.id()).await;
        Some(listed.map_err(|error| {
            let text = "the provider's machines could not be listed";
            Error::new(ErrorKind::Provider, "listing", text).because(error)
        })?)
    };
    let ours = |machine: &MachineObservation| {
        // The mark is looked at once more here: whatever a connector says, a foreign machine is not touched.
        machine.phase != MachinePhase::Gone && machine.order.installation() == core.installation.id().as_str()
    };
    Ok(owned.map(|owned| owned.into_iter().filter(ours).collect()))
}

/// What so many good listings in a row show, the newest made now.
async fn steady(core: &Arc<Core>, provider: &Provider) -> Result<Option<Vec<MachineObservation>>, Error> {
    let readings = core.policy.gone_readings.max(1);
    for _ in 0..readings {
        if let Some(owned) = listed(core, provider, readings).await? {
            return Ok(Some(owned));
        }
    }
    Ok(None)
}

async fn note(core: &Core, provider: &Provider, owned: &[MachineObservation]) -> Result<(), Error> {
    let mut found = HashMap::new();
    for machine in owned {
        let Some(kind) = unclaimed(core, machine).await? else { continue };
        let spared = kind == Kind::Unknown && core.guard.spares(core, &machine.order).await?;
        found.insert((machine.order.clone(), machine.id.clone()), (kind, spared));
    }
    provider.strays.note(&found);
    Ok(())
}

/// Why nobody claims a machine; none where somebody does.
async fn unclaimed(core: &Core, machine: &MachineObservation) -> Result<Option<Kind>, Error> {
    // The ledger's entry is written before the order goes out: what it does not know, nobody here ordered.
    let Some(entry) = core.storage.machine(&machine.order).await? else { return Ok(Some(Kind::Unknown)) };
    if !entry.may_be_billed() {
        return Ok(Some(Kind::Left));
    }
    if entry.provider_job_id.as_ref().is_some_and(|ours| *ours != machine.id) {
        return Ok(Some(Kind::Second));
    }
    Ok(if is_claimed(core, &entry).await? { None } else { Some(Kind::Left) })
}

/// Whether a job stands behind an open entry of the ledger.
async fn is_claimed(core: &Core, entry: &Machine) -> Result<bool, Error> {
    for (id, attempt) in &entry.attempts {
        let Some(stored) = core.storage.load(id).await? else { continue };
        let last = stored.job.attempt().is_some_and(|last| last.number == *attempt);
        if last && stored.job.state().claim().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks for the removal of one of them.
async fn hand_back(provider: &Provider, key: &(OrderName, ProviderJobId)) {
    let (order, id) = key;
    tracing::warn!(%order, machine = %id, "a machine that nobody claims is handed back");
    match provider.connector.terminate(order, id).await {
        Ok(_) => metrics::counter!("trainyard_strays_handed_back_total").increment(1),
        Err(error) => tracing::warn!(%order, %error, "handing it back failed; it is tried again"),
    }
    provider.strays.asked(key);
}
