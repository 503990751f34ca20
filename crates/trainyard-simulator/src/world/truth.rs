//! What is true: for the skins' listings, for tests, and for `/world`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use trainyard_domain::{Money, Timestamp};

use super::machine::Kept;
use super::{Call, Cause, Count, Machine, Phase, Source, Uid, World};
use crate::faults::Fault;
use crate::ledger::Invoice;
use crate::vendor::Vendor;

/// The whole truth, as `GET /world` tells it.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    /// The world's time.
    pub now: Timestamp,
    /// Seconds of the world in a real second; 0: it is stepped.
    pub speed: f64,
    /// Every machine ever placed, oldest first.
    pub machines: Vec<MachineTruth>,
    /// What every vendor bills so far.
    pub bills: BTreeMap<Vendor, Money>,
    /// How often what was asked.
    pub asked: BTreeMap<Vendor, BTreeMap<&'static str, Count>>,
}

/// One machine, as `GET /world` tells it.
#[derive(Debug, Clone, Serialize)]
pub struct MachineTruth {
    /// Whose.
    pub vendor: Vendor,
    /// The vendor's id.
    pub id: String,
    /// Its name or label.
    pub name: String,
    /// Whether anything of it is left.
    pub alive: bool,
    /// How it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Why it stands still or goes.
    pub cause: Cause,
    /// Which offer was bought.
    pub offer: String,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it was gone.
    pub gone_at: Option<Timestamp>,
    /// How often its program was started.
    pub starts: u32,
    /// How its program ended each time.
    pub exits: Vec<i32>,
    /// What its GPUs cost per hour.
    pub price_per_hour: Money,
    /// What it has cost so far.
    pub invoice: Invoice,
}

impl World {
    /// What a reading of the vendor's list shows, newest first: every machine that is alive, and those gone for less
    /// than `gone_shown` (Lambda shows them as terminated for a while). The faults of the call that concern readings
    /// strike here.
    pub fn listing(&self, call: &Call, gone_shown: Duration) -> Vec<Machine> {
        let now = self.now();
        let mut shown = self.machines_of(call.vendor);
        shown.retain(|machine| is_shown(call, machine, now, gone_shown));
        shown.reverse();
        for machine in &mut shown {
            if let (Some(seen), Some(_)) = (machine.gone_at, call.dead_shown()) {
                // As it was: a stale reading does not know that it went.
                machine.phase = Phase::Running;
                machine.gone_at = None;
                machine.since = seen;
            }
        }
        if call.drawn.has(&Fault::PageSlip) && !shown.is_empty() {
            shown.remove(0);
        }
        shown
    }

    /// What a reading of one machine shows; none where the vendor does not know it, or not yet, or not any more.
    pub fn reading(&self, call: &Call, id: &str, gone_shown: Duration) -> Option<Machine> {
        self.listing(call, gone_shown).into_iter().find(|machine| machine.id == id)
    }

    /// The newest machine of that id, alive or gone.
    pub fn machine(&self, vendor: Vendor, id: &str) -> Option<Machine> {
        self.state().by_id(vendor, id).map(|kept| kept.now.clone())
    }

    /// Every machine of a vendor, alive or gone, oldest first.
    pub fn machines_of(&self, vendor: Vendor) -> Vec<Machine> {
        let state = self.state();
        state
            .machines
            .values()
            .filter(|kept| kept.now.vendor == vendor)
            .map(|kept| kept.now.clone())
            .collect()
    }

    /// Every machine, alive or gone, oldest first.
    pub fn machines(&self) -> Vec<Machine> {
        self.state().machines.values().map(|kept| kept.now.clone()).collect()
    }

    /// Those that are alive.
    pub fn alive(&self) -> Vec<Machine> {
        self.machines().into_iter().filter(Machine::is_alive).collect()
    }

    /// What a machine has cost so far.
    pub fn invoice(&self, vendor: Vendor, id: &str) -> Option<Invoice> {
        let now = self.now();
        self.machine(vendor, id).map(|machine| machine.invoice(now))
    }

