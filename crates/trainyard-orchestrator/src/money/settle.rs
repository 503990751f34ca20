//! Settling: after a machine's end its vendor's bill is read, a few times at most since books lag, and becomes its cost
//! once it does not change any more.

use std::sync::Arc;

use trainyard_domain::{Bill, Machine, Money, NotificationKind};

use super::{dollars, habit};
use crate::Error;
use crate::core::{Core, Provider};
use crate::reconcile::Draft;

/// When a bill is read, as multiples of the policy's wait; after the last one it is taken as it is.
const READINGS: [u32; 5] = [1, 10, 60, 360, 1440];

/// Whether a machine's bill is to be read now.
pub(super) fn is_due(core: &Core, entry: &Machine) -> bool {
    let (Some(gone), Some(_), Some(_)) = (entry.gone_at, &entry.provider_job_id, entry.placed_at) else {
        return false;
    };
    let bills = |provider: &Provider| provider.connector.info().capabilities.bill;
    if entry.bill.is_some_and(|bill| bill.settled) || !core.providers.get(&entry.provider).is_some_and(bills)
    {
        return false;
    }
    let read = entry.bill.map_or(0, |bill| bill.readings);
    let Some(times) = READINGS.get(read as usize) else { return false };
    let since = (core.clock.now() - gone).to_std().unwrap_or_default();
    since >= core.policy.bill_after * *times
}

/// The reading from which on a bill that does not change is the last word though the time alone cost more.
const PATIENCE: u32 = 3;

/// Reads it and notes it. One that was read twice the same is the last word, where it is not below what the time alone
/// cost; else one that stays so. Once alone says nothing: books that lag may show more than we know of and less than there is, as
/// where the vendor took its time to answer the order.
pub(super) async fn settle(core: &Arc<Core>, entry: &Machine) -> Result<(), Error> {
    let (Some(provider), Some(id)) = (core.providers.get(&entry.provider), &entry.provider_job_id) else {
        return Ok(());
    };
    let told = match provider.connector.bill(&entry.order, id).await {
        Ok(told) => told,
        Err(error) => {
            tracing::debug!(order = %entry.order, error = %error, "a bill could not be read; it is read again");
            return Ok(());
        }
    };
    let now = core.clock.now();
    let Some((job, attempt)) = entry.attempts.last() else { return Ok(()) };
    // Who was forgotten keeps the entry as it is.
    let Some(stored) = core.storage.load(job).await? else { return Ok(()) };
    let Some(entry) = core.storage.machine(&entry.order).await? else { return Ok(()) };
    let readings = entry.bill.map_or(0, |bill| bill.readings) + 1;
    let accrued = entry.accrued(now);
    let unit = entry.price_per_hour.unwrap_or_default();
    let unit = unit.per_hour_for(provider.connector.info().capabilities.billing.unit_s);
    let amount = told.unwrap_or_default();
    let enough = told.is_some() && amount.plus(unit) >= accrued;
    // Books that said the same before are closed, though our own clock counted some seconds more.
    let same = told.is_some() && entry.bill.is_some_and(|before| before.amount == amount);
    let stays = same && amount > Money::ZERO && readings >= PATIENCE;
    let last = readings as usize >= READINGS.len();
    // Without any word of the vendor's the time is all there is.
    let settled = (same && enough) || stays || (last && told.is_some());
    let mut draft = Draft::of(&stored, now);
    if settled {
        if let [(_, only)] = entry.attempts.as_slice() {
            draft.job.set_billed(*only, amount);
        }
        let apart = amount.minus(accrued).max(accrued.minus(amount));
        if apart > unit {
            let message = format!(
                "`{}` billed {} for the machine of attempt {attempt}; its time alone came to {}. The bill is what counts.",
                entry.provider,
                dollars(amount),
                dollars(accrued)
            );
            draft.tell_about(*attempt, NotificationKind::MachineRemark, "The bill is settled", message);
        }
        habit::learn_bill(core, &entry, amount.minus(accrued), traffic_per_gb(&draft));
    }
    draft.machine(Machine { bill: Some(Bill { amount, read_at: now, readings, settled }), ..entry });
    draft.commit(core).await?;
    Ok(())
}

fn traffic_per_gb(draft: &Draft) -> Money {
    let offer = draft.job.attempt().and_then(|attempt| attempt.offer.as_ref());
    offer.and_then(|offer| offer.traffic_per_gb).unwrap_or_default()
}
