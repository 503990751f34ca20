//! What is done to machines: by their owner, by a person in the console, by the vendor, by nobody.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;
use trainyard_domain::Timestamp;

use super::machine::Kept;
use super::{AccountOrder, Call, Cause, KeyState, Machine, OfferOrder, Phase, State, Uid, Wanted, World};
use crate::faults::Fault;
use crate::vendor::Vendor;

/// How often the accounts are looked at.
const CREDIT_EVERY: Duration = Duration::from_millis(500);

/// A request about a machine that the vendor does not know, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such machine")]
pub struct NoSuchMachine;

impl World {
    /// Removes a machine by that vendor's id. The faults of the call that concern a removal strike here. Of a machine
    /// under way out it is fine; one that is gone, or was never there, is none.
    pub fn terminate(&self, call: &Call, id: &str) -> Result<Machine, NoSuchMachine> {
        if call.drawn.has(&Fault::TerminateIgnored) {
            return self.machine(call.vendor, id).filter(Machine::is_alive).ok_or(NoSuchMachine);
        }
        let machine = self.remove_by(call.vendor, id, Cause::Asked)?;
        if call.drawn.has(&Fault::TerminateNotFound) {
            return Err(NoSuchMachine);
        }
        Ok(machine)
    }

    /// What a person does in the vendor's console.
    pub fn delete_in_console(&self, vendor: Vendor, id: &str) -> Result<Machine, NoSuchMachine> {
        self.remove_by(vendor, id, Cause::Console)
    }

    /// Lets it stand still, for that cause.
    pub fn stop(&self, vendor: Vendor, id: &str, cause: Cause) -> Result<Machine, NoSuchMachine> {
        self.wish(vendor, id, Wanted::Stopped, cause)
    }

    /// Lets a machine that stands still run again: on the same disk, with other mapped ports.
    pub fn start(&self, vendor: Vendor, id: &str) -> Result<Machine, NoSuchMachine> {
        self.wish(vendor, id, Wanted::Running, Cause::None)
    }

    /// The vendor takes it back: RunPod and Vast.ai stop it, at Lambda it is gone soon after.
    pub fn preempt(&self, vendor: Vendor, id: &str) -> Result<Machine, NoSuchMachine> {
        match vendor {
            Vendor::Runpod | Vendor::Vastai => self.stop(vendor, id, Cause::Preempted),
            Vendor::Lambda => self.remove_by(vendor, id, Cause::Preempted),
        }
    }

    /// Its host does not answer any more, or again: its ports lead nowhere, and it is not billed where the vendor
    /// says so. Its program knows nothing of it.
    pub fn set_reachable(&self, vendor: Vendor, id: &str, reachable: bool) -> Result<Machine, NoSuchMachine> {
        let now = self.now();
        self.edit(vendor, id, |kept| {
            kept.now.reachable = reachable;
            let phase = kept.now.phase.clone();
            kept.now.meter.phase(&phase, reachable, now);
        })
    }

    /// Changes what the skin keeps of a machine: its name and its details.
    pub fn change(
        &self,
        vendor: Vendor,
        id: &str,
        change: impl FnOnce(&mut String, &mut Value),
    ) -> Result<Machine, NoSuchMachine> {
        self.edit(vendor, id, |kept| change(&mut kept.now.name, &mut kept.now.details))
    }

    /// Says that this machine may be alive at the end of a test.
    pub fn explain(&self, vendor: Vendor, id: &str) -> Result<Machine, NoSuchMachine> {
        self.edit(vendor, id, |kept| kept.now.explained = true)
    }

    /// Bytes went in or out of it: traffic is billed.
    pub fn traffic(&self, uid: Uid, bytes: u64) {
        if let Some(kept) = self.state().machines.get_mut(&uid) {
            kept.now.meter.traffic(bytes);
        }
    }

    /// Changes an account; see [`AccountOrder`].
    pub fn set_account(&self, vendor: Vendor, order: AccountOrder) {
        let mut state = self.state();
        if let Some(account) = state.accounts.get_mut(&vendor) {
            account.credit = order.credit.or(account.credit);
            account.quota = order.quota.or(account.quota);
            account.keys.extend(order.keys.unwrap_or_default());
        }
    }

    /// Gives a key that state.
    pub fn set_key(&self, vendor: Vendor, key: &str, key_state: KeyState) {
        let keys = Some([(key.to_owned(), key_state)].into());
        self.set_account(vendor, AccountOrder { keys, ..AccountOrder::default() });
    }

    /// What is left of the credit; below zero where more was used. None where the vendor takes no money in advance.
    pub fn credit_left(&self, vendor: Vendor) -> Option<Decimal> {
        let now = self.now();
        let state = self.state();
        let credit = state.accounts.get(&vendor)?.credit?;
        Some(credit.decimal() - state.spent(vendor, now).decimal())
    }

