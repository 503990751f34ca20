//! A scripted provider: what it rents out, refuses and lists is set by the test, and what was asked of it is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use trainyard_connector::{
    AgentEvent, AgentEventBody, AgentGreeting, Arch, Capabilities, CheckpointInfo, Connector, ConnectorError,
    ConnectorInfo, ErrorKind, EventBatch, InputSource, KeptJob, MachineLog, MachineObservation, MachinePhase,
    Manifest, Offer, Placement, ProvisionOrder, Renewal, SelfRemovalProof, StartOrder, Stock, Termination,
    TrainingState, Workload, WorkloadState,
};
use trainyard_domain::{
    AttemptNumber, Exit, InstallationId, JobId, JobSpec, Money, OrderName, ProviderJobId, Resources,
    Timestamp,
};
use trainyard_orchestrator::{Clock, SystemClock};

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// What an order comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Accepted,
    Refused(ErrorKind),
    /// Accepted, and the answer lost.
    AcceptedUnheard,
    /// Swallowed, and no answer.
    Swallowed,
}

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: ProviderJobId,
    pub(crate) phase: MachinePhase,
    pub(crate) price: Option<Money>,
    pub(crate) answers: bool,
    started: Option<(JobId, AttemptNumber, Timestamp)>,
}

/// The truth, and the script.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) offers: Vec<Offer>,
    /// What the next orders come to; then all are accepted.
    pub(crate) orders: VecDeque<Order>,
    /// What every call but an agent's comes to.
    pub(crate) down: Option<ErrorKind>,
    /// How machines are made.
    pub(crate) born: Option<MachinePhase>,
    /// Whether agents of new machines answer.
    pub(crate) mute: bool,
    /// How a training ends; none: it goes on.
    pub(crate) exit: Option<i32>,
    /// The vendor's log of every machine.
    pub(crate) log: Vec<String>,
    pub(crate) machines: BTreeMap<OrderName, Machine>,
    /// Offers that were ordered.
    pub(crate) ordered: Vec<String>,
    pub(crate) listings: usize,
    pub(crate) terminated: Vec<OrderName>,
    /// A removal that was accepted does not come true.
    pub(crate) immortal: bool,
}

impl World {
    pub(crate) fn alive(&self) -> usize {
        self.machines.values().filter(|machine| machine.phase != MachinePhase::Gone).count()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    info: Arc<ConnectorInfo>,
    world: Arc<Mutex<World>>,
}

pub(crate) fn offer(id: &str, price: &str) -> Offer {
    Offer {
        id: id.to_owned(),
        gpu: "RTX4090".to_owned(),
        gpu_memory_gb: 24,
        gpu_count: 1,
        price_per_hour: price.parse().unwrap(),
        traffic_per_gb: Money::ZERO,
        region: "EU".to_owned(),
        spot: false,
        stock: Stock::High,
        arch: Arch::X86_64,
        disk_gb_max: None,
    }
}

impl Cloud {
    pub(crate) fn new(name: &str, offers: &[(&str, &str)]) -> Cloud {
        let info = ConnectorInfo {
            name: name.parse().unwrap(),
            capabilities: Capabilities {
                costs: true,
                offers: true,
                machine_log: true,
                ..Capabilities::default()
            },
            proven: "tested".to_owned(),
            limits: Vec::new(),
            agent_lost_after_s: 1,
            settle_s: 0,
            boot_deadline_s: 3,
        };
        let offers = offers.iter().map(|(id, price)| offer(id, price)).collect();
        let world = World { offers, exit: Some(0), ..World::default() };
        Cloud { info: Arc::new(info), world: Arc::new(Mutex::new(world)) }
    }

    /// A machine that nobody here ordered.
    pub(crate) fn add(&self, order: &OrderName) {
        let id = format!("by-hand-{}", &order.as_str()[12..]).parse().unwrap();
        let machine = Machine { id, phase: MachinePhase::Up, price: None, answers: false, started: None };
        self.world().machines.insert(order.clone(), machine);
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn up(&self) -> Result<MutexGuard<'_, World>, ConnectorError> {
        let world = self.world();
        match world.down {
            Some(kind) => Err(ConnectorError::refused(kind, "the provider does not answer as it should")),
            None => Ok(world),
        }
    }
}

fn rent(world: &mut World, order: &ProvisionOrder) -> Placement {
    let price = order.offer.as_ref().map(|offer| offer.price_per_hour);
    let id: ProviderJobId = format!("m-{}", world.machines.len() + 1).parse().unwrap();
    let machine = Machine {
        id: id.clone(),
        phase: world.born.clone().unwrap_or(MachinePhase::Up),
        price,
        answers: !world.mute,
        started: None,
    };
    world.machines.insert(order.name.clone(), machine);
    Placement { id, price_per_hour: price }
}

#[async_trait]
impl Connector for Cloud {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn offers(&self, _: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        Ok(self.up()?.offers.clone())
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let mut world = self.up()?;
        world.ordered.push(order.offer.as_ref().unwrap().id.clone());
        let lost = || ConnectorError::unknown(ErrorKind::Unreachable, "the answer was lost");
        match world.orders.pop_front().unwrap_or(Order::Accepted) {
            Order::Accepted => Ok(rent(&mut world, order)),
            Order::Refused(kind) => Err(ConnectorError::refused(kind, "the provider refused")),
            Order::AcceptedUnheard => {
                rent(&mut world, order);
                Err(lost())
            }
            Order::Swallowed => Err(lost()),
        }
    }

