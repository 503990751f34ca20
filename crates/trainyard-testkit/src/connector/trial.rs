//! What a provider's crate brings: a provider to try things on, and what can be done to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use trainyard_connector::{Connector, ProvisionOrder};
use trainyard_domain::{InstallationId, Resources};

/// Makes providers to test.
#[async_trait]
pub trait ConnectorHarness: Send + Sync {
    /// A provider with nothing rented, and a connector of it. `agents`: agents must answer on its machines; where not,
    /// machines may be cheaper than real ones.
    async fn open(&self, agents: bool) -> Box<dyn Trial>;
}

/// Something that this harness cannot do, with the reason in a few words: `a real account cannot be broken on purpose`.
/// A case that needs it is told as not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun(pub String);

/// What a case or a harness's service gives.
pub type Can<T> = Result<T, NotRun>;

/// One provider under test. Only the first four are needed; whoever leaves out others loses the cases that need them.
#[async_trait]
pub trait Trial: Send + Sync {
    /// The connector.
    fn connector(&self) -> Arc<dyn Connector>;

    /// Whose machines it rents.
    fn installation(&self) -> InstallationId;

    /// Another connector of the same provider, as after a restart of the program.
    async fn reconnect(&self) -> Arc<dyn Connector>;

    /// Lets the provider's time pass: waits, or moves a clock.
    async fn pass(&self, time: Duration);

    /// What the machines of the cases must have.
    fn resources(&self) -> Resources {
        Resources::default()
    }

    /// The last word on an order before it goes out: an image, for one.
    fn adjust(&self, order: ProvisionOrder) -> ProvisionOrder {
        order
    }

    /// What the provider really holds, whoever asked for it.
    async fn truth(&self) -> Can<Vec<TrueMachine>> {
        cannot("the truth behind the provider is not shown")
    }

    /// From now on the next `times` calls of that operation meet that fault.
    async fn inject(&self, at: Operation, times: u32, fault: Fault) -> Can<()> {
        let _ = (at, times, fault);
        cannot("this provider cannot be broken on purpose")
    }

    /// Takes every fault away.
    async fn heal(&self) {}

    /// How often the provider was asked for that operation so far, by anybody.
    async fn asked(&self, operation: Operation) -> Can<u64> {
        let _ = operation;
        cannot("requests are not counted")
    }

    /// Has somebody else rent a machine on the same account, under that name.
    async fn stranger(&self, name: &str) -> Can<()> {
        let _ = name;
        cannot("nobody else can rent here")
    }

    /// Takes the machine of that name away behind the connector's back, as by hand in the vendor's console.
    async fn take_away(&self, name: &str) -> Can<()> {
        let _ = name;
        cannot("machines cannot be taken away from outside")
    }

    /// How many machines one page of a list holds.
    fn page(&self) -> Can<usize> {
        cannot("lists come in one page")
    }

    /// The key that the connector shows.
    fn key(&self) -> Can<SecretString> {
        cannot("there is no key")
    }

    /// A connector with another key.
    async fn with_key(&self, key: SecretString) -> Can<Arc<dyn Connector>> {
        let _ = key;
        cannot("there is no key")
    }

    /// Everything that the vendor shows of a machine to whoever may look at the account: names, labels, environment.
    async fn shown(&self, name: &str) -> Can<String> {
        let _ = name;
        cannot("what a vendor shows of a machine is not known")
    }

    /// Ends it. Every machine of the case was asked to go before.
    async fn end(self: Box<Self>) {}
}

/// A machine as it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueMachine {
    /// The name or label that it bears.
    pub name: String,
    /// The vendor's id.
    pub id: String,
    /// Whether anything of it is left that costs or computes.
    pub alive: bool,
}

/// What a provider is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// What there is to rent.
    Offers,
    /// An order.
    Create,
    /// The list of machines.
    List,
    /// One machine.
    Get,
    /// The end of one.
    Terminate,
}

/// What goes wrong. Most are about one call's way; the others are about the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Unreachable,
    /// The connection is closed without an answer; nothing was done.
    DropBefore,
    /// The connection is closed without an answer; it was done.
    DropAfter,
    /// No answer for longer than anybody waits; nothing was done.
    StallBefore,
    /// No answer for longer than anybody waits; it was done.
    StallAfter,
    /// That status with a proxy's page instead of an answer; nothing was done.
    StatusBefore {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u32>,
    },
    /// That status with a proxy's page instead of an answer; it was done.
    StatusAfter {
        /// The status.
        status: u16,
    },
    /// The connection breaks in that byte of the body.
    Cut {
        /// Counted from 0.
        bytes: usize,
    },
    /// The body ends there, and the length that was announced agrees.
    Truncate {
        /// Counted from 0.
        bytes: usize,
    },
    /// It was done, and a 200 with that text is the answer.
    Answer {
        /// The body.
        body: String,
    },
    /// The answer drips, a few bytes a second.
    Slow,
    /// The answer is longer than anything that a vendor sends: tens of megabytes.
    Huge,
    /// Fields that nobody documented, in every object of the answer.
    ExtraFields,
    /// Every number of the answer as a string.
    NumbersAsStrings,
    /// The state of every machine is that word.
    StateWord(String),
    /// No such machine is there now.
    NoCapacity,
    /// The account has no money left.
    NoCredit,
    /// What is bought costs twice what was shown.
    PriceJump,
    /// A machine with one card is placed, whatever was asked for, at the price of what was.
    OtherSize,
    /// It is placed, and never comes up.
    NeverBoots,
    /// A removal is accepted, and nothing happens.
    TerminateIgnored,
    /// A removal is done, and answered as if there were no such machine.
    TerminateNotFound,
}

pub(super) fn cannot<T>(why: &str) -> Can<T> {
    Err(NotRun(why.to_owned()))
}
