//! An order becomes a machine, or is refused.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::watch;
use trainyard_domain::Money;

use super::machine::Kept;
use super::{Call, Cause, Ill, Ills, Log, Machine, Offer, Order, Phase, State, Uid, Wanted, World, life};
use crate::faults::Fault;
use crate::ledger::{Meter, Rates, money};
use crate::vendor::Vendor;

/// Machines alive at once in one world, whatever their vendor.
const MACHINES_MAX: usize = 10_000;

/// Why an order is refused. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such offer at all.
    #[error("there is no such offer")]
    UnknownOffer,
    /// There is none left, or not so much; or one of its ports is in use on this computer.
    #[error("there is no capacity")]
    NoCapacity,
    /// The money does not suffice.
    #[error("there is not enough credit")]
    NoCredit,
    /// The account has as many machines as it may.
    #[error("the quota is used up")]
    Quota,
}

impl World {
    /// Buys and places a machine; its life begins at once. The faults of the call that concern an order strike here:
    /// the skin need not look at them.
    pub fn place(&self, call: &Call, order: Order) -> Result<Machine, Refused> {
        let vendor = order.vendor;
        let now = self.now();
        let mut state = self.state();
        let offer = state.offer(call, &order)?;
        let price = price(call, &order, &offer);
        state.allow(call, vendor, price, now)?;
        state.take(&offer, order.units);
        let (offer, units) = altered(call, offer, order.units);
        state.last_uid += 1;
        let uid = Uid(state.last_uid);
        let id = state.id(call, vendor);
        let rates = Rates {
            gpu_per_hour: price,
            disk_per_gb_month: offer.disk_per_gb_month,
            disk_gb: order.disk_gb,
            traffic_per_gb: offer.traffic_per_gb,
        };
        let mut meter = Meter::new(vendor, rates, self.options().lambda_bills_from_healthy);
        meter.phase(&Phase::Placed, true, now);
        let machine = Machine {
            uid,
            id,
            vendor,
            name: order.name.clone(),
            units,
            price_per_hour: price,
            disk_per_hour: meter.disk_per_hour(),
            phase: Phase::Placed,
            since: now,
            wanted: Wanted::Running,
            wanted_since: now,
            cause: Cause::None,
            reachable: true,
            placed_at: now,
            healthy_at: None,
            started_at: None,
            gone_at: None,
            starts: 0,
            exits: Vec::new(),
            address: state.address(uid),
            mapped: Default::default(),
            key: state.random.word(b"0123456789abcdef", 64),
            details: order.details.clone(),
            log: Arc::new(Log::new()),
            root: self.root().join(format!("{vendor}-{}", uid.0)),
            explained: false,
            ills: ills(call),
            meter,
            offer: Arc::new(offer),
            order: Arc::new(order),
        };
        let (wanted, wishes) = watch::channel(Wanted::Running);
        let life = self.spawn(life::live(self.clone(), uid, wishes, fate(call)));
        state.machines.insert(uid, Kept { now: machine.clone(), wanted, life: Some(life) });
        drop(state);
        self.ring();
        tracing::debug!(vendor = %vendor, id = machine.id, name = machine.name, "placed");
        Ok(machine)
    }
}

impl State {
    /// The offer, where there is enough of it.
    fn offer(&self, call: &Call, order: &Order) -> Result<Offer, Refused> {
        let living = self.machines.values().filter(|kept| kept.now.is_alive()).count();
        let found = self.offers.iter().find(|offer| offer.vendor == order.vendor && offer.id == order.offer);
        let offer = found.ok_or(Refused::UnknownOffer)?;
        let refused = call.drawn.has(&Fault::NoCapacity) || living >= MACHINES_MAX;
        if refused || offer.left < order.units.max(1) || offer.disk_gb_max < order.disk_gb {
            return Err(Refused::NoCapacity);
        }
        Ok(offer.clone())
    }

    fn take(&mut self, offer: &Offer, units: u32) {
        if let Some(kept) = self.stocked(offer) {
            kept.left = kept.left.saturating_sub(units.max(1));
        }
    }

    /// Units that are free again.
    pub(super) fn put_back(&mut self, offer: &Offer, units: u32) {
        if let Some(kept) = self.stocked(offer) {
            kept.left = kept.left.saturating_add(units.max(1));
        }
    }

    fn stocked(&mut self, offer: &Offer) -> Option<&mut Offer> {
        self.offers.iter_mut().find(|kept| kept.vendor == offer.vendor && kept.id == offer.id)
    }

