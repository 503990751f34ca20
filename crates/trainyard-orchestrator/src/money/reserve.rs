//! Setting money aside before an order: the most that its machine may cost, counted against every budget that pays for
//! it, in the same commit as the intent. So orders at the same moment cannot overrun a budget together.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use trainyard_domain::{Job, Limits, Money, OrderName, Reason, Timestamp};

use super::{books, dollars, traffic_allowance};
use crate::core::Core;
use crate::{Error, Policy};

/// What is set aside by the commit that carries it.
#[derive(Debug)]
pub(crate) struct SetAside {
    /// The most that the machine may cost; none where nothing is paid.
    pub(crate) amount: Option<Money>,
    /// What the commit rests on: see `Commit::reserves`.
    pub(crate) read: Option<u64>,
    /// Held until the commit is made, so that the next one reads it.
    _one: Option<OwnedMutexGuard<()>>,
}

/// A machine that money is to be set aside for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<'a> {
    /// What it costs per hour; none where nothing is paid.
    pub(crate) price_per_hour: Option<Money>,
    /// What a GB of its traffic costs.
    pub(crate) traffic_per_gb: Money,
    /// It is there already, and has cost so much.
    pub(crate) there: Option<(&'a OrderName, Money)>,
    /// Limits of the job that are to be in force.
    pub(crate) limits: &'a Limits,
}

/// Looks whether there is enough, and takes what it needs. The inner error is the refusal, `budget`.
///
/// # Errors
/// Where the ledger cannot be read whole.
pub(crate) async fn set_aside(
    core: &Arc<Core>,
    job: &Job,
    planned: Planned<'_>,
) -> Result<Result<SetAside, Reason>, Error> {
    let Some(price) = planned.price_per_hour.filter(|price| *price > Money::ZERO) else {
        return Ok(Ok(SetAside { amount: None, read: None, _one: None }));
    };
    let now = core.clock.now();
    let amount = match most(job, planned, price, &core.policy, now) {
        Ok(amount) => amount,
        Err(reason) => return Ok(Err(reason)),
    };
    let budgets: Vec<_> =
        core.policy.budgets.iter().filter(|budget| budget.pays_for(&job.body().labels)).collect();
    if budgets.is_empty() {
        return Ok(Ok(SetAside { amount: Some(amount), read: None, _one: None }));
    }
    let one = core.books.one.clone().lock_owned().await;
    // First the number, then the ledger: what is written between the two makes the number old.
    let read = core.storage.reservations().await?;
    let page = core.books.read(core).await?;
    for budget in budgets {
        let others = books::committed(&page, budget, now, planned.there.map(|(order, _)| order));
        if others.plus(amount) > budget.per_month {
            let free = budget.per_month.minus(others);
            let reason = Reason::new(
                "budget",
                format!(
                    "the machine may cost up to {}, and of the budget of {} (${} a month) {} are free now",
                    dollars(amount),
                    budget.name(),
                    budget.per_month,
                    dollars(free)
                ),
            );
            return Ok(Err(reason.suggest(
                "lower `limits.max_duration_s` or set `limits.max_cost_usd`, wait until others have ended, or raise the budget",
            )));
        }
    }
    Ok(Ok(SetAside { amount: Some(amount), read: Some(read), _one: Some(one) }))
}

/// The most that a machine may cost: its price for as long as the job may still run, and for what is around that, with
/// the traffic; never more than is left of the job's own money.
fn most(
    job: &Job,
    planned: Planned<'_>,
    price: Money,
    policy: &Policy,
    now: Timestamp,
) -> Result<Money, Reason> {
    let limits = planned.limits;
    let left_s = limits.max_duration_s.saturating_sub(job.ran_for_s(now));
    let there = planned.there.map_or(Money::ZERO, |(_, cost)| cost);
    let traffic = traffic_allowance(job.spec(), planned.traffic_per_gb);
    let around_s =
        policy.reserve_around.as_secs() + limits.hold_on_failure_s.max(job.spec().resources.keep_warm_s);
    let amount = there.plus(traffic).plus(price.per_hour_for(left_s.saturating_add(around_s)));
    let Some(own) = limits.max_cost_usd else { return Ok(amount) };
    let own = own.minus(job.cost(now).minus(there));
    let needed = traffic.plus(price.per_hour_for(left_s));
    if planned.there.is_none() && needed > own {
        let text = format!(
            "the machine costs ${price} per hour: {} with its traffic for as long as the job may run, and {} are left of its budget",
            dollars(needed),
            dollars(own)
        );
        return Err(Reason::new("budget", text)
            .suggest("raise `limits.max_cost_usd`, or lower `limits.max_duration_s`"));
    }
    Ok(amount.min(own))
}
