//! What the connector is told: the key, where Vast.ai is, and what a machine must be like.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_connector::http::Pace;
use trainyard_domain::Timestamp;

/// Where Vast.ai's API is.
pub const VASTAI_URL: &str = "https://console.vast.ai";
/// The image of a job that names none: it has Python, PyTorch and a shell.
pub const VASTAI_IMAGE: &str = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime";

/// Vast.ai as a provider, as it is configured.
#[derive(Debug, Clone)]
pub struct VastAIConfig {
    /// The account's key. It is sent in a header to `url` and nowhere else.
    pub key: SecretString,
    /// Where the API is, without `/api`: [`VASTAI_URL`], or a simulator.
    pub url: String,
    /// The agent, and how it gets to a machine.
    pub supply: AgentSupply,
    /// The clock to read observations by.
    pub now: fn() -> Timestamp,
    /// The container image of orders that name none.
    pub default_image: String,
    /// Which machines of the market are good enough.
    pub market: MarketRules,
    /// The pace of calls, per operation. None in tests.
    pub paces: Vec<Pace>,
    /// How long a log may take to be there after Vast said where it will be.
    pub log_within: Duration,
    /// Seconds from the order within which the agent must have answered.
    pub boot_deadline_s: u64,
    /// Seconds of silence after which its agent counts as lost.
    pub agent_lost_after_s: u64,
    /// Seconds after which an ordered machine shows in a listing for certain.
    pub settle_s: u64,
}

impl VastAIConfig {
    /// The usual configuration for a key. A URL on this machine is a simulator's, so machines with addresses that only
    /// this machine reaches are taken there, and Vast's pace is not kept.
    pub fn new(key: SecretString, url: &str, supply: AgentSupply, now: fn() -> Timestamp) -> VastAIConfig {
        let here = is_here(url);
        VastAIConfig {
            key,
            url: url.trim_end_matches('/').to_owned(),
            supply,
            now,
            default_image: VASTAI_IMAGE.to_owned(),
            market: MarketRules { private_addresses: here, ..MarketRules::default() },
            paces: if here { Vec::new() } else { vast_paces() },
            log_within: Duration::from_secs(12),
            boot_deadline_s: 1200,
            agent_lost_after_s: 300,
            settle_s: 120,
        }
    }
}

/// What a machine of the market must be like to be offered.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketRules {
    /// Least reliability by Vast's count, 0 to 1.
    pub reliability_min: f64,
    /// Least speed of its line towards it, in Mbit a second: images and models are gigabytes.
    pub inet_down_mbps_min: u32,
    /// Least CUDA version that its driver knows: below that of the image no container starts.
    pub cuda_min: f64,
    /// Least compute capability, times 100. The default image's PyTorch has no code for older cards.
    pub compute_cap_min: u32,
    /// For how long it must still be rentable.
    pub rentable_for: Duration,
    /// Machines that Vast has not verified are fine too.
    pub unverified: bool,
    /// Machines with an ARM processor are fine too.
    pub arm: bool,
    /// Machines with an address of a private network are fine too: only where this machine is in it.
    pub private_addresses: bool,
}

impl Default for MarketRules {
    /// Verified x86 machines of a reliability of 0.98, for six hours at least, that run the default image.
    fn default() -> MarketRules {
        MarketRules {
            reliability_min: 0.98,
            inet_down_mbps_min: 200,
            cuda_min: 12.8,
            compute_cap_min: 750,
            rentable_for: Duration::from_secs(6 * 3600),
            unverified: false,
            arm: false,
            private_addresses: false,
        }
    }
}

/// The pace that Vast documents for a key, by endpoint. That of logs is not documented and chosen like its neighbours'.
pub fn vast_paces() -> Vec<Pace> {
    // A tenth more: Vast counts when a call arrives, not when it left.
    let pace = |op, millis: u64, burst| Pace { op, every: Duration::from_millis(millis * 11 / 10), burst };
    vec![
        pace("order", 4500, 1),
        pace("instance", 2000, 1),
        pace("instances", 1000, 1),
        // Ten a minute, counted over any minute.
        pace("offers", 7500, 2),
        pace("delete", 3000, 1),
        pace("logs", 1500, 2),
        pace("charges", 1000, 1),
        pace("user", 1000, 1),
        pace("gpu names", 6000, 1),
    ]
}

/// Whether an address can be reached from elsewhere: some hosts publish one of their own network.
pub(crate) fn is_reachable(address: IpAddr, private_addresses: bool) -> bool {
    let IpAddr::V4(v4) = address else {
        let IpAddr::V6(v6) = address else { return false };
        let local = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
        return !v6.is_unspecified() && !v6.is_multicast() && (private_addresses || !local);
    };
    let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
    let local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared;
    !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast() && (private_addresses || !local)
}

/// Whether a URL's host is this machine.
fn is_here(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::{is_here, is_reachable};

    #[test]
    fn only_addresses_of_the_world_are_reachable() {
        for (address, world) in [
            ("63.135.50.11", true),
            ("10.0.0.7", false),
            ("172.20.1.1", false),
            ("192.168.1.2", false),
            ("100.64.0.1", false),
            ("169.254.1.1", false),
            ("127.0.0.1", false),
            ("2a01::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(is_reachable(address, false), world, "{address}");
            assert!(is_reachable(address, true), "{address}");
        }
        assert!(!is_reachable("0.0.0.0".parse().expect("an address"), true));
    }

    #[test]
    fn a_simulator_is_told_by_its_address() {
        assert!(is_here("http://127.0.0.1:9000/vastai"));
        assert!(is_here("http://localhost:9000") && is_here("http://[::1]:9000"));
        assert!(!is_here("https://console.vast.ai") && !is_here("nonsense"));
    }
}
