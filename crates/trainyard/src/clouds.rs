//! The clouds that machines are rented at: what an embedder says of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[cfg(any(feature = "runpod", feature = "lambda", feature = "vastai"))]
use secrecy::SecretString;
use trainyard_connector::Arch;

/// Where machines are rented, and how the agent reaches them. A cloud without options is listed as not configured.
/// `Debug` shows no key.
#[derive(Debug, Clone, Default)]
pub struct Clouds {
    /// How the agent reaches a machine.
    pub agent: AgentOptions,
    /// RunPod, with the feature `runpod`.
    #[cfg(feature = "runpod")]
    pub runpod: Option<RunPodOptions>,
    /// Lambda, with the feature `lambda`.
    #[cfg(feature = "lambda")]
    pub lambda: Option<LambdaOptions>,
    /// Vast.ai, with the feature `vastai`.
    #[cfg(feature = "vastai")]
    pub vastai: Option<VastOptions>,
}

impl Clouds {
    /// Whether there is a cloud with a key.
    pub fn any(&self) -> bool {
        let has: &[bool] = &[
            #[cfg(feature = "runpod")]
            self.runpod.is_some(),
            #[cfg(feature = "lambda")]
            self.lambda.is_some(),
            #[cfg(feature = "vastai")]
            self.vastai.is_some(),
        ];
        has.contains(&true)
    }
}

/// Every cloud that there is a connector for, with what to do to configure it. The one list of their names.
#[cfg(feature = "sqlite")]
pub(crate) const HOW_TO_CONFIGURE: &[(&str, &str)] = &[
    #[cfg(feature = "runpod")]
    ("runpod", "set RUNPOD_API_KEY, or name a file that holds the key under `providers.runpod.key_file`"),
    #[cfg(feature = "lambda")]
    ("lambda", "set LAMBDA_API_KEY, or name a file that holds the key under `providers.lambda.key_file`"),
    #[cfg(feature = "vastai")]
    ("vastai", "set VAST_API_KEY, or name a file that holds the key under `providers.vastai.key_file`"),
];

/// How the agent reaches a rented machine: it fetches it from `fetch`, else from the server at `public_url`, else it is
/// sent to it.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// A URL that machines can fetch it from, and the SHA-256 of what lies there, in hexadecimal digits.
    pub fetch: Option<(String, String)>,
    /// The URL of a server of ours that machines can reach; it serves `/agent/{sha256}`.
    pub public_url: Option<String>,
    /// The Linux binaries, by processor; empty: the running program for its own.
    pub binaries: BTreeMap<Arch, PathBuf>,
    /// Seconds that a rented machine waits for a first training before it removes itself; none: an hour.
    pub lease_s: Option<u64>,
}

/// An account at RunPod.
#[cfg(feature = "runpod")]
#[derive(Debug, Clone)]
pub struct RunPodOptions {
    /// The API key.
    pub key: SecretString,
    /// The API's base URL; none: the vendor's.
    pub url: Option<String>,
    /// How a pod's port is reached, with `{pod}` and `{port}`; none: the vendor's proxy.
    pub proxy_url: Option<String>,
    /// The container image of jobs that name none; none: the connector's.
    pub image: Option<String>,
    /// Whether the hosts of the community are offered too.
    pub community: bool,
    /// The id of a network volume of the account for caches; none: none.
    pub network_volume: Option<String>,
    /// Seconds after which a machine that was ordered shows in a listing for certain; none: the connector's.
    pub settle_s: Option<u64>,
}

/// An account at Lambda.
#[cfg(feature = "lambda")]
#[derive(Debug, Clone)]
pub struct LambdaOptions {
    /// The API key.
    pub key: SecretString,
    /// The API's base URL; none: the vendor's.
    pub url: Option<String>,
    /// The port of SSH on its machines; none: 22.
    pub ssh_port: Option<u16>,
    /// Whether a machine with another host key than the one it was given is refused.
    pub strict_host_keys: bool,
    /// The family of images that machines start with; none: the connector's.
    pub image_family: Option<String>,
    /// The name of a file system of the account for caches; none: none.
    pub file_system: Option<String>,
    /// Seconds after which a machine that was ordered shows in a listing for certain; none: the connector's.
    pub settle_s: Option<u64>,
}

/// An account at Vast.ai.
#[cfg(feature = "vastai")]
#[derive(Debug, Clone)]
pub struct VastOptions {
    /// The API key.
    pub key: SecretString,
    /// The API's base URL; none: the vendor's.
    pub url: Option<String>,
    /// The container image of jobs that name none; none: the connector's.
    pub image: Option<String>,
    /// Least reliability of a host, 0 to 1; none: the connector's.
    pub min_reliability: Option<f64>,
    /// Seconds after which a machine that was ordered shows in a listing for certain; none: the connector's.
    pub settle_s: Option<u64>,
}
