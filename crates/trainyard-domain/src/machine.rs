//! The ledger's entry: a machine that was ordered, what it costs, and the reading that proved it gone.

use serde::{Deserialize, Serialize};

use crate::{AttemptNumber, JobId, Money, OrderName, ProviderJobId, ProviderName, Timestamp};

/// A machine ever ordered. Machine and attempt are two things: one machine may serve several attempts and jobs
/// one after another, so neither is the key of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The exact name of the order that asked for it; the ledger's key.
    pub order: OrderName,
    /// Who rents it out.
    pub provider: ProviderName,
    /// The provider's id of it; none while the order's outcome is not known.
    pub provider_job_id: Option<ProviderJobId>,
    /// Every attempt it served, the first one being the one that ordered it.
    pub attempts: Vec<(JobId, AttemptNumber)>,
    /// Price at purchase; none where nothing is paid (`local`).
    pub price_per_hour: Option<Money>,
    /// When the intent was written, before the order went out.
    pub ordered_at: Timestamp,
    /// When the provider accepted, or the machine was found by its name.
    pub placed_at: Option<Timestamp>,
    /// When it was first asked to go.
    pub release_asked_at: Option<Timestamp>,
    /// When it was proven gone.
    pub gone_at: Option<Timestamp>,
    /// The reading that proved it gone, in words.
    pub gone_proof: Option<String>,
    /// When it stopped being billed, as far as that can be told: when its removal was accepted or the last reading
    /// showed it, whichever came later; none where that is the moment of `gone_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_until: Option<Timestamp>,
}

impl Machine {
    /// Whether it may still be billed.
    pub fn may_be_billed(&self) -> bool {
        self.gone_at.is_none()
    }

    /// What it has cost by `now`, from placement to the end.
    pub fn cost(&self, now: Timestamp) -> Money {
        let (Some(price), Some(from)) = (self.price_per_hour, self.placed_at) else { return Money::ZERO };
        let until = self.gone_at.map_or(now, |gone| self.billed_until.unwrap_or(gone));
        price.per_hour_for((until - from).num_seconds().max(0).unsigned_abs())
    }
}
