//! The vendor's side: machines are rented and returned.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;
use trainyard_domain::{
    FieldError, InstallationId, JobSpec, Money, OrderName, ProviderJobId, ProviderName, Resources, Timestamp,
};

use crate::{ConnectorError, Offer, Workload};

/// A provider of machines. Calls are bounded in time by the implementation; every future may be dropped at any
/// `.await`, and the truth can still be found by [`Connector::list_owned`].
#[async_trait]
pub trait Connector: Debug + Send + Sync + 'static {
    /// Name and capabilities, as plain data.
    fn info(&self) -> &ConnectorInfo;

    /// Machines for rent that meet the need, cheapest first: at most [`OFFERS_MAX`](crate::OFFERS_MAX), each with a
    /// price that holds now as far as the vendor tells. Where [`Capabilities::offers`] is off there is nothing to choose
    /// from, and the default says so with `Unsupported`.
    async fn offers(&self, need: &Resources) -> Result<Vec<Offer>, ConnectorError> {
        let _ = need;
        Err(unsupported("has no offers to choose from"))
    }

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

    /// What the vendor itself noted of a machine (image pull, container start, its output) after a cursor that an
    /// earlier answer gave: what there is to see before the agent answers. Bounded; never waits for more to come.
    /// `Unsupported` where [`Capabilities::machine_log`] is off.
    async fn machine_log(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
        after: Option<&str>,
    ) -> Result<MachineLog, ConnectorError> {
        let _ = (order, id, after);
        Err(unsupported("keeps no log of its machines"))
    }

    /// What the vendor has billed for a machine so far, where [`Capabilities::bill`] holds; none while its books do not
    /// show it yet. Never more often than a few times a machine: books lag by minutes.
    async fn bill(&self, order: &OrderName, id: &ProviderJobId) -> Result<Option<Money>, ConnectorError> {
        let _ = (order, id);
        Err(unsupported("tells no bill"))
    }

    /// Whether the key works and what the account may do. One or two cheap readings; rents nothing.
    async fn account(&self) -> Result<Account, ConnectorError> {
        Err(unsupported("has no account"))
    }

    /// Where a person reaches that machine by SSH; none where it has none, or not yet.
    async fn ssh(&self, order: &OrderName, id: &ProviderJobId) -> Result<Option<SshTarget>, ConnectorError> {
        let _ = (order, id);
        Err(unsupported("has no SSH"))
    }

    /// What lies in the account beside machines and bears this installation's mark: logins at image registries, SSH
    /// keys, secrets, volumes. Every page, or an error. What the installation needs for good (its one SSH key) is not
    /// among them. The default has none.
    async fn list_leftovers(&self, owner: &InstallationId) -> Result<Vec<Leftover>, ConnectorError> {
        let _ = owner;
        Ok(Vec::new())
    }

    /// Removes one of these. Twice is as good as once. The default is `Unsupported`.
    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), ConnectorError> {
        let _ = leftover;
        Err(unsupported("leaves nothing in an account"))
    }

    /// What was noticed about a machine since the last asking and belongs in its job's history (another host key
    /// answered, for one). Each is given once. The default has none.
    fn remarks(&self, order: &OrderName) -> Vec<String> {
        let _ = order;
        Vec::new()
    }

    /// What this connector wants to know again of an order's machine after a restart: a text of its own of at most 4 KiB
    /// with nothing secret in it, kept with the attempt. The default remembers nothing.
    fn memory(&self, order: &OrderName) -> Option<String> {
        let _ = order;
        None
    }

    /// Gives back what [`Connector::memory`] told, before the machine is attached to. The default does nothing.
    fn recall(&self, order: &OrderName, memory: &str) {
        let _ = (order, memory);
    }

    /// What of a specification would surprise on this provider: fields that it does not look at, or reads in its own
    /// way. Shown as warnings before anything is paid. The default has none.
    fn surprises(&self, spec: &JobSpec) -> Vec<FieldError> {
        let _ = spec;
        Vec::new()
    }

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
    /// Seconds from the order within which the agent must have answered; then the machine is given up.
    pub boot_deadline_s: u64,
}

/// What a provider can do, as data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Trainings can be paused and go on.
    pub pause: bool,
    /// Jobs over the number of slots wait in a queue of this machine instead of being refused.
    pub queue: bool,
    /// Costs money. Its machines are observed by one shared listing, and gone when good listings no longer show them.
    pub costs: bool,
    /// There are offers to choose from; an order names one.
    pub offers: bool,
    /// There are spot machines: [`Connector::offers`] tells them, and only them, where `spot` is asked for.
    pub spot: bool,
    /// [`Connector::machine_log`] has something to tell.
    pub machine_log: bool,
    /// [`Connector::bill`] has something to tell.
    pub bill: bool,
    /// A person can reach its machines by SSH.
    pub ssh: bool,
    /// How its machines are billed; of meaning where it [`costs`](Capabilities::costs).
    pub billing: Billing,
}

