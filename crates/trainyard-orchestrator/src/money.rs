//! Money: what is left to pay a machine with, until when that lasts, and who is told.
//!
//! Before an order goes out the most that its machine may cost is set aside (`reserve.rs`), in the commit of its
//! intent. While it runs its job's purse is looked at in every plan. What all machines of a month cost, and which of
//! them cost against our will, is in the books (`books.rs`, `alarm.rs`); the vendor's bill is their last word
//! (`settle.rs`).

mod alarm;
mod books;
mod habit;
mod reserve;
mod settle;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use trainyard_domain::{
    AttemptNumber, Job, JobSpec, Machine, Money, Month, NotificationKind, ProviderJobId, Timestamp,
};
use trainyard_storage::StoredJob;

pub(crate) use alarm::alarm;
pub(crate) use books::{Books, accounts, keep_books};
pub(crate) use habit::{Habit, expected, learn};
pub(crate) use reserve::{Planned, SetAside, set_aside};

use crate::Error;
use crate::core::Core;
use crate::reconcile::Draft;

/// Traffic of any training that is reckoned with, in GB: the agent, packages, logs, the adapter.
const TRAFFIC_GB: u64 = 10;
/// The same of the built-in trainer, which installs nothing.
const TRAFFIC_BUILTIN_GB: u64 = 1;
const GB: u64 = 1_000_000_000;

/// What is left to pay a job's machine with, of one budget.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Purse {
    /// Whose money it is.
    pub(crate) of: Payer,
    /// What was spent of it.
    pub(crate) spent: Money,
    /// What is left of it for this machine.
    pub(crate) left: Money,
    /// What the machine costs per hour.
    pub(crate) price_per_hour: Money,
    /// How long before the end the machine is given back.
    pub(crate) margin: Duration,
}

/// Whose money pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payer {
    /// The job's own limit.
    Job(Money),
    /// A budget of the installation: its name, its amount, and the month.
    Budget(String, Money, Month),
}

impl Payer {
    fn total(&self) -> Money {
        match self {
            Payer::Job(most) | Payer::Budget(_, most, _) => *most,
        }
    }

    /// What is remembered as told about it.
    fn mark(&self, kind: NotificationKind) -> String {
        match self {
            Payer::Job(most) => format!("{} job {most}", kind.as_str()),
            Payer::Budget(name, most, month) => format!("{} {name} {most} {month}", kind.as_str()),
        }
    }
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payer::Job(most) => write!(f, "`limits.max_cost_usd` (${most})"),
            Payer::Budget(name, most, month) => write!(f, "the budget of {name} (${most} in {month})"),
        }
    }
}

impl Purse {
    /// How long it lasts until a machine has to be stopped that takes `grace` for it.
    pub(crate) fn lasts(&self, grace: Duration) -> Duration {
        let all = Duration::from_secs(self.left.seconds_at(self.price_per_hour));
        all.saturating_sub(grace).saturating_sub(self.margin)
    }

    /// Whether it does not last any more.
    pub(crate) fn is_over(&self, grace: Duration) -> bool {
        self.lasts(grace).is_zero()
    }

    fn is_low(&self) -> bool {
        self.spent.share(5, 4) >= self.of.total()
    }
}

/// The tightest purse of a job that may hold a machine; none where nothing bounds it, or nothing is paid.
pub(crate) fn purse(core: &Core, job: &Job, now: Timestamp) -> Option<Purse> {
    purses(core, job, now).into_iter().min_by_key(|purse| purse.left)
}

/// Every purse that pays for a job's machine.
fn purses(core: &Core, job: &Job, now: Timestamp) -> Vec<Purse> {
    let Some(attempt) = job.attempt() else { return Vec::new() };
    let Some(price_per_hour) = attempt.price_per_hour.filter(|price| *price > Money::ZERO) else {
        return Vec::new();
    };
    let margin = core.policy.budget_margin;
    // A settled bill has the traffic in it; before that the allowance stands for it.
    let per_gb = attempt.offer.as_ref().and_then(|offer| offer.traffic_per_gb).unwrap_or_default();
    let traffic = if attempt.billed.is_some() { Money::ZERO } else { traffic_allowance(job.spec(), per_gb) };
    let own = job.limits().max_cost_usd.map(|most| {
        let spent = job.cost(now);
        let left = most.minus(spent.plus(traffic));
        Purse { of: Payer::Job(most), spent, left, price_per_hour, margin }
    });
    let (page, month) = (core.books.page(), Month::of(now));
    let entry = page.iter().find(|entry| entry.order == attempt.order);
    let labels = entry.map_or(&job.body().labels, |entry| &entry.labels);
    let budgets = core.policy.budgets.iter().filter(|budget| budget.pays_for(labels)).map(|budget| {
        let others = books::committed(&page, budget, now, Some(&attempt.order));
        let spent = books::spent(&page, budget, now);
        let mine = entry.map_or_else(|| attempt.cost(now), |entry| entry.cost_since(month.begins(), now));
        let left = budget.per_month.minus(others.plus(mine).plus(traffic));
        let of = Payer::Budget(budget.name(), budget.per_month, month);
        Purse { of, spent, left, price_per_hour, margin }
    });
    own.into_iter().chain(budgets).collect()
}

