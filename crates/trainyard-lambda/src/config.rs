//! How Lambda is set up: the key, the addresses, the pace, the system image.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_connector::http::Pace;
use trainyard_domain::{InstallationId, Timestamp};

/// Where Lambda's API is when nothing else is said. The older host name may answer with a redirect, which turns an
/// order into a reading.
pub const DEFAULT_URL: &str = "https://cloud.lambda.ai/api/v1";
/// The family of system images that machines are made from when nothing else is said: Ubuntu 24.04 with NVIDIA's driver
/// and PyTorch.
pub const DEFAULT_IMAGE_FAMILY: &str = "lambda-stack-24-04";

/// How the key is shown. Lambda's document describes both; one user reports that only the second one worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// `Authorization: Basic`, with the key as user and no password.
    Basic,
}

/// How [`LambdaLabsConnector`](crate::LambdaLabsConnector) is set up. `Debug` shows neither the key nor the seed.
#[derive(Clone)]
pub struct LambdaConfig {
    /// The account's API key. Every key may do everything.
    pub key: SecretString,
    /// How it is shown.
    pub auth: Auth,
    /// The API's address with its version, without a slash at its end.
    pub url: String,
    /// How the agent gets onto a machine and is spoken to.
    pub supply: AgentSupply,
    /// Whose machines these are.
    pub installation: InstallationId,
    /// What the installation's SSH keys are made from: 32 secret bytes that are always the same for an installation
    /// and used for nothing else.
    pub ssh_seed: [u8; 32],
    /// The port that machines are reached at by SSH: 22 but for a simulator.
    pub ssh_port: u16,
    /// Whether a machine that answers with another SSH host key than the one it was given is refused. Else the first
    /// such key is accepted, remembered for that machine while this process lives, and told in the job's history.
    pub strict_host_keys: bool,
    /// The family of system images that machines are made from.
    pub image_family: String,
    /// The name of a file system of the account that every machine mounts for the caches of libraries and installers, so that
    /// a model is fetched once and not once a machine; none: none. It ties machines to its region. It is the account's: it is
    /// neither made nor deleted here.
    pub file_system: Option<String>,
    /// How often Lambda is asked at most.
    pub paces: Vec<Pace>,
    /// The clock to read observations by.
    pub now: fn() -> Timestamp,
    /// Seconds from the order within which the agent must have answered.
    pub boot_deadline_s: u64,
    /// Seconds of silence after which an agent counts as lost.
    pub agent_lost_after_s: u64,
    /// Seconds after which a machine that was ordered shows in a listing for certain.
    pub settle_s: u64,
}

impl LambdaConfig {
    /// The usual set-up.
    pub fn new(
        key: SecretString,
        supply: AgentSupply,
        installation: InstallationId,
        ssh_seed: [u8; 32],
        now: fn() -> Timestamp,
    ) -> LambdaConfig {
        LambdaConfig {
            key,
            auth: Auth::default(),
            url: DEFAULT_URL.to_owned(),
            supply,
            installation,
            ssh_seed,
            ssh_port: 22,
            strict_host_keys: false,
            image_family: DEFAULT_IMAGE_FAMILY.to_owned(),
            file_system: None,
            paces: usual_paces(),
            now,
            boot_deadline_s: 1200,
            agent_lost_after_s: 300,
            settle_s: 120,
        }
    }
}

/// Lambda allows one call a second and one launch in 12 seconds, says its document; a little less is kept, since nothing
/// tells whose clock counts.
pub fn usual_paces() -> Vec<Pace> {
    let pace = |op, millis| Pace { op, every: Duration::from_millis(millis), burst: 1 };
    vec![pace("*", 1_100), pace(crate::api::LAUNCH, 12_500)]
}

impl fmt::Debug for LambdaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LambdaConfig")
            .field("url", &self.url)
            .field("auth", &self.auth)
            .field("installation", &self.installation)
            .field("ssh_port", &self.ssh_port)
            .field("strict_host_keys", &self.strict_host_keys)
            .field("image_family", &self.image_family)
            .field("file_system", &self.file_system)
            .field("paces", &self.paces)
            .finish_non_exhaustive()
    }
}
