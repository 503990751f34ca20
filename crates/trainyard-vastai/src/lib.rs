//! Vast.ai as a provider: containers on machines that strangers rent out.
//!
//! What Vast promises is little: a container that exits is started again, forever; there is no exit code, no key that
//! makes an order unique, no event. So the agent is the witness of the training, the label is the order's exact name, and
//! only a whole listing proves that a machine is gone. The agent serves TLS with a key made for the attempt, which
//! travels in the order: it guards the way, not against the host.
//!
//! - `config`: key, address, which machines are good enough, pace.
//! - `api`: Vast's calls, one method each.
//! - `wire`: Vast's JSON.
//! - `map`: the only room that speaks both languages.
//! - `error`: status and body as kind and effect.
//! - `listing`: every page, or an error.
//! - `logs`: new lines out of snapshots.
//! - `seen`: what the last readings showed.
//! - `reach`: the agent behind a mapped port.
//! - `connector`: these joined behind [`trainyard_connector::Connector`].

mod api;
mod config;
mod connector;
mod error;
mod listing;
mod logs;
mod map;
mod reach;
mod seen;
mod wire;

pub use config::{MarketRules, VASTAI_IMAGE, VASTAI_URL, VastAIConfig, vast_paces};
pub use connector::VastAIConnector;

/// The provider's name.
fn provider_name() -> trainyard_domain::ProviderName {
    #[expect(clippy::expect_used, reason = "the word is a valid name")]
    let name = "vastai".parse().expect("`vastai` is a provider's name");
    name
}
