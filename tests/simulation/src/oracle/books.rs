//! The ledger against the invoice: what a machine is said to have cost against what its vendor billed.

use trainyard_domain::Money;

use crate::memory::locked;
use crate::run::Ended;
use crate::world::{Faults, Vendor};

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Entries that were compared.
    pub(super) compared: u32,
    /// The most seconds that one was off, at a vendor whose books can be read.
    pub(super) off_with_books_s: f64,
    /// The same where they cannot be read.
    pub(super) off_without_books_s: f64,
    /// Entries that are off by more than one billing unit and may not be.
    pub(super) wrong: Vec<String>,
}

/// Compares every machine that the ledger knows by its id. Where the vendor's books can be read, and the entry's job was not
/// deleted before they were, they agree within one billing unit, whatever went wrong meanwhile. Where a vendor has no books, the ledger counts
/// the seconds from what the listings showed: it agrees where nothing but the process failed, but that it may say more, by the time of
/// the machine's boot, where no process was there when it came up.
pub(super) fn compare(ended: &Ended) -> Books {
    let mut books = Books::default();
    if !ended.unsettled.is_empty() {
        books.wrong.push(format!("bills were never settled: {:?}", ended.unsettled));
        return books;
    }
    let faultless = Faults { call_ms: ended.scenario.faults.call_ms, ..Faults::default() };
    let steady = ended.scenario.faults == faultless && ended.scenario.clock.is_empty();
    let disk = locked(&ended.disk);
    let now = ended.world.time.date();
    ended.world.with(|state| {
        for machine in &state.machines {
            let Some(vendor) = Vendor::named(&machine.vendor).filter(|vendor| vendor.costs) else { continue };
            let Some((_, entry)) = disk.machines.get(&machine.order) else { continue };
            let (Some(end), true) = (machine.end(), entry.provider_job_id.as_ref() == Some(&machine.id))
            else {
                continue;
            };
            let kept = entry.attempts.last().is_some_and(|(job, _)| disk.jobs.contains_key(job));
            if vendor.bills && !kept {
                continue;
            }
            let billed = machine.price.per_hour_for(vendor.billed_s(machine, end));
            let unit = machine.price.per_hour_for(vendor.billing.unit_s);
            let ledger = entry.cost(now);
            let apart = billed.minus(ledger).max(ledger.minus(billed));
            let seconds = float(apart) / float(machine.price) * 3600.0;
            books.compared += 1;
            let off = match vendor.bills {
                true => &mut books.off_with_books_s,
                false => &mut books.off_without_books_s,
            };
            *off = off.max(seconds);
            let boot = machine.up_from.map_or(0.0, |up| (up - machine.born).as_secs_f64());
            let unseen =
                ended.processes > 1 && ledger > billed && seconds <= boot + vendor.billing.unit_s as f64;
            if apart > unit && (vendor.bills || (steady && !unseen)) {
                books.wrong.push(format!(
                    "{} at {}: the ledger says {ledger} and the invoice {billed}: {entry:?}",
                    machine.order, vendor.name
                ));
            }
        }
    });
    books
}

fn float(money: Money) -> f64 {
    money.to_string().parse().unwrap_or(f64::NAN)
}
