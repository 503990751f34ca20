//! The ledger's entry: a machine that was ordered, what it costs, and the reading that proved it gone.

use std::collections::BTreeMap;

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
    /// When it began to be billed, where that is later than the placement and was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_from: Option<Timestamp>,
    /// The labels of the job that ordered it, as they were then: whose budgets it is paid from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Set aside for it before it was ordered: the most that its job's limits allow it to cost, traffic included. None
    /// where nothing is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Money>,
    /// Since when nobody needs it, where its removal was not taken at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unneeded_since: Option<Timestamp>,
    /// Until when it is kept for another job, by the job that it served last; that moment may have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<Timestamp>,
    /// What its vendor billed, as its books were last read after the end; none where it has no books to read, or they
    /// were not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

/// A vendor's bill for one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// What it says.
    pub amount: Money,
    /// When it was read.
    pub read_at: Timestamp,
    /// How often it was read.
    pub readings: u32,
    /// It is taken as the last word: from then on it is the machine's cost.
    pub settled: bool,
}

impl Machine {
    /// The entry of an order that is about to go out, for the attempt that asks for it.
    pub fn intended(
        order: OrderName,
        provider: ProviderName,
        attempt: (JobId, AttemptNumber),
        now: Timestamp,
    ) -> Machine {
        Machine {
            order,
            provider,
            provider_job_id: None,
            attempts: vec![attempt],
            price_per_hour: None,
            ordered_at: now,
            placed_at: None,
            release_asked_at: None,
            gone_at: None,
            gone_proof: None,
            billed_until: None,
            billed_from: None,
            labels: BTreeMap::new(),
            reserved: None,
            unneeded_since: None,
            warm_until: None,
            bill: None,
        }
    }

    /// Whether it may still be billed.
    pub fn may_be_billed(&self) -> bool {
        self.gone_at.is_none()
    }

    /// Whether another job can take it over at `now`.
    pub fn is_warm(&self, now: Timestamp) -> bool {
        let kept = self.warm_until.is_some_and(|until| now < until);
        kept && self.provider_job_id.is_some() && self.gone_at.is_none() && self.release_asked_at.is_none()
    }

    /// What it has cost by `now`: what its vendor billed once that is settled, else its price over the time from
    /// placement to the end.
    pub fn cost(&self, now: Timestamp) -> Money {
        match self.bill {
            Some(bill) if bill.settled => bill.amount,
            Some(_) | None => self.accrued(now),
        }
    }

    /// Its price over the time it was billed by `now`, to the second, whatever a bill says.
    pub fn accrued(&self, now: Timestamp) -> Money {
        self.price_per_hour.map_or(Money::ZERO, |price| price.per_hour_for(self.billed_s(now)))
    }

    /// Seconds that it was billed by `now`, as far as that can be told; 0 where none was rented.
    pub fn billed_s(&self, now: Timestamp) -> u64 {
        self.seconds_since(Timestamp::MIN_UTC, now)
    }

    /// What it cost between `from` and `now`: of a settled bill the same share as of the time.
    pub fn cost_since(&self, from: Timestamp, now: Timestamp) -> Money {
        let (all, part) = (self.billed_s(now), self.seconds_since(from, now));
        if all == part { self.cost(now) } else { self.cost(now).share(part, all) }
    }

    /// What is to be counted against a budget by `now`: what is set aside for it while it may be billed, or what it
    /// cost where that is more, or all there is to say.
    pub fn committed(&self, from: Timestamp, now: Timestamp) -> Money {
        let cost = self.cost_since(from, now);
        if self.may_be_billed() { cost.max(self.reserved.unwrap_or_default()) } else { cost }
    }

    fn seconds_since(&self, moment: Timestamp, now: Timestamp) -> u64 {
        let Some(placed) = self.placed_at else { return 0 };
        let from = self.billed_from.unwrap_or(placed).max(moment);
        let until = self.gone_at.map_or(now, |gone| self.billed_until.unwrap_or(gone));
        (until - from).num_seconds().max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bill, Machine};
    use crate::{Money, Timestamp};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn money(text: &str) -> Money {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// A dollar a minute, from the last five minutes of a year on.
    fn machine() -> Machine {
        let text = r#"{"order": "ty-abcdefgh-01hqzzzzzzzzzzzzzzzzzzzzzz", "provider": "runpod", "provider_job_id": "pod_1",
            "attempts": [["m", 1]], "price_per_hour": "60", "ordered_at": "2025-12-31T23:54:00Z",
            "placed_at": "2025-12-31T23:55:00Z", "release_asked_at": null, "gone_at": null, "gone_proof": null}"#;
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_month_pays_for_its_own_minutes() {
        let (year, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:10:00Z"));
        assert_eq!((machine().cost(now), machine().cost_since(year, now)), (money("15"), money("10")));
        assert_eq!(machine().cost_since(at("2026-02-01T00:00:00Z"), now), Money::ZERO);
        let up = Machine { billed_from: Some(at("2026-01-01T00:04:00Z")), ..machine() };
        assert_eq!((up.cost(now), up.cost_since(year, now)), (money("6"), money("6")));
        let gone =
            Machine { gone_at: Some(now), billed_until: Some(at("2026-01-01T00:05:00Z")), ..machine() };
        let later = at("2026-01-20T00:00:00Z");
        assert_eq!((gone.cost(later), gone.cost_since(year, later)), (money("10"), money("5")));
        let bill = |settled| Some(Bill { amount: money("12"), read_at: later, readings: 1, settled });
        let settled = Machine { bill: bill(true), ..gone.clone() };
        assert_eq!((settled.cost(later), settled.cost_since(year, later)), (money("12"), money("6")));
        assert_eq!(
            (settled.accrued(later), Machine { bill: bill(false), ..gone }.cost(later)),
            (money("10"), money("10"))
        );
    }

    #[test]
    fn what_is_set_aside_counts_until_the_machine_is_gone() {
        let (year, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:10:00Z"));
        let aside = |reserved: &str| Machine { reserved: Some(money(reserved)), ..machine() };
        assert_eq!(aside("40").committed(year, now), money("40"));
        assert_eq!(aside("4").committed(year, now), money("10"), "it costs more than was thought");
        let gone = Machine { gone_at: Some(now), ..aside("40") };
        assert_eq!(gone.committed(year, now), money("10"), "the rest is free again");
        let ordered = Machine { placed_at: None, ..aside("40") };
        assert_eq!(ordered.committed(year, now), money("40"), "before the order is answered too");
    }
}
