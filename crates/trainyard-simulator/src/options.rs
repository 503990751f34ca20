//! How a world is set up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::scripted::Script;
use crate::vendor::Vendor;
use crate::world::{Account, Offer};

/// How a world is set up. [`Options::default`] is what `trainyard sim` serves; [`Options::for_tests`] has no delays.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one. Only on this machine: whoever reaches it runs programs here.
    pub listen: SocketAddr,
    /// How long things take.
    pub delays: Delays,
    /// Seconds of the world in a real second; 0: it is stepped.
    pub speed: f64,
    /// What dice and ids are made of; none: another one each time.
    pub seed: Option<u64>,
    /// What there is to rent; none: the usual.
    pub offers: Option<Vec<Offer>>,
    /// Who may rent; a vendor that is not named has its usual account.
    pub accounts: BTreeMap<Vendor, Account>,
    /// Sizes of container images in bytes; others have [`Delays::pull`].
    pub images: BTreeMap<String, u64>,
    /// Where the machines' directories are; none: a temporary directory that is removed at the end.
    pub root: Option<PathBuf>,
    /// `PATH` on the machines.
    pub path: OsString,
    /// More environment for every machine (what an image would bring).
    pub image_environment: BTreeMap<String, String>,
    /// Whether the vendors' limits on the rate of requests are in force.
    pub rate_limits: bool,
    /// Whether requests and answers are kept for [`World::tape`](crate::World::tape).
    pub tape: bool,
    /// Whether the end of the simulator panics where a machine is alive that nobody explained.
    pub strict: bool,
    /// RunPod's pods are no processes but scripted agents, for very many at once; see [`Script`].
    pub script: Option<Script>,
    /// Lambda's clock of billing begins when a machine is healthy, as the vendor's current documentation says; false:
    /// at launch.
    pub lambda_bills_from_healthy: bool,
}

/// How long things take, by the world's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the order until the machine does something.
    pub boot: Duration,
    /// An image of unknown size.
    pub pull: Duration,
    /// From the image to the running container, and again after a stop.
    pub start: Duration,
    /// From the end of a container to its next start at RunPod (about 16 s).
    pub restart_runpod: Duration,
    /// The same at Vast.ai (about 15 s).
    pub restart_vastai: Duration,
    /// From a stop to the machine standing still.
    pub stop: Duration,
    /// From the removal to the machine being gone.
    pub removal: Duration,
    /// Lambda: from the launch until the machine has an address.
    pub address: Duration,
}

impl Delays {
    /// None at all, but for restarts after a second: a container that ends at once would else eat a core.
    pub const NONE: Delays = Delays {
        boot: Duration::ZERO,
        pull: Duration::ZERO,
        start: Duration::ZERO,
        restart_runpod: Duration::from_secs(1),
        restart_vastai: Duration::from_secs(1),
        stop: Duration::ZERO,
        removal: Duration::ZERO,
        address: Duration::ZERO,
    };

    /// Short, but to be seen.
    pub const SHORT: Delays = Delays {
        boot: Duration::from_secs(3),
        pull: Duration::from_secs(2),
        start: Duration::from_millis(500),
        restart_runpod: Duration::from_secs(16),
        restart_vastai: Duration::from_secs(15),
        stop: Duration::from_secs(2),
        removal: Duration::from_secs(2),
        address: Duration::from_secs(1),
    };
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)),
            delays: Delays::SHORT,
            speed: 1.0,
            seed: None,
            offers: None,
            accounts: BTreeMap::new(),
            images: BTreeMap::new(),
            root: None,
            path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
            image_environment: BTreeMap::new(),
            rate_limits: false,
            tape: false,
            strict: false,
            script: None,
            lambda_bills_from_healthy: true,
        }
    }
}

impl Options {
    /// For tests: any free port, no delays, the same seed each time, requests kept, and a panic where a machine is
    /// left alive.
    pub fn for_tests() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            delays: Delays::NONE,
            seed: Some(1),
            tape: true,
            strict: true,
            ..Options::default()
        }
    }
}
