//! What the tests of Vast.ai have for themselves, over the rig that every vendor's tests share.

#[path = "../../../trainyard-simulator/tests/rig/mod.rs"]
mod shared;

use std::time::Duration;

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_domain::Resources;
use trainyard_simulator::{Simulator, Vendor};
use trainyard_vastai::{VastAIConfig, VastAIConnector};

pub(crate) use shared::{greeted, installation, new_order, with_agent};

/// A simulated Vast.ai, and a connector that points at it.
pub(crate) type Rig = shared::Rig<VastAI>;

pub(crate) struct VastAI;

impl shared::Setup for VastAI {
    type Connector = VastAIConnector;
    type Config = VastAIConfig;
    const VENDOR: Vendor = Vendor::Vastai;

    fn config(simulator: &Simulator, key: SecretString, supply: AgentSupply) -> VastAIConfig {
        let mut config = VastAIConfig::new(key, &simulator.vendor_url(Vendor::Vastai), supply, shared::now);
        config.log_within = Duration::from_secs(2);
        config
    }

    fn connect(config: VastAIConfig) -> VastAIConnector {
        VastAIConnector::new(config).unwrap()
    }

    fn any() -> Resources {
        any()
    }
}

/// One card, whichever, and ten GB of disk.
pub(crate) fn any() -> Resources {
    Resources { disk_gb: 10, ..Resources::default() }
}
