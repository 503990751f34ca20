//! A look at a provider for a person who sets it up: the one command that asks the provider itself. No HTTP handler
//! calls it.

use trainyard_connector::{Account, ConnectorError, ConnectorInfo, Offer};
use trainyard_domain::{JobId, Money, OrderName, Resources};

use super::submit::provider_named;
use crate::{Error, ErrorKind, Orchestrator};

/// What a provider answered.
#[derive(Debug)]
pub struct ProviderCheck {
    /// Who was asked.
    pub info: ConnectorInfo,
    /// What the key opens.
    pub account: Result<Account, ConnectorError>,
    /// What can be rented.
    pub offers: Result<Vec<Offer>, ConnectorError>,
}

impl Orchestrator {
    /// Asks a provider whether its key works and what it rents out now. Rents nothing.
    ///
    /// # Errors
    /// `unknown_provider`, `provider_not_configured`.
    pub async fn check_provider(&self, name: &str) -> Result<ProviderCheck, Error> {
        let name = provider_named(&self.core, name)?;
        let Some(provider) = self.core.providers.get(&name) else {
            return Err(Error::bad_request("unknown_provider", format!("there is no provider `{name}`")));
        };
        let connector = &provider.connector;
        // One after the other: a vendor's pace is shared by all calls.
        let account = connector.account().await;
        let offers = connector.offers(&Resources { disk_gb: 20, ..Resources::default() }).await;
        Ok(ProviderCheck { info: connector.info().clone(), account, offers })
    }

    /// What the vendors have billed for the machines of a job so far; none where a vendor does not tell, or not yet.
    ///
    /// # Errors
    /// `job_not_found`, or what a vendor said.
    pub async fn bills(&self, job: &JobId) -> Result<Vec<(OrderName, Option<Money>)>, Error> {
        let view = self.job(job).await?;
        let mut bills = Vec::new();
        for attempt in view.job.attempts() {
            let Some(id) = &attempt.machine else { continue };
            let provider = self.core.providers.get(&attempt.provider);
            let Some(provider) = provider.filter(|p| p.connector.info().capabilities.bill) else {
                bills.push((attempt.order.clone(), None));
                continue;
            };
            let bill = provider.connector.bill(&attempt.order, id).await.map_err(|error| {
                Error::new(ErrorKind::Provider, "bill", "the provider's bill could not be read")
                    .because(error)
            })?;
            bills.push((attempt.order.clone(), bill));
        }
        Ok(bills)
    }
}
