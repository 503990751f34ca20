//! The world outside of the processes: vendors, their machines, the trainings on them, and what it all costs.

mod agent;
mod checkpoint;
mod cloud;
mod faults;
mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use trainyard_domain::{JobId, OrderName, ProviderJobId};

use crate::clock::TrueTime;
use crate::dice::Dice;
use crate::memory::locked;
pub use agent::digest;
pub use cloud::{LOCAL, SETTLE_S, VENDORS, Vendor, connectors};
pub use faults::Faults;
pub use machine::{Fate, Machine, Plan, Run};

/// The world of one scenario.
#[derive(Debug)]
pub struct World {
    /// True time.
    pub time: TrueTime,
    state: Mutex<State>,
    /// Rung when something happened to a training that its time did not bring.
    changed: Notify,
    /// Rung when a slot of this machine came free.
    free: Notify,
    /// What happened, where somebody wants to read it.
    journal: Option<Mutex<Vec<String>>>,
    /// What was done on a machine that never may be.
    wrong: Mutex<Vec<String>>,
    /// The newest checkpoint of each job that this machine keeps between its attempts, by its step.
    kept: Mutex<BTreeMap<JobId, u64>>,
}

/// What of the world changes.
#[derive(Debug)]
pub struct State {
    /// What goes wrong now.
    pub faults: Faults,
    /// The dice of the faults.
    pub dice: Dice,
    /// Every machine that ever was, in the order of their birth.
    pub machines: Vec<Machine>,
    /// What each job's training does.
    pub plans: BTreeMap<JobId, Plan>,
    /// What is to become of the next machines, the last one first.
    pub fates: Vec<Fate>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, faults: Faults, with_journal: bool) -> Arc<World> {
        let state = State {
            faults,
            dice: Dice::of(seed, 1),
            machines: Vec::new(),
            plans: BTreeMap::new(),
            fates: Vec::new(),
        };
        Arc::new(World {
            time: TrueTime::begin(),
            state: Mutex::new(state),
            changed: Notify::new(),
            free: Notify::new(),
            journal: with_journal.then(Mutex::default),
            wrong: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// Looks at the world, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut locked(&self.state))
    }

    /// Writes into the journal, where there is one.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(journal) = &self.journal {
            locked(journal).push(format!("{:10.3} {}", self.time.seconds(), text()));
        }
    }

    /// Something was done on a machine that never may be.
    fn wrong(&self, what: String) {
        self.note(|| what.clone());
        locked(&self.wrong).push(what);
    }

    /// What was done on machines that never may be.
    pub fn wrongs(&self) -> Vec<String> {
        locked(&self.wrong).clone()
    }

    /// This machine keeps what its trainings wrote.
    fn keep(&self, machine: &Machine) {
        let Some(run) = machine.run.as_ref().filter(|_| machine.vendor == LOCAL) else { return };
        if let Some(step) = run.checkpoints().last() {
            locked(&self.kept).insert(run.job.clone(), *step);
        }
    }

    /// The newest checkpoint of a job that a machine of that vendor has by itself.
    fn kept(&self, vendor: &str, job: &JobId) -> Option<u64> {
        locked(&self.kept).get(job).copied().filter(|_| vendor == LOCAL)
    }

    /// What was kept of a job is of no use any more.
    fn forget(&self, job: &JobId) {
        locked(&self.kept).remove(job);
    }

    /// What happened.
    pub fn journal(&self) -> Vec<String> {
        self.journal.as_ref().map(|journal| locked(journal).clone()).unwrap_or_default()
    }

    /// From now on nothing goes wrong. What was drawn for later does not come either.
    pub fn calm(&self) {
        self.note(|| "the faults end".to_owned());
        self.with(|state| {
            let now = Instant::now();
            state.faults = Faults { call_ms: 50, ..Faults::default() };
            for machine in &mut state.machines {
                machine.agent_dies = machine.agent_dies.filter(|at| *at <= now);
                machine.lost_its_run = machine.lost_its_run.filter(|at| *at <= now);
                machine.agent_restarts = None;
                machine.hidden_last = false;
                // A machine that was to be taken away later stays.
                if machine.asked_to_go.is_none() {
                    machine.gone = machine.gone.filter(|at| *at <= now);
                }
            }
        });
    }

    /// A machine of ours that nobody knows of.
    pub fn plant(&self, vendor: &Vendor, order: OrderName) {
        self.note(|| format!("a stray {order} at {}", vendor.name));
        self.with(|state| state.rent(vendor, order, "1.00".parse().unwrap_or(trainyard_domain::Money::ZERO)));
    }

    /// Names of machines that are billed now.
    pub fn alive(&self) -> Vec<String> {
        let now = Instant::now();
        self.with(|state| {
            let alive = state.machines.iter().filter(|machine| machine.is_alive(now));
            alive.map(|machine| format!("{} {}", machine.vendor, machine.order)).collect()
        })
    }

    /// How long a call takes.
    async fn takes(&self, share: u64) {
        let takes = self.with(|state| {
            let most = state.faults.call_ms;
            state.dice.millis(1, most.max(1)) / u32::try_from(share.max(1)).unwrap_or(1)
        });
        // waits: in simulated time, which jumps
        tokio::time::sleep(takes).await;
    }
}

