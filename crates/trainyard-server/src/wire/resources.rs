//! The ledger.

use serde::Serialize;
use trainyard_domain::{Machine, Timestamp};
use trainyard_orchestrator::{AlarmView, BudgetView};
use utoipa::ToSchema;

use super::{CostWire, Time};

/// Every machine ever rented, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourcesAnswer {
    pub(crate) installation: String,
    pub(crate) machines: Vec<MachineWire>,
    /// What is spent of the budgets this month.
    pub(crate) budgets: Vec<BudgetWire>,
    /// Machines that go on costing though no job needs them, those among them that the ledger does not know.
    pub(crate) alarms: Vec<AlarmWire>,
}

/// A budget in this month.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetWire {
    /// `team:search`, or `all jobs`.
    name: String,
    /// The month, UTC.
    #[schema(example = "2026-01")]
    month: String,
    per_month: CostWire,
    /// What was spent by now.
    spent: CostWire,
    /// What was spent, and what is set aside for machines that may still be billed.
    committed: CostWire,
}

impl From<BudgetView> for BudgetWire {
    fn from(budget: BudgetView) -> Self {
        BudgetWire {
            name: budget.name,
            month: budget.month,
            per_month: budget.per_month.into(),
            spent: budget.spent.into(),
            committed: budget.committed.into(),
        }
    }
}

/// A machine that goes on costing though no job needs it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlarmWire {
    /// A stable word: `release_ignored`, `release_refused`, `unclaimed`.
    code: &'static str,
    /// The order whose name it bears.
    order: String,
    provider: String,
    provider_job_id: Option<String>,
    price_per_hour: Option<String>,
    /// Since when no job needs it.
    since: Time,
    /// US dollars that it cost more than was set aside for it.
    over: Option<String>,
    /// What is wrong, and what to do.
    message: String,
}

impl From<&AlarmView> for AlarmWire {
    fn from(alarm: &AlarmView) -> Self {
        AlarmWire {
            code: alarm.code,
            order: alarm.order.to_string(),
            provider: alarm.provider.to_string(),
            provider_job_id: alarm.provider_job_id.as_ref().map(ToString::to_string),
            price_per_hour: alarm.price_per_hour.map(|price| price.to_string()),
            since: alarm.since.into(),
            over: alarm.over.map(|over| over.to_string()),
            message: alarm.message.clone(),
        }
    }
}

/// A machine of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachineWire {
    /// The exact name of its order; the ledger's key.
    order: String,
    /// Who ordered it.
    installation: String,
    provider: String,
    provider_job_id: Option<String>,
    attempts: Vec<MachineAttempt>,
    price_per_hour: Option<CostWire>,
    cost: CostWire,
    ordered_at: Time,
    placed_at: Option<Time>,
    release_asked_at: Option<Time>,
    gone_at: Option<Time>,
    /// When it stopped being billed, as far as that can be told; null while it may be.
    billed_until: Option<Time>,
    /// The reading that proved it gone.
    gone_proof: Option<String>,
    may_be_billed: bool,
    /// When its vendor began to bill it, where that is later than the placement.
    billed_from: Option<Time>,
    /// Set aside for it before it was ordered: the most that its job's limits allow it to cost.
    reserved: Option<CostWire>,
    /// What its vendor's books say; null where it has none, or they were not read yet.
    bill: Option<BillWire>,
    /// It goes on costing though no job needs it.
    alarm: Option<AlarmWire>,
    /// Until when it is kept for another job (`resources.keep_warm_s`), which is submitted to it with `machine`; null
    /// where it is not, or not any more.
    warm_until: Option<Time>,
}

/// A vendor's bill for a machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BillWire {
    amount: CostWire,
    read_at: Time,
    /// It is the last word: then `cost` is the same.
    settled: bool,
}

/// An attempt that a machine served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachineAttempt {
    job_id: String,
    attempt: u32,
}

impl MachineWire {
    pub(crate) fn new(machine: &Machine, alarms: &[AlarmView], now: Timestamp) -> MachineWire {
        let attempts = machine
            .attempts
            .iter()
            .map(|(job, attempt)| MachineAttempt { job_id: job.to_string(), attempt: attempt.get() });
        MachineWire {
            order: machine.order.to_string(),
            installation: machine.order.installation().to_owned(),
            provider: machine.provider.to_string(),
            provider_job_id: machine.provider_job_id.as_ref().map(ToString::to_string),
            attempts: attempts.collect(),
            price_per_hour: machine.price_per_hour.map(CostWire::from),
            cost: machine.cost(now).into(),
            ordered_at: machine.ordered_at.into(),
            placed_at: machine.placed_at.map(Time),
            release_asked_at: machine.release_asked_at.map(Time),
            gone_at: machine.gone_at.map(Time),
            billed_until: machine.gone_at.map(|gone| Time(machine.billed_until.unwrap_or(gone))),
            gone_proof: machine.gone_proof.clone(),
            may_be_billed: machine.may_be_billed(),
            billed_from: machine.billed_from.map(Time),
            reserved: machine.reserved.map(CostWire::from),
            bill: machine.bill.map(|bill| BillWire {
                amount: bill.amount.into(),
                read_at: bill.read_at.into(),
                settled: bill.settled,
            }),
            alarm: alarms.iter().find(|alarm| alarm.order == machine.order).map(AlarmWire::from),
            warm_until: machine.warm_until.filter(|_| machine.is_warm(now)).map(Time),
        }
    }
}