/// How a vendor bills a machine, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Billing {
    /// Begun units of so many seconds are billed whole.
    pub unit_s: u64,
    /// Billing begins when the vendor first shows the machine as up; else when it accepted the order.
    pub from_up: bool,
}

impl Default for Billing {
    fn default() -> Self {
        Billing { unit_s: 1, from_up: false }
    }
}

/// An order for a machine. Everything in it was stored before it goes out.
#[derive(Debug, Clone)]
pub struct ProvisionOrder {
    /// The exact name, which is also the mark on the machine.
    pub name: OrderName,
    /// What it must have. `max_price_per_hour` is looked at once more at purchase: a dearer machine is never taken
    /// (`PriceChanged`, effect none), and one that turns out dearer is given back.
    pub resources: Resources,
    /// The offer that was chosen; none where the provider has none to choose from.
    pub offer: Option<Offer>,
    /// The container image that the job asks for; none: the provider's default. Of no meaning to whole machines.
    pub image: Option<String>,
    /// Who may pull that image; none: everybody.
    pub registry: Option<RegistryLogin>,
}

/// A login at an image registry. The password cannot be printed.
#[derive(Debug, Clone)]
pub struct RegistryLogin {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: SecretString,
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
    /// What the vendor charges per hour for it now, where the reading tells.
    pub price_per_hour: Option<Money>,
    /// What the vendor says of it in its own words, where it says something; at most a few hundred characters.
    pub note: Option<String>,
    /// When that was read, by our own clock.
    pub at: Timestamp,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachinePhase {
    /// It comes up.
    Booting,
    /// It runs.
    Up,
    /// It will not come up, or not come up again, by the vendor's own word; it is still rented and still billed.
    Broken {
        /// What is wrong, for a person, with the vendor's text.
        what: String,
        /// Whether another machine could help: false where the order itself is at fault (an image that does not exist).
        elsewhere: bool,
    },
    /// It ended or was taken away and will not come back.
    Gone,
    /// The vendor used a word we do not know; kept as it is.
    Unknown(String),
}

/// Something of ours in an account that is no machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The vendor's id of it; opaque.
    pub id: String,
    /// What it is called there.
    pub name: String,
    /// The order that it was made for; none where it was made for the installation as it once was.
    pub order: Option<OrderName>,
}

/// What lies in an account beside machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftoverKind {
    /// A login at an image registry.
    RegistryLogin,
    /// An SSH key.
    SshKey,
    /// A stored secret or an API key.
    Secret,
    /// A disk of its own.
    Volume,
}

impl LeftoverKind {
    /// The word for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            LeftoverKind::RegistryLogin => "a login at an image registry",
            LeftoverKind::SshKey => "an SSH key",
            LeftoverKind::Secret => "a secret",
            LeftoverKind::Volume => "a volume",
        }
    }
}

/// A piece of a vendor's own log of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineLog {
    /// Lines, oldest first; at most a thousand, each at most 4 KiB.
    pub lines: Vec<String>,
    /// Where to go on; opaque. None: ask from the start again.
    pub cursor: Option<String>,
    /// Where these lines prove that the machine will not come up: what is wrong, for a person, and whether another
    /// machine could help, as in [`MachinePhase::Broken`].
    pub broken: Option<(String, bool)>,
}

/// What a key opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Money to spend; none where the vendor does not tell.
    pub credit: Option<Money>,
    /// What the key was seen to be allowed, and what not, in words: name and finding.
    pub rights: Vec<(String, String)>,
    /// Limits that the vendor told: name and value.
    pub limits: Vec<(String, String)>,
}

/// Where a person reaches a machine by SSH.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The private key in OpenSSH's form, where ours opens it; none: the user's own.
    pub key: Option<SecretString>,
    /// The machine's host keys as `known_hosts` writes a key (`ssh-ed25519 AAAA…`); empty where they are not known.
    pub host_keys: Vec<String>,
}

/// What asking for the removal of a machine gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Termination {
    /// Nothing of it is left; with the reading that proves it.
    Gone(String),
    /// Accepted and under way.
    Underway,
}

fn unsupported(what: &str) -> ConnectorError {
    ConnectorError::refused(crate::ErrorKind::Unsupported, format!("this provider {what}"))
}
