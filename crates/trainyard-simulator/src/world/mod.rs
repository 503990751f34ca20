//! The world: accounts, stock, machines and their lives, without a word of any vendor's wire.
//!
//! All of it is behind one lock that is never held across a wait; whatever lasts (boot, pull, restart, removal) is the
//! life of a machine, a task of its own that goes by the world's [`Clock`]. A [`Machine`] that is
//! handed out is a copy.

mod account;
mod call;
mod life;
mod log;
mod machine;
mod manage;
mod order;
mod place;
mod stock;
mod truth;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use trainyard_domain::{Money, Timestamp};

pub use account::{Access, Account, AccountOrder, KeyState};
pub use call::{Call, Count, Exchange};
pub use log::{Line, Log, Source};
pub use machine::{Cause, Ill, Machine, Phase, Uid, Wanted};
pub use order::{Environment, Kind, Order, Service};
pub use place::Refused;
pub use stock::{Offer, OfferOrder};
pub use truth::{MachineTruth, Truth};

pub(crate) use call::span;
pub(crate) use log::LINE_BYTES_MAX;
pub(crate) use machine::Ills;
pub use manage::NoSuchMachine;

use crate::clock::Clock;
use crate::faults::{FaultPlan, Faults, Rule};
use crate::options::{Delays, Options};
use crate::random::Random;
use crate::scripted;
use crate::vendor::Vendor;
use machine::Kept;

/// One simulated world. Clones are the same world.
#[derive(Debug, Clone)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    clock: Clock,
    faults: Faults,
    state: Mutex<State>,
    /// Whether programs may still be started; held while one is.
    open: Mutex<bool>,
    /// Rings at every change of a machine.
    bell: watch::Sender<u64>,
    runtime: Handle,
    root: PathBuf,
    /// In the environment of every process of this world's machines.
    mark: String,
    ssh_port: u16,
}

#[derive(Debug)]
struct State {
    accounts: BTreeMap<Vendor, Account>,
    offers: Vec<Offer>,
    machines: BTreeMap<Uid, Kept>,
    last_uid: u64,
    last_number: u64,
    random: Random,
    counts: BTreeMap<(Vendor, &'static str), Count>,
    tape: VecDeque<Exchange>,
    /// What the skins keep beside machines: SSH keys, templates, tickets.
    shelves: BTreeMap<Vendor, BTreeMap<String, Value>>,
    /// The agents of machines that are no processes.
    scripted: BTreeMap<Uid, Arc<scripted::Agent>>,
    /// When a request of that kind may come again.
    paces: BTreeMap<(Vendor, String), Timestamp>,
}

/// The first of Vast.ai's ids: the size of the real ones.
const FIRST_NUMBER: u64 = 7_835_610;

impl World {
    /// Needs a runtime: lives are its tasks.
    pub(crate) fn new(options: Options, root: PathBuf, ssh_port: u16) -> World {
        let start = crate::clock::real_now();
        let chance = start.timestamp_nanos_opt().unwrap_or_default().unsigned_abs();
        let mut random = Random::new(options.seed.unwrap_or(chance));
        let accounts = Vendor::ALL
            .map(|vendor| {
                let account = options.accounts.get(&vendor).cloned();
                (vendor, account.unwrap_or_else(|| Account::usual(vendor)))
            })
            .into();
        let state = State {
            accounts,
            offers: options.offers.clone().unwrap_or_else(crate::skins::catalogue),
            machines: BTreeMap::new(),
            last_uid: 0,
            last_number: FIRST_NUMBER + if options.seed.is_some() { 0 } else { random.next() % 1_000_000 },
            random,
            counts: BTreeMap::new(),
            tape: VecDeque::new(),
            shelves: BTreeMap::new(),
            scripted: BTreeMap::new(),
            paces: BTreeMap::new(),
        };
        // Of the real time and not of the seed: two worlds on one computer must not kill each other's processes.
        let mark = format!("{chance:x}-{}", std::process::id());
        let inner = Inner {
            clock: Clock::new(start, options.speed),
            options,
            faults: Faults::default(),
            state: Mutex::new(state),
            open: Mutex::new(true),
            bell: watch::Sender::new(0),
            runtime: Handle::current(),
            root,
            mark,
            ssh_port,
        };
        let world = World { inner: Arc::new(inner) };
        world.spawn(manage::mind_credit(world.clone()));
        world
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The world's time.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// How long things take.
    pub fn delays(&self) -> &Delays {
        &self.inner.options.delays
    }

    /// How it was set up.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Where Lambda's machines answer SSH, each at its own address ([`Machine::address`]).
    pub fn ssh_port(&self) -> u16 {
        self.inner.ssh_port
    }

    /// Replaces the plan of faults; every rule counts from here.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.inner.faults.set(plan);
    }

    /// Adds a rule to the plan.
    pub fn add_fault(&self, rule: Rule) {
        self.inner.faults.add(rule);
    }

