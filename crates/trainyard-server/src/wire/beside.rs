//! A command beside a training, and where its machine is reached.

use serde::{Deserialize, Serialize};
use trainyard_orchestrator::{ExecOutput, SshTarget};
use utoipa::ToSchema;

/// Body of `exec`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecRequest {
    /// Program and arguments; no shell is between.
    #[schema(example = json!(["nvidia-smi"]))]
    pub(crate) command: Vec<String>,
    /// Seconds after which it is ended, at most 60.
    #[serde(default = "half_a_minute")]
    #[schema(default = 30, minimum = 1, maximum = 60)]
    pub(crate) timeout_s: u64,
}

fn half_a_minute() -> u64 {
    30
}

/// What came of a command.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecAnswer {
    /// What it printed, both streams as they came, the job's secrets masked; of more than 1 MiB the end.
    output: String,
    /// Whether the beginning of the output was left out.
    truncated: bool,
    /// Its exit code, `128 + signal` where a signal ended it; null where its time was over.
    exit_code: Option<i32>,
}

impl From<ExecOutput> for ExecAnswer {
    fn from(done: ExecOutput) -> Self {
        ExecAnswer { output: done.output, truncated: done.cut, exit_code: done.code }
    }
}

/// Where a person reaches a machine by SSH. The key that opens it is not told: it derives from `DIR/installation`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SshAnswer {
    host: String,
    port: u16,
    user: String,
    /// The machine's host keys, as `known_hosts` has them.
    host_keys: Vec<String>,
}

impl From<SshTarget> for SshAnswer {
    fn from(target: SshTarget) -> Self {
        SshAnswer { host: target.host, port: target.port, user: target.user, host_keys: target.host_keys }
    }
}
