//! The vendor's side: machines are rented and returned.

use std::fmt::Debug;

use async_trait::async_trait;
use trainyard_domain::{InstallationId, Money, OrderName, ProviderJobId, ProviderName, Resources, Timestamp};

use crate::{ConnectorError, Workload};

/// A provider of machines. Calls are bounded in time by the implementation; every future may be dropped at any
/// `.await`, and the truth can still be found by [`Connector::list_owned`].
#[async_trait]
pub trait Connector: Debug + Send + Sync + 'static {
    /// Name and capabilities, as plain data.
    fn info(&self) -> &ConnectorInfo;

    /// Asks for a machine under the order's exact name and returns as soon as the vendor accepted; never waits for
    /// the boot. After an error with effect `Unknown` the order is searched for, never repeated.
    /// `NoCapacity` where there is no such machine now.
    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError>;

    /// Everything that bears this installation's mark: every page, every state, by exact order name.
    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError>;

    /// One machine as it is now.
    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError>;

    /// Gives a machine back with everything that runs on it. Twice is as good as once; an unknown one is `Gone`
    /// only where that is certain.
    async fn terminate(&self, order: &OrderName, id: &ProviderJobId) -> Result<Termination, ConnectorError>;

    /// The training on that machine, through its agent. Does not need the agent to answer yet.
    async fn attach(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError>;

    /// Forgets what was kept for a job between its attempts on machines of this provider (checkpoints), once the
    /// job needs it no more. Nothing kept is fine.
    async fn forget(&self, job: &trainyard_domain::JobId) -> Result<(), ConnectorError>;

    /// Whether such a machine can be had now, as far as that is known without asking anybody. Only of use where
    /// [`Capabilities::queue`] holds; the default says yes.
    fn vacancy(&self, resources: &Resources) -> Vacancy {
        let _ = resources;
        Vacancy { free: true, taken: 0, slots: 0 }
    }

    /// The GPUs of its machine that an order may use, by index; `None`: all that the machine shows. The default says
    /// so.
    fn cards(&self, order: &OrderName) -> Option<Vec<u32>> {
        let _ = order;
        None
    }

    /// Resolves when a machine may have become free after a `NoCapacity`. A bell: it may ring for nothing. The
    /// default never rings.
    async fn capacity_bell(&self) {
        std::future::pending::<()>().await;
    }
}

/// How full a provider with a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vacancy {
    /// Such a machine can be had now.
    pub free: bool,
    /// Slots in use, by our jobs and by others.
    pub taken: u32,
    /// Slots in all; 0 where there is no such number.
    pub slots: u32,
}

/// Who a connector speaks to and what it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorInfo {
    /// The provider's name.
    pub name: ProviderName,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How far it has been proven: `tested`, `simulator`, or `live` with a date.
    pub proven: String,
    /// Limits in force, in words: name and value.
    pub limits: Vec<(String, String)>,
    /// Seconds of silence after which its agent counts as lost.
    pub agent_lost_after_s: u64,
    /// Seconds after which a machine that was ordered shows in a listing for certain. Absence proves nothing before.
    pub settle_s: u64,
}

/// What a provider can do, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Trainings can be paused and go on.
    pub pause: bool,
    /// Jobs over the number of slots wait in a queue of this machine instead of being refused.
    pub queue: bool,
    /// Costs money.
    pub costs: bool,
}

/// An order for a machine. Everything in it was stored before it goes out.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvisionOrder {
    /// The exact name, which is also the mark on the machine.
    pub name: OrderName,
    /// What it must have.
    pub resources: Resources,
}

/// What the vendor accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The vendor's id of the machine.
    pub id: ProviderJobId,
    /// Price at purchase; none where nothing is paid.
    pub price_per_hour: Option<Money>,
}

/// A machine as one reading showed it.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineObservation {
    /// The exact name it bears.
    pub order: OrderName,
    /// The vendor's id.
    pub id: ProviderJobId,
    /// How it is.
    pub phase: MachinePhase,
    /// When that was read.
    pub at: Timestamp,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachinePhase {
    /// It comes up.
    Booting,
    /// It runs.
    Up,
    /// It ended or was taken away and will not come back.
    Gone,
    /// The vendor used a word we do not know; kept as it is.
    Unknown(String),
}

/// What asking for the removal of a machine gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Termination {
    /// Nothing of it is left; with the reading that proves it.
    Gone(String),
    /// Accepted and under way.
    Underway,
}
