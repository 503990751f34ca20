//! How RunPod is set up: the key, the addresses, which part of the cloud is rented from.

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_connector::http::Pace;
use trainyard_domain::{InstallationId, Timestamp};

/// Where RunPod's API is when nothing else is said.
pub const DEFAULT_URL: &str = "https://api.runpod.io";
/// Where a pod's port is reached when nothing else is said: `{pod}` and `{port}` are filled in.
pub const DEFAULT_PROXY_URL: &str = "https://{pod}-{port}.proxy.runpod.net";
/// The container image of a job that names none. It has `sh` and Python, and no agent.
pub const DEFAULT_IMAGE: &str = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime";

/// A tier of RunPod's cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudTier {
    /// Data centres of RunPod and its partners.
    Secure,
    /// Hosts of private people, checked by RunPod: cheaper, and their owners can look into what runs there.
    Community,
}

/// How [`RunPodConnector`](crate::RunPodConnector) is set up. `Debug` never shows the key.
#[derive(Debug, Clone)]
pub struct RunPodConfig {
    /// The account's API key.
    pub key: SecretString,
    /// The API's address. The version that is spoken (`/v2`) is appended; one that stands there already is fine.
    pub url: String,
    /// A template of the address of a pod's port, with `{pod}` and `{port}`.
    pub proxy_url: String,
    /// How the agent gets onto a machine and is spoken to.
    pub supply: AgentSupply,
    /// Whose machines these are.
    pub installation: InstallationId,
    /// Which tiers are rented from.
    pub clouds: Vec<CloudTier>,
    /// The container image of a job that names none.
    pub image: String,
    /// The least version of CUDA that a host's driver must carry, as `major.minor`; none: any. An image for a newer
    /// CUDA than its host's does not start.
    pub min_cuda: Option<String>,
    /// The id of a network volume of the account that every pod mounts for the caches of libraries and installers, so that a
    /// model is fetched once and not once a machine; none: none. It ties pods to the secure cloud and to its data centre. It is
    /// the account's: it is neither made nor deleted here.
    pub network_volume: Option<String>,
    /// How often RunPod is asked at most; an account's own limits are told by each of its answers, and kept to.
    pub paces: Vec<Pace>,
    /// The clock to read observations by.
    pub now: fn() -> Timestamp,
    /// Seconds from the order within which the agent must have answered.
    pub boot_deadline_s: u64,
    /// Seconds of silence after which an agent counts as lost.
    pub agent_lost_after_s: u64,
    /// Seconds after which a pod that was ordered shows in a listing for certain.
    pub settle_s: u64,
}

impl RunPodConfig {
    /// The usual set-up: the secure cloud only, drivers of CUDA 12.8 or newer.
    pub fn new(
        key: SecretString,
        supply: AgentSupply,
        installation: InstallationId,
        now: fn() -> Timestamp,
    ) -> RunPodConfig {
        RunPodConfig {
            key,
            url: DEFAULT_URL.to_owned(),
            proxy_url: DEFAULT_PROXY_URL.to_owned(),
            supply,
            installation,
            clouds: vec![CloudTier::Secure],
            image: DEFAULT_IMAGE.to_owned(),
            min_cuda: Some("12.8".to_owned()),
            network_volume: None,
            paces: crate::api::usual_paces(),
            now,
            boot_deadline_s: 1200,
            agent_lost_after_s: 300,
            settle_s: 120,
        }
    }
}
