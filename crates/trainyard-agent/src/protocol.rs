//! What agent and client say to each other besides the types of `trainyard-connector`.
//!
//! Every request but the greeting is signed: the signature covers the order's name, the boot id, method, path with
//! query, time and the digest of the body, so that nothing of it can be used for another agent, another boot,
//! another request or another minute.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};
use trainyard_connector::HandOver;
use trainyard_domain::{AttemptNumber, JobId, JobSpec, SecretName};

/// The time of a request: milliseconds since 1970, by the agent's clock.
pub(crate) const TIME_HEADER: &str = "trainyard-time";
/// The signature, base64.
pub(crate) const SIGNATURE_HEADER: &str = "trainyard-signature";
/// The boot id that the signature was made for.
pub(crate) const BOOT_HEADER: &str = "trainyard-boot";
/// The header of an answer in JSON that gives the SHA-256 of its body in hexadecimal: a manifest that lost an entry on
/// its way would still be one.
pub(crate) const DIGEST_HEADER: &str = "trainyard-sha256";

/// Most bytes of one request's body: proxies in front of agents refuse much larger ones.
pub(crate) const BODY_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a file or log in one answer.
pub(crate) const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// Longest wait of a long poll, in milliseconds: below the idle limit of every proxy known.
pub(crate) const WAIT_MS_MAX: u64 = 30_000;

/// The query's name for the attempt that a request is meant for.
pub(crate) const ATTEMPT_QUERY: &str = "for";
/// The agent serves another attempt by now than the one that a request is meant for.
pub(crate) const CODE_OTHER_ATTEMPT: &str = "other_attempt";

/// What `PROGRAM __agent --version` prints: by this an image's own agent is known to speak this protocol.
pub(crate) const VERSION_LINE: &str = concat!("trainyard-agent ", env!("CARGO_PKG_VERSION"));
/// Most bytes of an agent's binary that is sent to a machine, packed; its receiver there refuses more.
#[cfg(feature = "client")]
pub(crate) const PACKED_BYTES_MAX: usize = 64 << 20;
/// The same unpacked.
#[cfg(feature = "client")]
pub(crate) const AGENT_BYTES_MAX: u64 = 1 << 30;
/// The environment variable that every process of an order's machine inherits; its value is the order's name.
pub(crate) const MARK: &str = "TRAINYARD_ATTEMPT_NAME";

/// The agent is another one than the request was made for.
pub(crate) const CODE_BOOT_CHANGED: &str = "boot_changed";
/// The request's time is too far from the agent's clock.
pub(crate) const CODE_CLOCK: &str = "clock_skew";
/// The very same request came before.
pub(crate) const CODE_REPLAYED: &str = "replayed";
/// What was handed over does not have the digest that names it.
pub(crate) const CODE_MISMATCH: &str = "mismatch";
/// A part does not begin where the last one ended.
pub(crate) const CODE_OFFSET: &str = "wrong_offset";
/// The agent cannot do that.
pub(crate) const CODE_UNSUPPORTED: &str = "unsupported";

/// An error as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// One sentence.
    pub(crate) error: String,
    /// A stable word.
    pub(crate) code: String,
}

/// How much of an input is there.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct InputState {
    /// Bytes received so far.
    pub(crate) received: u64,
    /// All of them, and their digest is right.
    pub(crate) complete: bool,
}

/// `StartOrder` as it is sent. The only place where secrets are written out.
#[derive(Serialize, Deserialize)]
pub(crate) struct StartBody {
    pub(crate) job_id: JobId,
    pub(crate) attempt: AttemptNumber,
    pub(crate) spec: JobSpec,
    pub(crate) secrets: BTreeMap<SecretName, String>,
    pub(crate) inputs: Vec<HandOver>,
    pub(crate) resume_from: Option<String>,
    pub(crate) deadline_s: Option<u64>,
    #[serde(default)]
    pub(crate) machine_ends_s: Option<u64>,
    pub(crate) gpus: Option<Vec<u32>>,
}

/// The body of `stop`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StopBody {
    pub(crate) grace_ms: u64,
}

/// The body of `renew`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RenewBody {
    pub(crate) lease_ms: u64,
    /// A new deadline, from now; none leaves the one in force.
    #[serde(default)]
    pub(crate) deadline_ms: Option<u64>,
    /// When the machine has to be gone, from now; none leaves what is in force, the largest number means never.
    #[serde(default)]
    pub(crate) machine_ends_ms: Option<u64>,
}

/// The body of `checkpoints/hold`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HoldBody {
    pub(crate) path: String,
    pub(crate) wait_ms: u64,
}

/// The body of `checkpoints/release`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReleaseBody {
    pub(crate) path: String,
}

/// An attempt in a query: its number and its job's id, which holds nothing that a URL may not.
pub(crate) fn attempt_word(job: &JobId, attempt: AttemptNumber) -> String {
    format!("{attempt}.{job}")
}

/// What a signature is made over.
pub(crate) fn string_to_sign(
    order: &str,
    boot_id: &str,
    method: &str,
    path_and_query: &str,
    time_ms: &str,
    body: &[u8],
) -> String {
    let digest = hex::encode(Hasher::digest(body));
    format!("{order}\n{boot_id}\n{method}\n{path_and_query}\n{time_ms}\n{digest}")
}