/// Seconds from now after which the job's machine must be gone, since its money is used up; none where no budget binds
/// it. The agent on the machine keeps to it when nobody here does.
pub(crate) fn machine_ends_s(core: &Core, job: &Job, now: Timestamp) -> Option<u64> {
    Some(purse(core, job, now)?.lasts(Duration::ZERO).as_secs())
}

/// What the traffic of a training may cost, where it is charged: what is usual for its kind, and the model's weights,
/// which its machine fetches.
pub(crate) fn traffic_allowance(spec: &JobSpec, per_gb: Money) -> Money {
    let usual = match spec.trainer_kind() {
        trainyard_domain::TrainerKind::Builtin => TRAFFIC_BUILTIN_GB,
        trainyard_domain::TrainerKind::Peft | trainyard_domain::TrainerKind::Command => TRAFFIC_GB,
    };
    let model = spec.least_gpu_memory_gb().map_or(0, u64::from);
    per_gb.per_gb_for((usual + model).saturating_mul(GB))
}

/// Where a vendor bills a machine from the moment it is up on: that moment, once it was seen, or the order's where nobody
/// was there to see it, so that no budget is passed by what was not seen.
fn billed_from(core: &Core, job: &Job, number: AttemptNumber, machine: &ProviderJobId) -> Option<Timestamp> {
    let attempt = job.attempts().iter().find(|attempt| attempt.number == number)?;
    let provider = core.providers.get(&attempt.provider)?;
    // One that took a machine over pays from that moment on: it was up before.
    let placed = attempt.placed_at.filter(|_| attempt.billed_from.is_none() && !attempt.adopted)?;
    let up = || provider.sightings.up_since(&attempt.order, machine, placed).map(|up| up.max(placed));
    if provider.connector.info().capabilities.billing.from_up { up() } else { None }
}

/// Notes since when the machine of a job is billed, as soon as that was seen: what was seen goes with this process. Says
/// whether there was something to note.
pub(crate) async fn note_up(core: &Arc<Core>, stored: &StoredJob) -> Result<bool, Error> {
    let Some(rental) = stored.job.state().rental() else { return Ok(false) };
    let Some(from) = billed_from(core, &stored.job, rental.attempt, &rental.machine) else {
        return Ok(false);
    };
    let Some(machine) = core.machine_of(&stored.job, rental.attempt).await? else { return Ok(false) };
    let mut draft = Draft::of(stored, core.clock.now());
    draft.job.set_billed_from(rental.attempt, from);
    draft.machine(Machine { billed_from: Some(from), ..machine });
    draft.commit(core).await?;
    Ok(true)
}

/// The entry of a machine that is gone, and its attempt: one that was never seen up, at a vendor that bills what is up,
/// cost nothing; where a vendor has no books that could be read later, begun units are counted whole, as it bills them.
pub(crate) fn at_end(core: &Core, job: &mut Job, number: AttemptNumber, entry: Machine) -> Machine {
    let entry = never_up(core, job, number, entry);
    let Some(provider) = core.providers.get(&entry.provider) else { return entry };
    let capabilities = provider.connector.info().capabilities;
    let unit_s = capabilities.billing.unit_s;
    let (true, Some(from), Some(gone)) =
        (!capabilities.bill && unit_s > 1, entry.billed_from.or(entry.placed_at), entry.gone_at)
    else {
        return entry;
    };
    let until = whole_units(from, entry.billed_until.unwrap_or(gone), unit_s);
    job.set_gone(number, gone, Some(until));
    Machine { billed_until: Some(until), ..entry }
}

/// The end of the last unit that was begun.
fn whole_units(from: Timestamp, until: Timestamp, unit_s: u64) -> Timestamp {
    let (unit_ms, billed_ms) = (unit_s.saturating_mul(1000), (until - from).num_milliseconds());
    let billed_ms = billed_ms.max(0).unsigned_abs().div_ceil(unit_ms).saturating_mul(unit_ms);
    let billed = i64::try_from(billed_ms).ok().and_then(chrono::TimeDelta::try_milliseconds);
    billed.and_then(|billed| from.checked_add_signed(billed)).unwrap_or(until)
}

/// What is known, when the removal of a machine is asked for, of how it was billed until then: that goes with this
/// process. One that was shown and never up cost nothing so far.
pub(crate) fn at_release(
    core: &Core,
    job: &Job,
    number: AttemptNumber,
    entry: Machine,
    now: Timestamp,
) -> Machine {
    let Some(provider) = core.providers.get(&entry.provider) else { return entry };
    let Some(id) = &entry.provider_job_id else { return entry };
    let known = entry.billed_from.is_some() || entry.attempts.len() > 1;
    let shown = || provider.sightings.was_shown(&entry.order, Some(id));
    if known || !provider.connector.info().capabilities.billing.from_up || !shown() {
        return entry;
    }
    let from = billed_from(core, job, number, id).unwrap_or(now);
    Machine { billed_from: Some(from), ..entry }
}