    /// What a vendor bills so far, for all machines together.
    pub fn bill(&self, vendor: Vendor) -> Money {
        self.state().spent(vendor, self.now())
    }

    /// Panics where a machine is alive that nobody [explained](World::explain): for the end of a test.
    pub fn assert_empty(&self) {
        let left: Vec<String> = self.unexplained();
        assert!(left.is_empty(), "machines are left alive, and billed: {}", left.join(", "));
    }

    pub(crate) fn unexplained(&self) -> Vec<String> {
        let left = self.alive().into_iter().filter(|machine| !machine.explained);
        left.map(|it| format!("{} {} ({}, {})", it.vendor, it.id, it.name, it.phase.word())).collect()
    }

    /// The whole truth.
    pub fn truth(&self) -> Truth {
        let now = self.now();
        Truth {
            now,
            speed: self.clock().speed(),
            machines: self.machines().into_iter().map(|machine| machine.truth(now)).collect(),
            bills: Vendor::ALL.map(|vendor| (vendor, self.bill(vendor))).into(),
            asked: self.counts(),
        }
    }

    pub(crate) fn by_uid(&self, uid: Uid) -> Option<Machine> {
        self.state().machines.get(&uid).map(|kept| kept.now.clone())
    }

    pub(super) fn edit_by_uid<T>(&self, uid: Uid, edit: impl FnOnce(&mut Kept, Timestamp) -> T) -> Option<T> {
        let now = self.now();
        let edited = self.state().machines.get_mut(&uid).map(|kept| edit(kept, now));
        self.ring();
        edited
    }

    pub(super) fn enter(&self, uid: Uid, phase: Phase) {
        self.edit_by_uid(uid, |kept, now| kept.enter(phase, now));
    }

    /// Waits until it runs.
    pub(super) async fn runs(&self, uid: Uid) {
        let mut bell = self.inner.bell.subscribe();
        let runs = |world: &World| world.by_uid(uid).is_none_or(|machine| machine.phase == Phase::Running);
        while !runs(self) && bell.changed().await.is_ok() {}
    }

    /// A line of the host's in its log.
    pub fn note(&self, machine: &Machine, text: impl Into<String>) {
        machine.log.write(self.now(), Source::System, text);
    }

    pub(super) fn next_forced_exit(&self, uid: Uid) -> Option<(i32, Duration)> {
        let forced = self.edit_by_uid(uid, |kept, _| match &mut kept.now.ills.exits {
            Some((code, times, after)) if *times > 0 => {
                *times -= 1;
                Some((*code, *after))
            }
            _ => None,
        });
        forced.flatten()
    }

    /// It is gone: its directory too, and its units are free again.
    pub(super) async fn bury(&self, uid: Uid) {
        let Some(machine) = self.by_uid(uid) else { return };
        if let Err(error) = tokio::fs::remove_dir_all(&machine.root).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(root = %machine.root.display(), %error, "a machine's directory is left");
        }
        self.edit_by_uid(uid, |kept, now| {
            kept.now.mapped.clear();
            kept.enter(Phase::Gone, now)
        });
        self.state().put_back(&machine.offer, machine.order.units);
        self.ring();
    }
}

impl Machine {
    fn truth(self, now: Timestamp) -> MachineTruth {
        MachineTruth {
            invoice: self.invoice(now),
            alive: self.is_alive(),
            vendor: self.vendor,
            id: self.id,
            name: self.name,
            phase: self.phase,
            since: self.since,
            cause: self.cause,
            offer: self.offer.id.clone(),
            placed_at: self.placed_at,
            gone_at: self.gone_at,
            starts: self.starts,
            exits: self.exits,
            price_per_hour: self.price_per_hour,
        }
    }
}

fn is_shown(call: &Call, machine: &Machine, now: Timestamp, gone_shown: Duration) -> bool {
    let age = (now - machine.placed_at).to_std().unwrap_or_default();
    if call.listing_lag().is_some_and(|lag| age < lag) {
        return false;
    }
    let Some(gone_at) = machine.gone_at else { return true };
    (now - gone_at).to_std().unwrap_or_default() < call.dead_shown().unwrap_or(gone_shown)
}
