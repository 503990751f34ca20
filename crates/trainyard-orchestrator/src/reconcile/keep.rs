//! Keeping an ended job's machine: for another job (warm), or for a look at what failed on it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use trainyard_connector::Renewal;
use trainyard_domain::{Job, Machine, Rental};
use trainyard_storage::StoredJob;

use super::commit::Draft;
use super::{end, look};
use crate::core::Core;
use crate::link::Link;
use crate::{Error, money, warm};

/// Between two looks at a machine that is kept. Its agent is told each time that somebody lives.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long after the end of its time a warm machine removes itself where nobody here gave it back.
const LATE: Duration = Duration::from_secs(120);

/// Notes, in the change that ends a job, that its machine stays for another one.
pub(super) async fn keep(core: &Arc<Core>, draft: &mut Draft) -> Result<(), Error> {
    let Some(rental) = draft.job.state().rental().cloned() else { return Ok(()) };
    let lasts = money::purse(core, &draft.job, draft.now).map(|purse| purse.lasts(Duration::ZERO));
    let Some(until) = warm::until(&draft.job, draft.now, lasts) else { return Ok(()) };
    let Some(entry) = core.machine_of(&draft.job, rental.attempt).await? else { return Ok(()) };
    draft.job.keep_warm_until(until);
    // What was set aside for the training is free again; what keeping it may cost is not.
    let price = entry.price_per_hour.unwrap_or_default();
    let kept_s = (until - draft.now).num_seconds().max(0).unsigned_abs() + LATE.as_secs();
    let costs = entry.cost(draft.now).plus(price.per_hour_for(kept_s));
    let reserved = entry.reserved.map(|reserved| reserved.min(costs));
    draft.machine(Machine { warm_until: Some(until), reserved, ..entry });
    Ok(())
}

/// Holds what an ended job keeps for that long: looks whether it is still there, and tells its agent that nobody need
/// worry, and when the machine has to be gone all the same.
pub(super) async fn hold(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    left: Duration,
) -> Result<Option<Duration>, Error> {
    let job = &stored.job;
    let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else {
        return Ok(Some(LOOK_EVERY));
    };
    end::bring_last(core, &stored);
    let left = still_kept(core, job, left);
    if left.is_zero() || provider.costs() && look::is_gone(core, provider, attempt, rental) {
        return end::give_back(core, stored, rental).await;
    }
    // Late or not: where nobody is left to give it back, it goes when its money is used up.
    let paid = money::machine_ends_s(core, job, core.clock.now()).map(Duration::from_secs);
    let ends = paid.map_or(left + LATE, |paid| paid.min(left + LATE));
    let renewal =
        Renewal { lease: LOOK_EVERY * 3, machine_ends: job.warm_until().map(|_| ends), ..Renewal::default() };
    if let Ok(Some(link)) = Link::of(core, job, rental).await {
        match link.workload.renew(&renewal).await {
            Ok(()) => link.hear(),
            Err(error) => {
                tracing::debug!(job_id = %job.id(), error = %error, "a machine that is kept did not answer");
            }
        }
    }
    Ok(Some(left.min(LOOK_EVERY)))
}

/// How long it is still kept by the clock that cannot be set, and never longer than was asked for.
fn still_kept(core: &Core, job: &Job, left: Duration) -> Duration {
    let (Some(attempt), Some(ended)) = (job.attempt(), job.body().completed_at) else { return left };
    let (warm_s, hold_s) = (job.spec().resources.keep_warm_s, job.limits().hold_on_failure_s);
    let held = i64::try_from(hold_s).ok().and_then(TimeDelta::try_seconds);
    let held = held.and_then(|held| ended.checked_add_signed(held));
    let until = job.warm_until().max(held).unwrap_or(ended);
    let asked = Duration::from_secs(warm_s.max(hold_s));
    core.watching(&attempt.order, |watch| watch.still_kept(until, left.min(asked)))
}
