//! Providers as they are shown. No secret is in them.

use std::collections::BTreeMap;

use serde::Serialize;
use trainyard_orchestrator::ProviderView;
use utoipa::ToSchema;

use super::Time;

/// Every provider that this build knows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProvidersAnswer {
    pub(crate) providers: Vec<ProviderWire>,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderWire {
    name: String,
    configured: bool,
    /// What to do to configure it; null where it is.
    how_to_configure: Option<String>,
    /// Whether it answered when it was last looked at; null before.
    reachable: Option<bool>,
    checked_at: Option<Time>,
    /// What was wrong with its answer; null where nothing was.
    error: Option<String>,
    capabilities: Option<CapabilitiesWire>,
    /// Limits in force, in words.
    limits: BTreeMap<String, String>,
    /// How far it has been proven: `tested`, `simulator`, or `live` with a date.
    proven: Option<String>,
    slots: Option<SlotsWire>,
    /// What of ours is there and claimed by nobody: machines that are being handed back, or that are only reported
    /// until `trainyard recover` has run.
    unclaimed: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CapabilitiesWire {
    pause: bool,
    queue: bool,
    costs: bool,
    /// There are machines for rent to choose from.
    offers: bool,
    /// A person can reach its machines by SSH.
    ssh: bool,
}

/// Machines or slots.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlotsWire {
    used: u32,
    total: u32,
}

impl From<ProviderView> for ProviderWire {
    fn from(view: ProviderView) -> Self {
        let info = view.info.as_ref();
        let capabilities = info.map(|info| CapabilitiesWire {
            pause: info.capabilities.pause,
            queue: info.capabilities.queue,
            costs: info.capabilities.costs,
            offers: info.capabilities.offers,
            ssh: info.capabilities.ssh,
        });
        ProviderWire {
            capabilities,
            limits: info.map(|info| info.limits.iter().cloned().collect()).unwrap_or_default(),
            proven: info.map(|info| info.proven.clone()),
            name: view.name,
            configured: view.configured,
            how_to_configure: view.how_to_configure,
            reachable: view.reachable,
            checked_at: view.checked_at.map(Time),
            error: view.error,
            slots: view.slots.map(|(used, total)| SlotsWire { used, total }),
            unclaimed: view.unclaimed,
        }
    }
}