    /// The plan, with how often each rule struck.
    pub fn faults(&self) -> (FaultPlan, Vec<u32>) {
        self.inner.faults.shown()
    }

    /// What there is to rent at a vendor, units left included.
    pub fn offers(&self, vendor: Vendor) -> Vec<Offer> {
        self.state().offers.iter().filter(|offer| offer.vendor == vendor).cloned().collect()
    }

    /// The account at a vendor. Its credit is what was paid in; see [`World::credit_left`].
    pub fn account(&self, vendor: Vendor) -> Account {
        self.state().accounts.get(&vendor).cloned().unwrap_or_else(|| Account::usual(vendor))
    }

    /// Who asks with that key.
    pub fn access(&self, vendor: Vendor, key: Option<&str>) -> Access {
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Access::Missing };
        let state = self.state();
        match state.accounts.get(&vendor).and_then(|account| account.keys.get(key)) {
            Some(KeyState::Valid) => return Access::Owner,
            Some(KeyState::ReadOnly) => return Access::Reader,
            Some(KeyState::Revoked) => return Access::Revoked,
            None => {}
        }
        let mut machines = state.machines.values().map(|kept| &kept.now);
        let own = machines.find(|it| it.vendor == vendor && it.is_alive() && it.key == key);
        own.map_or(Access::Unknown, |machine| Access::Machine(machine.id.clone()))
    }

    /// What the skin of a vendor keeps beside machines, under names of its own.
    pub fn shelf<T>(&self, vendor: Vendor, look: impl FnOnce(&mut BTreeMap<String, Value>) -> T) -> T {
        look(self.state().shelves.entry(vendor).or_default())
    }

    /// A word of chance (ids of the skins' own things), of the world's seed.
    pub fn word(&self, alphabet: &str, length: usize) -> String {
        self.state().random.word(alphabet.as_bytes(), length)
    }

    /// Where [`Options::rate_limits`] is on: how much too early that request came, by a limit of one in `every`; none
    /// where it may go on.
    pub fn too_early(&self, vendor: Vendor, limit: &str, every: Duration) -> Option<Duration> {
        if !self.inner.options.rate_limits {
            return None;
        }
        let now = self.now();
        let mut state = self.state();
        let free_at = state.paces.entry((vendor, limit.to_owned())).or_insert(now);
        if *free_at > now {
            return (*free_at - now).to_std().ok();
        }
        *free_at = now + every;
        None
    }

    /// Waits until the world is so, looking at every change of a machine and request, at most `within` of real time.
    /// Says whether it came to that.
    pub async fn until(&self, within: Duration, mut so: impl FnMut(&World) -> bool) -> bool {
        let mut bell = self.inner.bell.subscribe();
        let look = async {
            loop {
                bell.borrow_and_update();
                if so(self) || bell.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(within, look).await.is_ok()
    }

    /// A text of an order as its machine sees it: what lies at the path where a volume is mounted lies in a directory of this
    /// computer, which outlives the machine. Machines here have no file system of their own to mount into.
    pub(crate) fn mounted(&self, vendor: Vendor, volume: &str, path: &str, text: &str) -> String {
        let directory = self.root().join("volumes").join(vendor.to_string()).join(volume);
        text.replace(path, &directory.to_string_lossy())
    }

    /// The directory of all machines.
    pub(crate) fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The mark of all this world's processes.
    pub(crate) fn mark(&self) -> &str {
        &self.inner.mark
    }

    /// Starts a program on a machine, unless that is to go or the world is over: whoever ends either finds every process
    /// there will ever be.
    pub(crate) fn start_program<T>(
        &self,
        uid: Uid,
        start: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        let open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = self.by_uid(uid).is_some_and(|machine| machine.wanted == Wanted::Running);
        if *open && runs { start() } else { Err(std::io::Error::other("the machine is over")) }
    }

    /// Returns once no program is being started: of what was begun before, every process can be seen.
    pub(crate) fn let_starts_end(&self) {
        drop(self.inner.open.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// No program is started from now on.
    pub(crate) fn close(&self) {
        *self.inner.open.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.inner.runtime.spawn(task)
    }

    pub(crate) fn spawn_with<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.inner.runtime.spawn(task)
    }

    fn ring(&self) {
        self.inner.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The newest machine of that vendor's id: ids may be used again.
    fn by_id(&mut self, vendor: Vendor, id: &str) -> Option<&mut Kept> {
        self.machines.values_mut().rev().find(|kept| kept.now.vendor == vendor && kept.now.id == id)
    }

    /// What all machines of a vendor have cost.
    fn spent(&self, vendor: Vendor, now: Timestamp) -> Money {
        let of_vendor = self.machines.values().filter(|kept| kept.now.vendor == vendor);
        of_vendor.fold(Money::ZERO, |sum, kept| sum.plus(kept.now.invoice(now).total))
    }
}