    async fn list_owned(&self, _: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let mut world = self.up()?;
        world.listings += 1;
        let seen = |(order, machine): (&OrderName, &Machine)| MachineObservation {
            order: order.clone(),
            id: machine.id.clone(),
            phase: machine.phase.clone(),
            price_per_hour: machine.price,
            note: None,
            at: now(),
        };
        Ok(world.machines.iter().map(seen).collect())
    }

    async fn observe(&self, _: &OrderName, _: &ProviderJobId) -> Result<MachineObservation, ConnectorError> {
        panic!("a provider that costs money is seen by its listing alone")
    }

    async fn terminate(&self, order: &OrderName, _: &ProviderJobId) -> Result<Termination, ConnectorError> {
        let mut world = self.up()?;
        world.terminated.push(order.clone());
        if !world.immortal {
            world.machines.remove(order);
        }
        Ok(Termination::Underway)
    }

    async fn attach(
        &self,
        order: &OrderName,
        _: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        Ok(Box::new(Agent { world: self.world.clone(), order: order.clone() }))
    }

    async fn forget(&self, _: &JobId) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn machine_log(
        &self,
        _: &OrderName,
        _: &ProviderJobId,
        after: Option<&str>,
    ) -> Result<MachineLog, ConnectorError> {
        let world = self.up()?;
        let from: usize = after.and_then(|after| after.parse().ok()).unwrap_or(0);
        let lines = world.log.get(from..).unwrap_or_default().to_vec();
        Ok(MachineLog { lines, cursor: Some(world.log.len().to_string()), broken: None })
    }
}

/// The agent of one machine: trains for no time at all and leaves nothing.
#[derive(Debug)]
struct Agent {
    world: Arc<Mutex<World>>,
    order: OrderName,
}

impl Agent {
    fn silent() -> ConnectorError {
        ConnectorError::refused(ErrorKind::Unreachable, "the agent does not answer")
    }

    fn now(&self) -> Result<WorkloadState, ConnectorError> {
        let world = self.world.lock().unwrap();
        let machine = world.machines.get(&self.order).filter(|machine| machine.answers);
        let machine = machine.ok_or_else(Agent::silent)?;
        let (attempt, training, last_event) = match (&machine.started, world.exit) {
            (None, _) => (None, TrainingState::Idle, 0),
            (Some((id, n, at)), None) => {
                (Some((id.clone(), *n)), TrainingState::Running { since: *at, paused: false }, 1)
            }
            (Some((id, n, at)), Some(code)) => {
                let exit = Exit::with_code(code, *at);
                (Some((id.clone(), *n)), TrainingState::Exited { started_at: Some(*at), exit }, 2)
            }
        };
        Ok(WorkloadState {
            boot_id: "boot".to_owned(),
            attempt,
            training,
            last_event,
            log_bytes: 0,
            self_removal: SelfRemovalProof::None,
        })
    }
}

#[async_trait]
impl Workload for Agent {
    async fn greet(&self) -> Result<AgentGreeting, ConnectorError> {
        Err(Agent::silent())
    }

    async fn state(&self) -> Result<WorkloadState, ConnectorError> {
        self.now()
    }

    async fn job(&self) -> Result<Option<KeptJob>, ConnectorError> {
        let told = self.now()?.attempt;
        let mut spec = JobSpec::new("gpt2");
        spec.trainer.command = Some(vec!["true".to_owned()]);
        Ok(told.map(|(job_id, attempt)| KeptJob { job_id, attempt, spec, accepted_at: now() }))
    }

    async fn put_input(&self, _: &InputSource) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn start(&self, order: &StartOrder) -> Result<WorkloadState, ConnectorError> {
        if let Some(machine) = self.world.lock().unwrap().machines.get_mut(&self.order) {
            machine.started.get_or_insert((order.job_id.clone(), order.attempt, now()));
        }
        self.now()
    }

    async fn events(&self, after: u64, wait: Duration) -> Result<EventBatch, ConnectorError> {
        let state = self.now()?;
        let told = |n, body| AgentEvent { n, at: now(), body };
        let events = match (after, &state.training) {
            (0, TrainingState::Running { .. }) => vec![told(1, AgentEventBody::Started)],
            (0 | 1, TrainingState::Exited { exit, .. }) => {
                let all = [told(1, AgentEventBody::Started), told(2, AgentEventBody::Exited(exit.clone()))];
                all.into_iter().filter(|event| event.n > after).collect()
            }
            _ => {
                // waits: as an agent's long poll does.
                tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
                Vec::new()
            }
        };
        Ok(EventBatch { boot_id: "boot".to_owned(), events, last: state.last_event })
    }

    async fn log(&self, _: u64, _: u32) -> Result<Bytes, ConnectorError> {
        Ok(Bytes::new())
    }

    async fn stop(&self, _: Duration) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn pause(&self) -> Result<(), ConnectorError> {
        Err(Agent::silent())
    }

    async fn resume(&self) -> Result<(), ConnectorError> {
        Err(Agent::silent())
    }

    async fn manifest(&self, _: Duration) -> Result<Option<Manifest>, ConnectorError> {
        let attempt = self.now()?.attempt.map(|(_, attempt)| attempt);
        let attempt = attempt.ok_or_else(Agent::silent)?;
        Ok(Some(Manifest { attempt, files: Vec::new(), skipped: Vec::new() }))
    }

    async fn file(&self, _: &str, _: u64, _: u64) -> Result<Bytes, ConnectorError> {
        Err(Agent::silent())
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn renew(&self, _: &Renewal) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