    fn allow(
        &self,
        call: &Call,
        vendor: Vendor,
        price: Money,
        now: trainyard_domain::Timestamp,
    ) -> Result<(), Refused> {
        let account = self.accounts.get(&vendor).ok_or(Refused::NoCredit)?;
        // RunPod wants an hour of it in advance; the others take what is there.
        let needed = match vendor {
            Vendor::Runpod => price.decimal(),
            Vendor::Lambda | Vendor::Vastai => Decimal::ZERO,
        };
        let left = account.credit.map(|credit| credit.decimal() - self.spent(vendor, now).decimal());
        if call.drawn.has(&Fault::NoCredit) || left.is_some_and(|left| left <= Decimal::ZERO || left < needed)
        {
            return Err(Refused::NoCredit);
        }
        let owned = self.machines.values().filter(|it| it.now.vendor == vendor && it.now.is_alive()).count();
        if account.quota.is_some_and(|quota| owned >= quota as usize) {
            return Err(Refused::Quota);
        }
        Ok(())
    }

    fn id(&mut self, call: &Call, vendor: Vendor) -> String {
        if call.drawn.has(&Fault::ReuseId) {
            let mut dead = self.machines.values().rev().map(|kept| &kept.now);
            if let Some(dead) = dead.find(|machine| machine.vendor == vendor && !machine.is_alive()) {
                return dead.id.clone();
            }
        }
        match vendor {
            Vendor::Runpod => self.random.word(b"abcdefghijklmnopqrstuvwxyz0123456789", 14),
            Vendor::Lambda => self.random.word(b"0123456789abcdef", 32),
            Vendor::Vastai => {
                self.last_number += 1;
                self.last_number.to_string()
            }
        }
    }

    /// 127.0.x.y with x and y from 1 to 250, no living machine's.
    fn address(&self, uid: Uid) -> Ipv4Addr {
        let living = self.machines.values().map(|kept| &kept.now).filter(|machine| machine.is_alive());
        let taken: BTreeSet<Ipv4Addr> = living.map(|machine| machine.address).collect();
        let nth = |number: u64| {
            let (x, y) = ((number / 250) % 250, number % 250);
            Ipv4Addr::new(127, 0, x as u8 + 1, y as u8 + 1)
        };
        let mut tries = (uid.0..uid.0 + 62_500).map(nth);
        tries.find(|address| !taken.contains(address)).unwrap_or(Ipv4Addr::LOCALHOST)
    }
}

fn price(call: &Call, order: &Order, offer: &Offer) -> Money {
    let jump = call.drawn.find(|fault| match fault {
        Fault::PriceJump { factor } => Some(*factor),
        _ => None,
    });
    let whole = offer.price_per_hour.decimal() * Decimal::from(order.units.max(1));
    let asked = order.price_per_hour.map_or(whole, Money::decimal);
    money(asked * Decimal::from(jump.unwrap_or(1)))
}

/// Another machine than the one that was ordered. RunPod's units are cards; the others' offers have some.
fn altered(call: &Call, mut offer: Offer, mut units: u32) -> (Offer, u32) {
    for fault in call.drawn.all() {
        if let Fault::OtherSize { gpus, region } = fault {
            match offer.vendor {
                Vendor::Runpod => units = gpus.unwrap_or(units),
                Vendor::Lambda | Vendor::Vastai => offer.gpus = gpus.unwrap_or(offer.gpus),
            }
            offer.region = region.clone().unwrap_or(offer.region);
        }
    }
    (offer, units)
}

fn ills(call: &Call) -> Ills {
    let mut ills = Ills::default();
    for fault in call.drawn.all() {
        match fault {
            Fault::NeverBoots => ills.never_boots = true,
            Fault::BrokenImage { text } => {
                let usual = "Error response from daemon: manifest unknown: manifest not found";
                ills.ill = Some(Ill::Image(text.clone().unwrap_or_else(|| usual.to_owned())));
            }
            Fault::BrokenStart { text } => {
                let usual = "OCI runtime create failed: runc create failed: unable to start container process: \
                             exec: no such file or directory";
                ills.ill = Some(Ill::Start(text.clone().unwrap_or_else(|| usual.to_owned())));
            }
            Fault::Exits { code, times, after_ms } => {
                ills.exits = Some((*code, *times, Duration::from_millis(*after_ms)));
            }
            _ => {}
        }
    }
    ills
}

/// What befalls a machine later, and how long after it first runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) what: Doom,
    pub(super) after: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Doom {
    Preempted,
    Deleted,
    Lost,
}

fn fate(call: &Call) -> Vec<Fate> {
    let doom = |fault: &Fault| {
        let (what, after_ms) = match fault {
            Fault::Preempt { after_ms } => (Doom::Preempted, *after_ms),
            Fault::ConsoleDelete { after_ms } => (Doom::Deleted, *after_ms),
            Fault::HostLost { after_ms } => (Doom::Lost, *after_ms),
            _ => return None,
        };
        Some(Fate { what, after: Duration::from_millis(after_ms) })
    };
    call.drawn.all().iter().filter_map(doom).collect()
}