/// The entry of a machine that is gone and was never seen up, at a vendor that bills what is up: it cost nothing.
fn never_up(core: &Core, job: &mut Job, number: AttemptNumber, entry: Machine) -> Machine {
    let Some(provider) = core.providers.get(&entry.provider) else { return entry };
    let Some(id) = &entry.provider_job_id else { return entry };
    let unseen = || !provider.sightings.was_shown(&entry.order, Some(id));
    let known = entry.billed_from.is_some() || entry.attempts.len() > 1 || unseen();
    if known || !provider.connector.info().capabilities.billing.from_up {
        return entry;
    }
    let from = billed_from(core, job, number, id).or(entry.billed_until).or(entry.gone_at);
    if let Some(from) = from {
        job.set_billed_from(number, from);
    }
    Machine { billed_from: from, ..entry }
}

/// Tells that four fifths of a budget are used, once for each. Says whether there was something to tell.
pub(crate) async fn tell(core: &Arc<Core>, stored: &StoredJob) -> Result<bool, Error> {
    let now = core.clock.now();
    let kind = NotificationKind::Budget80;
    let low = purses(core, &stored.job, now)
        .into_iter()
        .filter(|purse| purse.is_low() && !stored.job.was_told_of(&purse.of.mark(kind)));
    let low: Vec<Purse> = low.collect();
    if low.is_empty() {
        return Ok(false);
    }
    let mut draft = Draft::of(stored, now);
    for purse in low {
        if draft.job.tell_of(&purse.of.mark(kind)) {
            let minutes = purse.lasts(Duration::ZERO).as_secs() / 60;
            let message = format!(
                "{} of {} are spent. The machine costs ${} per hour; there is enough for about {minutes} minutes.",
                dollars(purse.spent),
                purse.of,
                purse.price_per_hour
            );
            draft.tell_again(kind, "80 % of the budget spent", message);
        }
    }
    draft.commit(core).await?;
    Ok(true)
}

/// Tells that a job is stopped because its money is used up.
pub(crate) fn tell_over(core: &Core, draft: &mut Draft) {
    let Some(purse) = purse(core, &draft.job, draft.now) else { return };
    let kind = NotificationKind::Budget100;
    if draft.job.tell_of(&purse.of.mark(kind)) {
        let message = format!(
            "{} of {} are spent, and what is left is needed to stop in time: the training is stopped and its machine given back.",
            dollars(purse.spent),
            purse.of
        );
        draft.tell_again(kind, "Budget used up", message);
    }
}

/// An amount for a person: cents, or more digits where they say something.
pub(crate) fn dollars(amount: Money) -> String {
    // Below a dollar the cents are too coarse.
    let digits = if amount.rounded(0) == Money::ZERO { 4 } else { 2 };
    format!("${}", amount.rounded(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn a_purse_lasts_until_the_machine_must_begin_to_stop() {
        let purse = |left: &str| Purse {
            of: Payer::Job(money("10")),
            spent: money("8"),
            left: money(left),
            price_per_hour: money("3.60"),
            margin: Duration::from_secs(5),
        };
        let s = Duration::from_secs;
        assert_eq!(purse("2").lasts(s(0)), s(1995), "what is left pays for 2000 s");
        assert_eq!(purse("2").lasts(s(120)), s(1875), "the grace is counted");
        assert_eq!(purse("0.0051").lasts(s(0)), s(0), "a begun second is none");
        assert!(purse("0").is_over(s(0)) && purse("0.10").is_over(s(120)) && !purse("0.10").is_over(s(0)));
        assert!(purse("2").is_low() && !Purse { spent: money("7.99"), ..purse("2") }.is_low());
    }

    #[test]
    fn a_begun_unit_is_counted_whole() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let from = at("2026-01-01T00:00:00.500Z");
        let ends = |until| whole_units(from, at(until), 60);
        assert_eq!(ends("2026-01-01T00:00:10Z"), at("2026-01-01T00:01:00.500Z"));
        assert_eq!(ends("2026-01-01T00:02:00.500Z"), at("2026-01-01T00:02:00.500Z"), "two whole ones");
        assert_eq!(ends("2026-01-01T00:02:00.501Z"), at("2026-01-01T00:03:00.500Z"));
        assert_eq!(ends("2025-12-31T23:00:00Z"), from, "nothing was billed");
    }

    #[test]
    fn traffic_is_allowed_for_where_it_costs() {
        let spec = JobSpec::new("trainyard-tiny");
        assert_eq!(traffic_allowance(&spec, Money::ZERO), Money::ZERO);
        assert_eq!(
            traffic_allowance(&spec, money("0.02")),
            money("0.02"),
            "the built-in trainer fetches nothing"
        );
        let large = JobSpec::new("meta-llama/Llama-3.1-8B");
        assert!(traffic_allowance(&large, money("0.02")) > money("0.2"), "its weights are fetched");
    }

    #[test]
    fn amounts_are_shown_in_cents_or_finer() {
        let shown = ["12.3456", "2", "0.123456", "0.00001"].map(|text| dollars(money(text)));
        assert_eq!(shown, ["$12.35", "$2", "$0.1235", "$0"]);
    }
}
