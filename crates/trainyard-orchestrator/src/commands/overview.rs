//! Providers and the ledger.

use trainyard_domain::{Machine, Resources};

use crate::bells::lock;
use crate::core::{Core, Provider};
use crate::{AccountsView, Error, Orchestrator, ProviderView};

/// Most entries of the ledger in one answer.
const LEDGER_ENTRIES: usize = 10_000;

impl Orchestrator {
    /// Every provider that this build knows, configured or not. How it answered when it was last asked in the background;
    /// an old answer is asked for again there.
    pub fn providers(&self) -> Vec<ProviderView> {
        let core = &self.core;
        let configured =
            core.providers.iter().map(|(name, provider)| configured(core, name.as_str(), provider));
        let missing =
            core.unconfigured.iter().filter(|(name, _)| !core.providers.keys().any(|k| k.as_str() == name));
        let missing = missing.map(|(name, how)| ProviderView {
            info: None,
            name: name.clone(),
            configured: false,
            how_to_configure: Some(how.clone()),
            reachable: None,
            checked_at: None,
            error: None,
            slots: None,
            unclaimed: Vec::new(),
        });
        configured.chain(missing).collect()
    }

    /// The ledger: every machine ever ordered, newest first.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn machines(&self) -> Result<Vec<Machine>, Error> {
        Ok(self.core.storage.machines(false, LEDGER_ENTRIES).await?)
    }

    /// What is spent of the budgets this month, and which machines go on costing against our will.
    ///
    /// # Errors
    /// `ledger_unread`.
    pub async fn accounts(&self) -> Result<AccountsView, Error> {
        crate::money::accounts(&self.core).await
    }
}

fn configured(core: &Core, name: &str, provider: &Provider) -> ProviderView {
    let info = provider.connector.info();
    let vacancy = provider.connector.vacancy(&Resources::default());
    let health = match provider.costs() {
        true => lock(&provider.health).clone(),
        // This process is the provider.
        false => Some((core.clock.now(), None)),
    };
    if info.capabilities.offers {
        provider.offers.refresh_soon();
    }
    ProviderView {
        info: Some(info.clone()),
        name: name.to_owned(),
        configured: true,
        how_to_configure: None,
        reachable: health.as_ref().map(|(_, error)| error.is_none()),
        checked_at: health.as_ref().map(|(at, _)| *at),
        error: health.and_then(|(_, error)| error),
        slots: (vacancy.slots > 0).then_some((vacancy.taken, vacancy.slots)),
        unclaimed: provider.strays.in_words(),
    }
}