    /// Changes an offer; says whether there is one.
    pub fn set_offer(&self, vendor: Vendor, id: &str, order: OfferOrder) -> bool {
        let mut state = self.state();
        let found = state.offers.iter_mut().find(|offer| offer.vendor == vendor && offer.id == id);
        let Some(offer) = found else { return false };
        offer.left = order.left.unwrap_or(offer.left);
        offer.price_per_hour = order.price_per_hour.unwrap_or(offer.price_per_hour);
        true
    }

    /// Nothing of that vendor is left to rent, or there is again: so many units of every offer.
    pub fn set_stock(&self, vendor: Vendor, left: u32) {
        for offer in self.state().offers.iter_mut().filter(|offer| offer.vendor == vendor) {
            offer.left = left;
        }
    }

    pub(super) fn remove_by(&self, vendor: Vendor, id: &str, cause: Cause) -> Result<Machine, NoSuchMachine> {
        let now = self.now();
        self.edit(vendor, id, |kept| kept.remove(cause, now))
    }

    fn wish(&self, vendor: Vendor, id: &str, wanted: Wanted, cause: Cause) -> Result<Machine, NoSuchMachine> {
        let now = self.now();
        self.edit(vendor, id, |kept| {
            if kept.now.wanted != Wanted::Removed {
                kept.now.wanted = wanted;
                kept.now.wanted_since = now;
                kept.now.cause = cause;
                kept.wanted.send_replace(wanted);
            }
        })
    }

    /// Of one that is alive.
    fn edit(&self, vendor: Vendor, id: &str, edit: impl FnOnce(&mut Kept)) -> Result<Machine, NoSuchMachine> {
        let mut state = self.state();
        let kept = state.by_id(vendor, id).filter(|kept| kept.now.is_alive()).ok_or(NoSuchMachine)?;
        edit(kept);
        let machine = kept.now.clone();
        drop(state);
        self.ring();
        Ok(machine)
    }

    /// Everything goes, without delay, and every life has ended when this returns.
    pub(crate) async fn end(&self) {
        let now = self.now();
        self.clock().end();
        let lives: Vec<_> = {
            let mut state = self.state();
            let kept = state.machines.values_mut();
            kept.filter_map(|kept| {
                kept.remove(Cause::Console, now);
                kept.life.take()
            })
            .collect()
        };
        for life in lives {
            // One that panicked has said so already.
            let _ = life.await;
        }
    }
}

impl Kept {
    /// Its removal begins. Its bill ends here.
    fn remove(&mut self, cause: Cause, now: Timestamp) {
        if self.now.wanted == Wanted::Removed {
            return;
        }
        self.now.wanted = Wanted::Removed;
        self.now.wanted_since = now;
        self.now.cause = cause;
        self.enter(Phase::Terminating, now);
        self.wanted.send_replace(Wanted::Removed);
    }

    /// Enters a phase, unless it was decided otherwise meanwhile. Says whether it did.
    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) -> bool {
        let fits = match (&phase, self.now.wanted) {
            (Phase::Gone | Phase::Terminating, wanted) => wanted == Wanted::Removed,
            (Phase::Stopped, wanted) => wanted == Wanted::Stopped,
            (_, wanted) => wanted == Wanted::Running,
        };
        if fits {
            let machine = &mut self.now;
            machine.meter.phase(&phase, machine.reachable, now);
            if phase == Phase::Running {
                machine.healthy_at.get_or_insert(now);
            } else {
                machine.started_at = None;
            }
            if phase == Phase::Gone {
                machine.gone_at = Some(now);
            }
            machine.phase = phase;
            machine.since = now;
        }
        fits
    }
}

impl State {
    /// Machines of a vendor whose money is used up.
    fn unpaid(&self, vendor: Vendor, now: Timestamp) -> Vec<String> {
        let credit = self.accounts.get(&vendor).and_then(|account| account.credit);
        let used_up = credit.is_some_and(|credit| credit <= self.spent(vendor, now));
        let living = self.machines.values().map(|kept| &kept.now);
        let running = living.filter(|it| used_up && it.vendor == vendor && it.wanted == Wanted::Running);
        running.map(|machine| machine.id.clone()).collect()
    }
}

/// Where the credit is used up, RunPod removes its pods and Vast.ai stops its instances.
pub(super) async fn mind_credit(world: World) {
    let mut tick = tokio::time::interval(CREDIT_EVERY);
    loop {
        tick.tick().await;
        let now = world.now();
        for vendor in Vendor::ALL {
            let unpaid = world.state().unpaid(vendor, now);
            for id in unpaid {
                tracing::info!(%vendor, id, "the credit is used up");
                // One that has gone meanwhile is fine.
                let _ = match vendor {
                    Vendor::Runpod | Vendor::Lambda => world.remove_by(vendor, &id, Cause::NoCredit),
                    Vendor::Vastai => world.stop(vendor, &id, Cause::NoCredit),
                };
            }
        }
    }
}
