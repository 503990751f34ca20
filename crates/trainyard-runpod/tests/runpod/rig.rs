//! What the tests of RunPod have for themselves, over the rig that every vendor's tests share.

#[path = "../../../trainyard-simulator/tests/rig/mod.rs"]
mod shared;

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_domain::Resources;
use trainyard_runpod::{RunPodConfig, RunPodConnector};
use trainyard_simulator::{Simulator, Vendor};

pub(crate) use shared::{greeted, installation, new_order, with_agent};

/// A simulated RunPod, and a connector that points at it.
pub(crate) type Rig = shared::Rig<RunPod>;

pub(crate) struct RunPod;

impl shared::Setup for RunPod {
    type Connector = RunPodConnector;
    type Config = RunPodConfig;
    const VENDOR: Vendor = Vendor::Runpod;

    fn config(simulator: &Simulator, key: SecretString, supply: AgentSupply) -> RunPodConfig {
        let mut config = RunPodConfig::new(key, supply, installation(), shared::now);
        config.url = simulator.vendor_url(Vendor::Runpod);
        config.proxy_url = simulator.proxy_url();
        config.paces.clear();
        config
    }

    fn connect(config: RunPodConfig) -> RunPodConnector {
        RunPodConnector::new(config).unwrap()
    }

    fn any() -> Resources {
        any()
    }
}

/// One card, whichever, and ten GB of disk.
pub(crate) fn any() -> Resources {
    Resources { disk_gb: 10, ..Resources::default() }
}
