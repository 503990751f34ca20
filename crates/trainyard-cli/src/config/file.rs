//! The keys of `trainyard.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::exit::Failure;

/// The whole file. Every key may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileConfig {
    /// Where to listen.
    pub(crate) listen: Option<String>,
    /// The data directory.
    pub(crate) data: Option<PathBuf>,
    pub(crate) server: ServerSection,
    pub(crate) local: LocalSection,
    pub(crate) inputs: InputsSection,
    pub(crate) retention: RetentionSection,
    pub(crate) limits: LimitsSection,
    pub(crate) budgets: Vec<BudgetSection>,
    pub(crate) agent: AgentSection,
    pub(crate) providers: ProvidersSection,
}

/// `[server]`: how it is reached, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerSection {
    /// The URL under which users reach it, where a proxy stands before it.
    pub(crate) public_url: Option<String>,
    /// Further good values of `Host`.
    pub(crate) allowed_hosts: Vec<String>,
    /// Further good values of `Origin`.
    pub(crate) allowed_origins: Vec<String>,
}

/// `[local]`: this machine as a provider.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LocalSection {
    /// Whether jobs can be submitted to it; yes by default.
    pub(crate) enabled: Option<bool>,
    /// Trainings at once where no GPU can be used; one for every two cores by default.
    pub(crate) slots: Option<u32>,
    /// Whether GPUs are looked for; yes by default.
    pub(crate) use_gpus: Option<bool>,
}

/// `[inputs]`: what may be read and uploaded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct InputsSection {
    /// Directories that `path:` sources may lie under; none by default.
    pub(crate) allowed_paths: Vec<PathBuf>,
    /// Largest upload, in bytes.
    pub(crate) max_bytes: Option<u64>,
}

/// `[retention]`: how long what is kept, in days, and how much.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionSection {
    /// Metrics, progress and log positions of ended jobs.
    pub(crate) telemetry_days: Option<u64>,
    /// Ended jobs with their artifacts; for ever by default.
    pub(crate) jobs_days: Option<u64>,
    /// Uploads that no job wanted for so long.
    pub(crate) inputs_days: Option<u64>,
    /// Artifacts of ended jobs.
    pub(crate) artifacts_days: Option<u64>,
    /// Bytes of all of them together.
    pub(crate) artifacts_max_bytes: Option<u64>,
    /// Logs of ended jobs.
    pub(crate) logs_days: Option<u64>,
    /// Bytes of all of them together.
    pub(crate) logs_max_bytes: Option<u64>,
    /// Checkpoints of ended jobs.
    pub(crate) checkpoints_days: Option<u64>,
    /// Bytes of all of them together.
    pub(crate) checkpoints_max_bytes: Option<u64>,
}

/// `[limits]`: what a job may ask for at most, and how large what it leaves may be.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    /// Highest `limits.max_duration_s` of a job.
    pub(crate) max_duration_s: Option<u64>,
    /// Largest artifact, in bytes.
    pub(crate) artifact_max_bytes: Option<u64>,
    /// Most of a log that is kept, in bytes.
    pub(crate) log_max_bytes: Option<u64>,
    /// Most that a machine may cost per hour, in US dollars, whatever a job allows.
    pub(crate) max_price_per_hour: Option<String>,
    /// Seconds that a machine may go on costing against our will before that is an alarm.
    pub(crate) alarm_after_s: Option<u64>,
    /// Seconds after a machine's end at which its vendor's bill is read for the first time.
    pub(crate) bill_after_s: Option<u64>,
}

/// `[[budgets]]`: what the jobs of a label, or all, may cost together in each calendar month.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetSection {
    /// `NAME:VALUE`; left out: every job is paid from it.
    #[serde(default)]
    pub(crate) label: Option<String>,
    /// US dollars in each month, UTC.
    pub(crate) per_month_usd: String,
}

/// `[agent]`: how the agent reaches a rented machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentSection {
    /// Where machines fetch it from.
    pub(crate) url: Option<String>,
    /// The SHA-256 of what lies there.
    pub(crate) sha256: Option<String>,
    /// The Linux binaries to send, by architecture (`x86_64`, `aarch64`); by default the server's own for its own.
    pub(crate) path: BTreeMap<String, PathBuf>,
    /// Seconds that a rented machine waits for a first training before it removes itself, where it can.
    pub(crate) lease_s: Option<u64>,
}

/// `[providers.…]`: where machines are rented. A key is never written here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProvidersSection {
    pub(crate) runpod: RunPodSection,
    pub(crate) lambda: LambdaSection,
    pub(crate) vastai: VastSection,
}

/// `[providers.runpod]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunPodSection {
    /// The API's base URL.
    pub(crate) url: Option<String>,
    /// A file that holds the key.
    pub(crate) key_file: Option<PathBuf>,
    /// How a pod's port is reached, with `{pod}` and `{port}`.
    pub(crate) proxy_url: Option<String>,
    /// The container image of jobs that name none.
    pub(crate) image: Option<String>,
    /// Whether the hosts of the community are offered too.
    pub(crate) community: Option<bool>,
    /// The id of a network volume of the account for caches.
    pub(crate) network_volume: Option<String>,
    /// Seconds after which a machine that was ordered shows in its listings for certain.
    pub(crate) settle_s: Option<u64>,
    /// Attempts of one job that may rent a machine there, at most.
    pub(crate) max_attempts: Option<u32>,
}

/// `[providers.lambda]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LambdaSection {
    /// The API's base URL.
    pub(crate) url: Option<String>,
    /// A file that holds the key.
    pub(crate) key_file: Option<PathBuf>,
    /// The port of SSH on its machines.
    pub(crate) ssh_port: Option<u16>,
    /// Whether a machine with another host key than the one it was given is refused.
    pub(crate) strict_host_keys: Option<bool>,
    /// The family of images that machines start with.
    pub(crate) image_family: Option<String>,
    /// The name of a file system of the account for caches.
    pub(crate) file_system: Option<String>,
    /// Seconds after which a machine that was ordered shows in its listings for certain.
    pub(crate) settle_s: Option<u64>,
    /// Attempts of one job that may rent a machine there, at most.
    pub(crate) max_attempts: Option<u32>,
}

/// `[providers.vastai]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VastSection {
    /// The API's base URL.
    pub(crate) url: Option<String>,
    /// A file that holds the key.
    pub(crate) key_file: Option<PathBuf>,
    /// The container image of jobs that name none.
    pub(crate) image: Option<String>,
    /// Least reliability of a host, 0 to 1.
    pub(crate) min_reliability: Option<f64>,
    /// Seconds after which a machine that was ordered shows in its listings for certain.
    pub(crate) settle_s: Option<u64>,
    /// Attempts of one job that may rent a machine there, at most.
    pub(crate) max_attempts: Option<u32>,
}

impl FileConfig {
    /// Reads a file. A relative path in it is relative to where the server runs.
    pub(crate) fn read(path: &Path) -> Result<FileConfig, Failure> {
        let wrong = |error: &dyn std::error::Error| {
            Failure::usage(format!("the configuration `{}` cannot be used", path.display())).because(error)
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        toml::from_str(&text).map_err(|error| wrong(&error))
    }
}
