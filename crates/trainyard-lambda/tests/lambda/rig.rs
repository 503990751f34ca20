//! What the tests of Lambda have for themselves, over the rig that every vendor's tests share.

#[path = "../../../trainyard-simulator/tests/rig/mod.rs"]
mod shared;

use secrecy::SecretString;
use trainyard_agent::AgentSupply;
use trainyard_domain::Resources;
use trainyard_lambda::{LambdaConfig, LambdaLabsConnector};
use trainyard_simulator::{Simulator, Vendor};

pub(crate) use shared::{greeted, installation, new_order, now, with_agent};

/// A simulated Lambda, and a connector that points at it.
pub(crate) type Rig = shared::Rig<Lambda>;

pub(crate) struct Lambda;

impl shared::Setup for Lambda {
    type Connector = LambdaLabsConnector;
    type Config = LambdaConfig;
    const VENDOR: Vendor = Vendor::Lambda;

    fn config(simulator: &Simulator, key: SecretString, supply: AgentSupply) -> LambdaConfig {
        let mut config = LambdaConfig::new(key, supply, installation(), [9; 32], now);
        config.url = simulator.vendor_url(Vendor::Lambda);
        config.ssh_port = simulator.world().ssh_port();
        config.paces.clear();
        config.settle_s = 0;
        config
    }

    fn connect(config: LambdaConfig) -> LambdaLabsConnector {
        LambdaLabsConnector::new(config).unwrap()
    }

    fn any() -> Resources {
        any()
    }
}

/// Whatever there is.
pub(crate) fn any() -> Resources {
    Resources { gpu_count: 0, disk_gb: 0, ..Resources::default() }
}
