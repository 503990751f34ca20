//! A machine as it is, and as it was.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use trainyard_domain::{Money, Timestamp};

use super::{Log, Offer, Order};
use crate::ledger::{Invoice, Meter};
use crate::vendor::Vendor;

/// A machine's number in this world: never used again, unlike the vendor's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Uid(pub(crate) u64);

impl Uid {
    /// It as a number: a machine that was placed later has a larger one.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A copy of what the world knows of a machine at one moment.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its number.
    pub uid: Uid,
    /// The vendor's id: RunPod 14 letters and digits, Lambda 32 hexadecimal digits, Vast.ai a whole number.
    pub id: String,
    /// The vendor.
    pub vendor: Vendor,
    /// What was ordered.
    pub order: Arc<Order>,
    /// Its name or label now.
    pub name: String,
    /// What was bought, as it was shown then (`other_size`: as it was placed).
    pub offer: Arc<Offer>,
    /// Units of it.
    pub units: u32,
    /// What its GPUs cost per hour, frozen at purchase; disk is not in it.
    pub price_per_hour: Money,
    /// What its disk costs per hour.
    pub disk_per_hour: Money,
    /// How it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// What is wanted of it, by whomever.
    pub wanted: Wanted,
    /// Since when that is wanted.
    pub wanted_since: Timestamp,
    /// Why it stands still or goes.
    pub cause: Cause,
    /// Whether its host answers: false while `host_lost`.
    pub reachable: bool,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it first ran.
    pub healthy_at: Option<Timestamp>,
    /// When its program was started last; none while it does not run.
    pub started_at: Option<Timestamp>,
    /// When it was gone.
    pub gone_at: Option<Timestamp>,
    /// How often its program was started.
    pub starts: u32,
    /// How its program ended each time (128 + signal where it was killed); the last thousand.
    pub exits: Vec<i32>,
    /// Its own address: 127.0.x.y, no other machine's at the time.
    pub address: Ipv4Addr,
    /// Its ports and the ports of 127.0.0.1 that lead there; empty while it does not run.
    pub mapped: BTreeMap<u16, u16>,
    /// The key that the vendor gives the machine for itself.
    pub key: String,
    /// The skin's own, first the order's; see [`World::change`](super::World::change).
    pub details: Value,
    /// Its log.
    pub log: Arc<Log>,
    /// Its directory: working directory and home of its program.
    pub root: PathBuf,
    /// Somebody said that it is right that this machine is alive at the end of a test.
    pub explained: bool,
    pub(crate) ills: Ills,
    pub(crate) meter: Meter,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; nothing happens yet.
    Placed,
    /// The image is being pulled.
    Pulling,
    /// The container is being started; a whole machine boots.
    Starting,
    /// It runs.
    Running,
    /// Its program ended; it will be started again.
    Exited,
    /// It will not start: the image or the start is broken.
    Broken(Ill),
    /// It stands still: see [`Machine::cause`].
    Stopped,
    /// It is being removed.
    Terminating,
    /// It is no more.
    Gone,
}

impl Phase {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Placed => "placed",
            Phase::Pulling => "pulling",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Exited => "exited",
            Phase::Broken(_) => "broken",
            Phase::Stopped => "stopped",
            Phase::Terminating => "terminating",
            Phase::Gone => "gone",
        }
    }
}

/// Why a machine does not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ill {
    /// Its image cannot be pulled: the registry's words.
    Image(String),
    /// Its container cannot be started: the host's words.
    Start(String),
}

/// What is wanted of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It shall run.
    Running,
    /// It shall stand still.
    Stopped,
    /// It shall go.
    Removed,
}

/// Why a machine stands still or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing of the kind.
    None,
    /// It was asked for through the API.
    Asked,
    /// A person did it in the vendor's console.
    Console,
    /// Somebody paid more, or the vendor wanted it back.
    Preempted,
    /// The money is used up.
    NoCredit,
}

/// What will go wrong with a machine, decided at its purchase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ills {
    pub(crate) never_boots: bool,
    pub(crate) ill: Option<Ill>,
    /// Code, times left, after how long.
    pub(crate) exits: Option<(i32, u32, std::time::Duration)>,
}

impl Machine {
    /// Whether anything of it is left that can be billed.
    pub fn is_alive(&self) -> bool {
        self.phase != Phase::Gone
    }

    /// Whether its program runs and its host answers.
    pub fn answers(&self) -> bool {
        self.phase == Phase::Running && self.reachable
    }

    /// What it has cost until then.
    pub fn invoice(&self, now: Timestamp) -> Invoice {
        self.meter.invoice(now)
    }
}

/// A machine as the world keeps it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) now: Machine,
    pub(crate) wanted: watch::Sender<Wanted>,
    pub(crate) life: Option<tokio::task::JoinHandle<()>>,
}
