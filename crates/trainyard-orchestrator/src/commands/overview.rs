//! Providers, the ledger, estimates, and idempotency keys.

use trainyard_domain::{JobSpec, Machine, Money, Resources, Sha256};
use trainyard_storage::IdempotentAnswer;

use crate::{Error, Estimate, Orchestrator, ProviderView};

/// Providers that the specification names and this build does not have yet.
pub(super) const CLOUDS: [&str; 3] = ["runpod", "lambda", "vastai"];
/// What to say of them.
pub(super) const CLOUDS_COME_LATER: &str =
    "this build trains on this machine only (`local`); the clouds come with a later release";

/// Most entries of the ledger in one answer.
const LEDGER_ENTRIES: usize = 10_000;

impl Orchestrator {
    /// Every provider that this build knows, configured or not.
    pub fn providers(&self) -> Vec<ProviderView> {
        let now = self.now();
        let configured = self.core.providers.iter().map(|(name, provider)| {
            let vacancy = provider.connector.vacancy(&Resources::default());
            ProviderView {
                info: Some(provider.connector.info().clone()),
                name: name.to_string(),
                configured: true,
                how_to_configure: None,
                reachable: Some(true),
                checked_at: Some(now),
                slots: (vacancy.slots > 0).then_some((vacancy.taken, vacancy.slots)),
            }
        });
        let missing =
            CLOUDS.iter().filter(|name| !self.core.providers.keys().any(|known| known.as_str() == **name));
        let missing = missing.map(|name| ProviderView {
            info: None,
            name: (*name).to_owned(),
            configured: false,
            how_to_configure: Some(CLOUDS_COME_LATER.to_owned()),
            reachable: None,
            checked_at: None,
            slots: None,
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

    /// What a specification would cost and take at each configured provider.
    ///
    /// # Errors
    /// `invalid_spec`.
    pub async fn estimate(&self, spec: &JobSpec) -> Result<Vec<Estimate>, Error> {
        spec.validate().map_err(super::create::invalid)?;
        let each = self.core.providers.iter().map(|(name, provider)| Estimate {
            provider: name.to_string(),
            max_cost: Money::ZERO,
            max_duration_s: spec.limits.max_duration_s,
            refused: super::validate::unavailable(spec, provider).map(|(field, message)| {
                trainyard_domain::Reason::new("not_yet_available", format!("`{field}` {message}"))
            }),
        });
        Ok(each.collect())
    }

    /// Takes an `Idempotency-Key`, or answers what it was used for.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn begin_idempotent(
        &self,
        key: &str,
        request: Sha256,
    ) -> Result<Option<IdempotentAnswer>, Error> {
        let now = self.now();
        let answer = IdempotentAnswer { request, status: None, body: None, location: None, created_at: now };
        Ok(self.core.storage.begin_idempotent(key, &answer, now - self.core.policy.idempotency_kept).await?)
    }

    /// Stores the answer of a key; one without a status gives the key back.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn finish_idempotent(&self, key: &str, answer: &IdempotentAnswer) -> Result<(), Error> {
        Ok(self.core.storage.finish_idempotent(key, answer).await?)
    }
}
