//! What runs at a provider cost beside their training, as the last ones showed: the ground of estimates.

use trainyard_domain::{AttemptNumber, Job, JobSpec, Machine, Money};

use super::traffic_allowance;
use crate::bells::lock;
use crate::core::{Core, Provider};

/// Seconds that a machine is usually billed beside its training, before any was seen.
const AROUND_S: f64 = 180.0;
/// How much the newest run counts.
const NEWEST: f64 = 0.5;

/// What is usual at one provider. Lost with the process, learnt again.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Habit {
    /// Seconds billed beside the training.
    around_s: Option<f64>,
    /// GB of traffic that was charged.
    traffic_gb: Option<f64>,
}

fn blend(known: Option<f64>, new: f64) -> Option<f64> {
    Some(known.map_or(new, |known| known * (1.0 - NEWEST) + new * NEWEST))
}

/// Learns from an attempt whose machine is gone: of one that trained to an end.
pub(crate) fn learn(core: &Core, job: &Job, number: AttemptNumber) {
    let attempt = job.attempts().iter().find(|attempt| attempt.number == number);
    let provider = attempt.and_then(|attempt| core.providers.get(&attempt.provider));
    let (Some(attempt), Some(provider)) = (attempt, provider) else { return };
    let (Some(until), Some(_)) = (attempt.billed_until(), &attempt.exit) else { return };
    let around = attempt.billed_s(until).saturating_sub(attempt.trained_s(until));
    let mut habit = lock(&provider.habit);
    habit.around_s = blend(habit.around_s, around as f64);
}

/// Learns from a settled bill what of it was traffic.
pub(super) fn learn_bill(core: &Core, entry: &Machine, beside_time: Money, per_gb: Money) {
    let Some(provider) = core.providers.get(&entry.provider) else { return };
    if let Some(gb) = float(beside_time).zip(float(per_gb)).filter(|(_, per_gb)| *per_gb > 0.0) {
        let mut habit = lock(&provider.habit);
        habit.traffic_gb = blend(habit.traffic_gb, gb.0 / gb.1);
    }
}

/// What a run whose training takes so many seconds is expected to be billed for, in seconds and altogether.
pub(crate) fn expected(
    provider: &Provider,
    spec: &JobSpec,
    training_s: u64,
    price_per_hour: Money,
    per_gb: Money,
) -> (u64, Money) {
    let habit = *lock(&provider.habit);
    let unit = provider.connector.info().capabilities.billing.unit_s.max(1);
    let around = habit.around_s.unwrap_or(AROUND_S).round() as u64;
    let seconds = training_s.saturating_add(around).div_ceil(unit).saturating_mul(unit);
    let traffic = match habit.traffic_gb {
        Some(gb) => per_gb.per_gb_for((gb * 1e9).round() as u64),
        None => traffic_allowance(spec, per_gb),
    };
    (seconds, price_per_hour.per_hour_for(seconds).plus(traffic))
}

fn float(amount: Money) -> Option<f64> {
    amount.to_string().parse().ok()
}
