//! The agent's clock: the one place that reads it.

use trainyard_domain::Timestamp;

/// Now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the agent's one clock: its process is not simulated")]
pub(crate) fn now() -> Timestamp {
    chrono::Utc::now()
}
