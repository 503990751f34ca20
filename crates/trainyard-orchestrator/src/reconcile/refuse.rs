//! Orders that rented nothing, for certain: the next offer, the wait for a machine, or the end of the round.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{ConnectorError, ErrorKind as Kind};
use trainyard_domain::{AttemptNumber, Fact, Job, JobState, Machine, OrderName, Phase, Reason};
use trainyard_storage::StoredJob;

use super::commit::{Draft, StoredJobLite};
use super::order::auto_providers;
use crate::choice::{self, ORDER_LOST, Shelf};
use crate::core::{Core, Provider};
use crate::{Error, ErrorKind};

/// After an order that met a provider in trouble the next one comes after this.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);
/// Codes of a provider in trouble, which may pass.
const TROUBLE: [&str; 4] =
    ["provider_unreachable", "provider_unauthorized", "rate_limited", "provider_failed"];

/// Nothing was rented, and that is certain.
pub(super) async fn refused(
    core: &Arc<Core>,
    intended: &StoredJobLite,
    provider: &Provider,
    attempt: AttemptNumber,
    error: &ConnectorError,
) -> Result<Option<Duration>, Error> {
    let full = error.kind == Kind::NoCapacity && provider.connector.info().capabilities.queue;
    let mut draft = intended.draft(core.clock.now());
    if full && matches!(draft.job.state(), JobState::Created { .. }) {
        // Another took the slot between the look and the order: the job waits in line like any other.
        draft.apply(&Fact::Admitted)?;
    }
    draft.job.set_attempt_end(attempt, reason_of(error));
    let next = if full { Next::AtOnce } else { next(core, &draft.job, provider, error.kind) };
    let delay = close(core, &mut draft, attempt, next).await?;
    if full {
        draft.phase(Phase::Queued);
        provider.line.step_back(draft.job.id());
    }
    draft.commit(core).await?;
    Ok(Some(if full { core.policy.look_every } else { delay }))
}

/// The order never reached the provider.
pub(super) async fn never_arrived(
    core: &Arc<Core>,
    asked: &StoredJobLite,
    attempt: AttemptNumber,
) -> Result<Option<Duration>, Error> {
    let mut draft = asked.draft(core.clock.now());
    let known = draft.job.attempts().iter().any(|one| one.number == attempt && one.end.is_some());
    if !known {
        // Of a job that was stopped meanwhile, that is why its attempt ended.
        draft.job.set_attempt_end(attempt, Reason::new(ORDER_LOST, "the order never reached the provider"));
    }
    let next = if super::plan::too_many_lost(&draft.job) { Next::None } else { Next::AtOnce };
    let delay = close(core, &mut draft, attempt, next).await?;
    draft.commit(core).await?;
    Ok(Some(delay))
}

/// What follows a refused order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AtOnce,
    Later,
    None,
}

/// Ends an attempt that rented nothing, and its entry of the ledger.
async fn close(
    core: &Core,
    draft: &mut Draft,
    attempt: AttemptNumber,
    next: Next,
) -> Result<Duration, Error> {
    draft.apply(&Fact::OrderRefused { attempt, round_over: next == Next::None })?;
    if let Some(machine) = core.machine_of(&draft.job, attempt).await? {
        draft.machine(Machine {
            gone_at: Some(draft.now),
            gone_proof: Some("the order was refused".to_owned()),
            ..machine
        });
    }
    Ok(if next == Next::Later { TROUBLE_PAUSE } else { Duration::ZERO })
}

/// Whether another order follows one that was refused in that way. Judged by what was read for it.
fn next(core: &Core, job: &Job, provider: &Provider, kind: Kind) -> Next {
    let waits = job.spec().retry.wait_for_capacity_s > 0;
    let recovers = job.attempts().iter().any(|attempt| attempt.was_rented());
    let tries_left = job.round().count() < core.policy.order_tries_max;
    match kind {
        Kind::Invalid => return Next::None,
        // Its turn comes: many orders at once wait for a vendor's pace.
        Kind::RateLimited if tries_left => return Next::Later,
        Kind::Unreachable | Kind::Unauthorized if recovers && tries_left => return Next::Later,
        Kind::NoCapacity | Kind::PriceChanged if waits && provider.costs() => return Next::AtOnce,
        _ => {}
    }
    if !provider.costs() || !tries_left {
        return Next::None;
    }
    let now = core.clock.now();
    let need = choice::need_of(job, &core.policy, now);
    let names =
        if job.body().auto { auto_providers(core, job) } else { job.provider().into_iter().collect() };
    let shelf = |name: &&trainyard_domain::ProviderName| {
        let provider = core.providers.get(*name)?;
        let capabilities = provider.connector.info().capabilities;
        let offers = match capabilities.offers {
            true => Some(provider.offers.known(&need).reading?.offers.as_ref().clone()),
            false => None,
        };
        Some(Shelf { provider: (*name).clone(), offers, queues: capabilities.queue })
    };
    let shelves: Vec<Shelf> = names.iter().filter_map(shelf).collect();
    match choice::candidates(job, &need, &shelves, &core.policy, now).is_empty() {
        true => Next::None,
        false => Next::AtOnce,
    }
}

