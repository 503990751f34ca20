//! An order for a machine, as a skin writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use trainyard_domain::Money;

use super::{Machine, World};
use crate::vendor::Vendor;

/// An order. The skin has read and checked the vendor's wire form; everything that the vendor echoes later and that
/// the world has no use for goes into `details`.
#[derive(Debug, Clone)]
pub struct Order {
    /// Of which vendor.
    pub vendor: Vendor,
    /// Its name (RunPod, Lambda) or label (Vast.ai).
    pub name: String,
    /// Tags, where the vendor has any.
    pub tags: BTreeMap<String, String>,
    /// Which offer.
    pub offer: String,
    /// How many units of it; RunPod's are cards. The price is that many times the offer's.
    pub units: u32,
    /// A price other than the offer's (a bid).
    pub price_per_hour: Option<Money>,
    /// What kind of machine.
    pub kind: Kind,
    /// The container's image, for its pull; of a whole machine the system's image.
    pub image: String,
    /// Disk in GB.
    pub disk_gb: u32,
    /// The program and its arguments; empty: nothing is started by itself.
    pub program: Vec<String>,
    /// The environment that the vendor gives it. Asked at every start of the program.
    pub environment: Environment,
    /// Ports that it will listen on, the agent's among them. All machines share this computer's: one in use by another
    /// machine or program is answered like no capacity.
    pub ports: Vec<u16>,
    /// Whether these ports are mapped to others of 127.0.0.1 while it runs ([`Machine::mapped`]), traffic counted.
    pub mapped: bool,
    /// What else runs while the machine does (an SSH server).
    pub service: Option<Service>,
    /// The skin's own.
    pub details: Value,
}

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container: it ends when its program ends, and the vendor starts it again, on the same disk.
    Container,
    /// A whole machine: it goes on when its program ends, which is run at the first boot only.
    Whole,
}

type MakeEnvironment = dyn Fn(&Machine) -> BTreeMap<String, String> + Send + Sync;
type Serve = dyn Fn(World, Machine) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// Makes the environment of a machine's program: its id, its own key and its mapped ports are known then.
#[derive(Clone)]
pub struct Environment(Arc<MakeEnvironment>);

impl Environment {
    /// This one.
    pub fn new(make: impl Fn(&Machine) -> BTreeMap<String, String> + Send + Sync + 'static) -> Environment {
        Environment(Arc::new(make))
    }

    /// Always the same.
    pub fn fixed(variables: BTreeMap<String, String>) -> Environment {
        Environment::new(move |_| variables.clone())
    }

    pub(crate) fn of(&self, machine: &Machine) -> BTreeMap<String, String> {
        (self.0)(machine)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Something that runs beside a machine's program from the moment the machine runs; dropped when it stops or goes.
#[derive(Clone)]
pub struct Service(Arc<Serve>);

impl Service {
    /// This one. [`World::commands`] makes it start programs on the machine.
    pub fn new<F>(serve: impl Fn(World, Machine) -> F + Send + Sync + 'static) -> Service
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Service(Arc::new(move |world, machine| Box::pin(serve(world, machine))))
    }

    pub(crate) fn run(&self, world: World, machine: Machine) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        (self.0)(world, machine)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}
