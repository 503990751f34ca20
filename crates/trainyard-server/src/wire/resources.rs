//! The ledger.

use serde::Serialize;
use trainyard_domain::{Machine, Timestamp};
use utoipa::ToSchema;

use super::{CostWire, Time};

/// Every machine ever rented, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourcesAnswer {
    pub(crate) installation: String,
    pub(crate) machines: Vec<MachineWire>,
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
}

/// An attempt that a machine served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachineAttempt {
    job_id: String,
    attempt: u32,
}

impl MachineWire {
    pub(crate) fn new(machine: &Machine, now: Timestamp) -> MachineWire {
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
        }
    }
}