/// There is nothing to order: the job waits where that was asked for or the provider's trouble may pass; else the
/// round is over, with an attempt in the history that says why.
pub(super) async fn nothing_to_order(
    core: &Arc<Core>,
    stored: StoredJob,
    reason: Reason,
) -> Result<Option<Duration>, Error> {
    let (job, now) = (&stored.job, core.clock.now());
    let troubled = TROUBLE.contains(&reason.code.as_str());
    if waits_for_capacity(job, &reason, now) {
        return wait(core, stored, reason).await;
    }
    let lost_at = job.attempts().iter().rev().find(|attempt| attempt.was_rented()).and_then(|a| a.ended_at);
    let patient =
        lost_at.is_some_and(|at| (now - at).to_std().unwrap_or_default() < core.policy.provider_wait);
    if troubled && patient {
        if job.body().reason.as_ref().map(|known| &known.code) != Some(&reason.code) {
            let mut draft = Draft::of(&stored, now);
            draft.job.set_reason(Some(reason));
            draft.commit(core).await?;
        }
        return Ok(Some(core.policy.capacity_poll));
    }
    let Some(provider) = job.provider().cloned() else { return Ok(None) };
    let mut draft = Draft::of(&stored, now);
    let name = OrderName::new(core.installation.id(), core.clock.ulid());
    let attempt = draft.job.intend(name, provider, now).map_err(|error| {
        Error::new(ErrorKind::Internal, "illegal_transition", "no order may go out").because(error)
    })?;
    draft.job.set_attempt_end(attempt, reason);
    draft.apply(&Fact::OrderRefused { attempt, round_over: true })?;
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// Whether the job still waits for a machine to be had.
fn waits_for_capacity(job: &Job, reason: &Reason, now: trainyard_domain::Timestamp) -> bool {
    let wait = Duration::from_secs(job.spec().retry.wait_for_capacity_s);
    let may_pass = ["no_capacity", "price_changed", "price_ceiling"].contains(&reason.code.as_str())
        || job.body().capacity_since.is_some() && TROUBLE.contains(&reason.code.as_str());
    let waited =
        job.body().capacity_since.map_or(Duration::ZERO, |at| (now - at).to_std().unwrap_or_default());
    may_pass && waited < wait
}

/// Waits quietly: one event when it begins, none while it lasts.
async fn wait(core: &Arc<Core>, stored: StoredJob, reason: Reason) -> Result<Option<Duration>, Error> {
    let now = core.clock.now();
    if stored.job.body().capacity_since.is_none() {
        let mut draft = Draft::of(&stored, now);
        if matches!(draft.job.state(), JobState::Created { .. }) {
            draft.apply(&Fact::Admitted)?;
        }
        draft.job.wait_for_capacity(now);
        draft.job.set_reason(Some(reason));
        draft.commit(core).await?;
    }
    Ok(Some(core.policy.capacity_poll))
}

/// A connector's error as the history shows it.
pub(crate) fn reason_of(error: &ConnectorError) -> Reason {
    let code = match error.kind {
        Kind::Unreachable => "provider_unreachable",
        Kind::NoCapacity => "no_capacity",
        Kind::Unauthorized => "provider_unauthorized",
        Kind::NoCredit => "no_credit",
        Kind::PriceChanged => "price_changed",
        Kind::Invalid => "order_invalid",
        Kind::NotFound => "machine_not_found",
        Kind::RateLimited => "rate_limited",
        Kind::Unsupported => "unsupported",
        Kind::Restarted => "agent_restarted",
        Kind::Mismatch => "digest_mismatch",
        Kind::Internal => "provider_failed",
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    Reason::new(code, message)
}
