//! Money: what is left to pay a machine with, and until when that lasts. Pure, but for where it is read from.

use std::fmt;
use std::time::Duration;

use trainyard_domain::{Job, Money, Timestamp};

use crate::core::Core;

/// What is left to pay a job's machine with, of the tightest of all budgets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Purse {
    /// Whose money it is.
    pub(crate) of: Payer,
    /// What is left of it.
    pub(crate) left: Money,
    /// What the machine costs per hour.
    pub(crate) price_per_hour: Money,
    /// How long before the end the machine is given back.
    pub(crate) margin: Duration,
}

/// Whose money pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payer {
    /// The job's own limit.
    Job(Money),
    /// A budget of the installation: its name, and its amount.
    Budget(String, Money),
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payer::Job(most) => write!(f, "`limits.max_cost_usd` (${most})"),
            Payer::Budget(name, most) => write!(f, "the budget of {name} (${most} a month)"),
        }
    }
}

impl Purse {
    /// How long it lasts until a machine has to be stopped that takes `grace` for it.
    pub(crate) fn lasts(&self, grace: Duration) -> Duration {
        let all = Duration::from_secs(self.left.seconds_at(self.price_per_hour));
        all.saturating_sub(grace).saturating_sub(self.margin)
    }

    /// Whether it does not last any more.
    pub(crate) fn is_over(&self, grace: Duration) -> bool {
        self.lasts(grace).is_zero()
    }
}

/// What is left to pay the machine with that a job holds; none where nothing bounds it, or nothing is paid.
pub(crate) fn purse(core: &Core, job: &Job, now: Timestamp) -> Option<Purse> {
    let price_per_hour = job.attempt()?.price_per_hour?;
    let most = job.limits().max_cost_usd?;
    let left = most.minus(job.cost(now));
    Some(Purse { of: Payer::Job(most), left, price_per_hour, margin: core.policy.budget_margin })
}

/// Seconds from now after which the job's machine must be gone, since its money is used up; none where no budget binds
/// it. The agent on the machine keeps to it when nobody here does.
pub(crate) fn machine_ends_s(core: &Core, job: &Job, now: Timestamp) -> Option<u64> {
    Some(purse(core, job, now)?.lasts(Duration::ZERO).as_secs())
}
