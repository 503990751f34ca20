//! Taking over a warm machine instead of ordering one: the intent, the moment at which it changes hands, and what
//! becomes of it after a crash between any two of these. The ledger's entry names the last attempt that it serves; it
//! moves in the commit in which the job that keeps the machine lets go, so of several askers one gets it.

use std::sync::Arc;
use std::time::Duration;

use trainyard_domain::{
    Attempt, AttemptNumber, Fact, Job, Machine, NotificationKind, OrderName, Phase, Reason, Rental,
    Timestamp, Wish,
};
use trainyard_storage::StoredJob;

use super::commit::Draft;
use super::{end, is_contention, refuse};
use crate::core::Core;
use crate::money::{self, Planned};
use crate::{Error, ErrorKind, warm};

/// Writes down that the next attempt takes that machine over.
pub(super) async fn adopt(
    core: &Arc<Core>,
    stored: StoredJob,
    order: OrderName,
) -> Result<Option<Duration>, Error> {
    let entry = core.storage.machine(&order).await?;
    let Some(entry) = entry.filter(|entry| Some(&entry.provider) == stored.job.provider()) else {
        return refuse::nothing_to_order(core, stored, not_warm()).await;
    };
    let (offer, memory) = match warm::keeper(core, &entry).await? {
        Some(keeper) => {
            let before = keeper.job.attempt().map(|attempt| (attempt.offer.clone(), attempt.memory.clone()));
            before.unwrap_or_default()
        }
        None => return refuse::nothing_to_order(core, stored, not_warm()).await,
    };
    let mut draft = Draft::of(&stored, core.clock.now());
    let attempt = draft.job.intend(order, entry.provider, draft.now).map_err(|error| {
        Error::new(ErrorKind::Internal, "illegal_transition", "no machine may be taken over").because(error)
    })?;
    draft.job.set_adopted(attempt);
    draft.job.set_price(attempt, entry.price_per_hour);
    draft.job.set_offer(attempt, offer);
    draft.job.set_memory(attempt, memory);
    draft.phase(Phase::Ordering);
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// What became of the intent to take a machine over: it is ours, or it is taken now, or it cannot be had.
pub(super) async fn settle(
    core: &Arc<Core>,
    stored: StoredJob,
    asked: &Attempt,
) -> Result<Option<Duration>, Error> {
    let Some(entry) = core.storage.machine(&asked.order).await? else {
        return refused(core, &stored, asked.number, not_warm()).await;
    };
    let ours = |(id, number): &(trainyard_domain::JobId, AttemptNumber)| {
        id == stored.job.id() && *number == asked.number
    };
    if entry.attempts.last().is_some_and(ours) {
        return taken(core, &stored, asked.number, entry).await;
    }
    let wanted = matches!(stored.job.wish(), Wish::Run | Wish::Pause) && !stored.job.state().name().is_end();
    let passed = match wanted {
        true => pass_on(core, &stored.job, asked.number, entry).await?,
        false => Err(not_warm()),
    };
    match passed {
        Ok(again) => Ok(Some(again)),
        Err(reason) => refused(core, &stored, asked.number, reason).await,
    }
}

/// The job that keeps the machine lets go of it, once its last checkpoint is home: the next attempt clears it away. Says
/// when to look again. The inner error: nobody keeps it (any more), or there is no money for it.
async fn pass_on(
    core: &Arc<Core>,
    to: &Job,
    number: AttemptNumber,
    entry: Machine,
) -> Result<Result<Duration, Reason>, Error> {
    let now = core.clock.now();
    let keeper = warm::keeper(core, &entry).await?;
    let Some(keeper) = keeper.filter(|_| warm::claims(&entry, now)) else { return Ok(Err(not_warm())) };
    let Some(rental) = keeper.job.state().rental().cloned() else { return Ok(Err(not_warm())) };
    if !end::bring_last(core, &keeper) {
        return Ok(Ok(end::LAST_POLL));
    }
    let offer = keeper.job.attempt().and_then(|attempt| attempt.offer.as_ref());
    let planned = Planned {
        price_per_hour: entry.price_per_hour,
        traffic_per_gb: offer.and_then(|offer| offer.traffic_per_gb).unwrap_or_default(),
        there: None,
        limits: to.limits(),
    };
    let aside = match money::set_aside(core, to, planned).await? {
        Ok(aside) => aside,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut draft = Draft::of(&keeper, now);
    draft.apply(&Fact::PassedOn { attempt: rental.attempt, to: to.id().clone() })?;
    let message = format!("The machine went over to the job `{}`, which pays for it from now on.", to.id());
    draft.tell_again(NotificationKind::MachineRemark, "Machine passed on", message);
    let mut attempts = entry.attempts.clone();
    attempts.push((to.id().clone(), number));
    // What it has cost stays with the job that kept it; what it may cost from now on comes on top.
    let reserved = aside.amount.map(|amount| entry.cost(now).plus(amount));
    draft.machine(Machine { attempts, reserved, warm_until: None, ..entry });
    draft.reserves(aside.read);
    let passed = draft.commit(core).await;
    drop(aside);
    match passed {
        Ok(_) => Ok(Ok(Duration::ZERO)),
        // Somebody was quicker, or the job that keeps it moved: the next look tells which.
        Err(error) if is_contention(&error) => Ok(Ok(Duration::ZERO)),
        Err(error) => Err(error),
    }
}

/// Records that the machine is ours, and paid by this job since it changed hands.
async fn taken(
    core: &Arc<Core>,
    stored: &StoredJob,
    attempt: AttemptNumber,
    entry: Machine,
) -> Result<Option<Duration>, Error> {
    let (Some(provider), Some(machine)) = (core.provider_of(&stored.job), entry.provider_job_id.clone())
    else {
        return refused(core, stored, attempt, not_warm()).await;
    };
    let mut draft = Draft::of(stored, core.clock.now());
    let since = passed_at(core, &entry).await?.unwrap_or(draft.now);
    let can_pause = provider.connector.info().capabilities.pause;
    draft.apply_at(&Fact::Placed(Rental { attempt, machine, can_pause }), since)?;
    if !draft.job.state().name().is_end() {
        draft.job.set_reason(None);
        if draft.job.body().started_at.is_none() {
            draft.phase(Phase::Booting);
        }
    }
    draft.commit(core).await?;
    provider.sightings.want(stored.job.id());
    Ok(Some(Duration::ZERO))
}

/// When the machine changed hands last.
async fn passed_at(core: &Core, entry: &Machine) -> Result<Option<Timestamp>, Error> {
    let Some((id, number)) = entry.attempts.iter().nth_back(1) else { return Ok(None) };
    // Who kept it may have been forgotten since.
    let Some(keeper) = core.storage.load(id).await? else { return Ok(None) };
    let attempt = keeper.job.attempts().iter().find(|attempt| attempt.number == *number);
    Ok(attempt.and_then(|attempt| attempt.passed_on.as_ref()).map(|passed_on| passed_on.at))
}

/// It cannot be had: nothing was taken, and that is certain.
async fn refused(
    core: &Arc<Core>,
    stored: &StoredJob,
    attempt: AttemptNumber,
    reason: Reason,
) -> Result<Option<Duration>, Error> {
    let mut draft = Draft::of(stored, core.clock.now());
    let known = draft.job.attempts().iter().any(|one| one.number == attempt && one.end.is_some());
    if !known {
        draft.job.set_attempt_end(attempt, reason);
    }
    draft.apply(&Fact::OrderRefused { attempt, round_over: true })?;
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

fn not_warm() -> Reason {
    Reason::new(
        warm::NOT_WARM,
        "the machine is not kept warm any more: its time is over, or another job took it",
    )
    .suggest("submit without `machine` to rent one")
}