impl State {
    /// Makes a machine, and draws its fate.
    fn rent(&mut self, vendor: &Vendor, order: OrderName, price: trainyard_domain::Money) -> ProviderJobId {
        let now = Instant::now();
        let faults = self.faults.clone();
        let number = self.machines.len();
        let text = format!("m-{number}");
        #[expect(clippy::expect_used, reason = "a letter, a dash and a number are an id")]
        let id: ProviderJobId = text.parse().expect("an id");
        let dice = &mut self.dice;
        let boots = if vendor.costs { dice.millis(1_000, 60_000) } else { Duration::from_millis(20) };
        let later = |dice: &mut Dice, permille: u32| {
            dice.hits(permille).then(|| now + boots + dice.millis(0, 300_000))
        };
        let shows = if vendor.costs { faults.shows_after_s * 1000 } else { 0 };
        let machine = Machine {
            vendor: vendor.name.to_owned(),
            twin: self.machines.iter().any(|known| known.order == order),
            order,
            id: id.clone(),
            price,
            born: now,
            gone: later(dice, faults.preempted),
            asked_to_go: None,
            wanted_gone: None,
            lost_its_run: None,
            shows_from: now + dice.millis(0, shows),
            hidden_last: false,
            up_from: (!dice.hits(faults.never_up)).then(|| now + boots),
            agent_dies: later(dice, faults.agent_dies),
            agent_restarts: later(dice, faults.agent_restarts),
            restarts_after_end: None,
            boot: 1,
            ends: None,
            run: None,
            past: Vec::new(),
            inputs: BTreeSet::new(),
        };
        self.machines.push(machine);
        if let (Some(fate), Some(machine)) = (self.fates.pop(), self.machines.last_mut()) {
            machine.gone = fate.gone_after.map(|after| now + after).or(machine.gone);
            machine.agent_dies = fate.mute_after.map(|after| now + after).or(machine.agent_dies);
            machine.agent_restarts = fate.restarts_after.map(|after| now + after).or(machine.agent_restarts);
            machine.restarts_after_end = fate.restarts_after_end;
            machine.up_from = fate.boots_in.map(|after| now + after).or(machine.up_from);
            machine.up_from = machine.up_from.filter(|_| !fate.never_up);
        }
        if let Some(machine) = self.machines.last_mut() {
            machine.lost_its_run = machine.agent_dies;
        }
        id
    }

    fn find(&mut self, order: &OrderName, id: &ProviderJobId) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|machine| machine.order == *order && machine.id == *id)
    }

    /// Machines of a vendor that are billed now.
    fn taken(&self, vendor: &str) -> usize {
        let now = Instant::now();
        self.machines.iter().filter(|machine| machine.vendor == vendor && machine.is_alive(now)).count()
    }
}
