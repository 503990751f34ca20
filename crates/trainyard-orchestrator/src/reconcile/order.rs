//! Ordering a machine: the intent first, then the order, then what became of it.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{ConnectorError, Effect, ErrorKind as Kind, Placement, ProvisionOrder};
use trainyard_domain::{AttemptNumber, Claim, Fact, JobState, Machine, OrderName, Phase, Reason, Rental};
use trainyard_storage::StoredJob;

use super::commit::{Draft, StoredJobLite};
use super::is_contention;
use super::plan::ORDER_LOST;
use crate::Error;
use crate::core::{Core, Provider};
use crate::line::Turn;

/// The next in line looks again after this, should the end of the order before it not wake it.
const SOON: Duration = Duration::from_millis(20);

/// Orders the next attempt's machine.
pub(super) async fn order(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let Some(provider) = core.provider_of(&stored.job) else { return unknown_provider(core, stored).await };
    let info = provider.connector.info();
    let wants = stored.job.spec().resources.gpu_count.max(1);
    let mut going = None;
    if info.capabilities.queue {
        match provider.line.may_order(stored.job.id(), wants, || provider.vacancy(&stored.job)) {
            Turn::Go(order) => going = Some(order),
            Turn::Soon => return Ok(Some(SOON)),
            Turn::Wait => return queued(core, stored).await,
        }
        // Several slots may have come free with one bell.
        provider.line.first().iter().for_each(|next| core.queue.ring(next));
    }
    let name = OrderName::new(core.installation.id(), core.clock.ulid());
    let mut draft = Draft::of(&stored, core.clock.now());
    let attempt = draft.job.intend(name.clone(), info.name.clone(), draft.now).map_err(|error| {
        Error::new(crate::ErrorKind::Internal, "illegal_transition", "no order may go out").because(error)
    })?;
    draft.phase(if stored.job.body().started_at.is_some() { Phase::Recovering } else { Phase::Ordering });
    draft.machine(Machine {
        order: name.clone(),
        provider: info.name.clone(),
        provider_job_id: None,
        attempts: vec![(stored.job.id().clone(), attempt)],
        price_per_hour: None,
        ordered_at: draft.now,
        placed_at: None,
        release_asked_at: None,
        gone_at: None,
        gone_proof: None,
    });
    let intended = match draft.commit(core).await {
        Ok(intended) => intended,
        Err(error) => {
            if going.is_some() {
                // A command came in between: the place in line is kept.
                provider.line.step_back(stored.job.id());
            }
            return Err(error);
        }
    };
    let order = ProvisionOrder {
        name,
        resources: stored.job.spec().resources.clone(),
        offer: None,
        image: stored.job.spec().environment.image.clone(),
        registry: None,
    };
    let outcome = provider.connector.provision(&order).await;
    if going.take().is_some() {
        // How full it is has one answer again.
        provider.line.first().iter().for_each(|next| core.queue.ring(next));
    }
    outcome_of(core, intended, provider, attempt, outcome).await
}

/// Records what became of an order, also where a command came in between.
async fn outcome_of(
    core: &Arc<Core>,
    intended: StoredJobLite,
    provider: &Provider,
    attempt: AttemptNumber,
    outcome: Result<Placement, ConnectorError>,
) -> Result<Option<Duration>, Error> {
    let mut at = intended;
    loop {
        let recorded = match &outcome {
            Ok(placement) => placed(core, &at, provider, attempt, placement.clone()).await,
            Err(error) if error.effect == Effect::None => {
                refused(core, &at, provider, attempt, is_full(error), reason_of(error)).await
            }
            // It may have happened: found out by its name, never by asking again.
            Err(error) => {
                tracing::warn!(job_id = %at.job.id(), error = %error, "the outcome of an order is not known");
                return Ok(Some(Duration::from_millis(200)));
            }
        };
        match recorded {
            Err(error) if is_contention(&error) => {}
            other => return other,
        }
        let Some(now) = core.storage.load(at.job.id()).await? else { return Ok(Some(Duration::ZERO)) };
        if now.job.state().claim() != Some(Claim::Asked { attempt }) {
            return Ok(Some(Duration::ZERO));
        }
        at = StoredJobLite { job: now.job, version: now.version };
    }
}

/// Nothing was rented, only because there is no room now.
fn is_full(error: &ConnectorError) -> bool {
    error.effect == Effect::None && error.kind == Kind::NoCapacity
}

/// Every slot is taken: the job waits in line, which answers its submit.
async fn queued(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    if stored.job.body().phase != Some(Phase::Queued) {
        let mut draft = Draft::of(&stored, core.clock.now());
        if matches!(stored.job.state(), JobState::Created { .. }) {
            draft.apply(&Fact::Admitted)?;
        }
        draft.phase(Phase::Queued);
        draft.commit(core).await?;
    }
    // The bell of a free slot wakes the head of the line; this is only for a bell that was lost.
    Ok(Some(core.policy.look_every * 5))
}

async fn placed(
    core: &Arc<Core>,
    intended: &StoredJobLite,
    provider: &Provider,
    attempt: AttemptNumber,
    placement: Placement,
) -> Result<Option<Duration>, Error> {
    let mut draft = intended.draft(core.clock.now());
    let rental = Rental {
        attempt,
        machine: placement.id.clone(),
        can_pause: provider.connector.info().capabilities.pause,
    };
    draft.apply(&Fact::Placed(rental))?;
    draft.job.set_price(attempt, placement.price_per_hour);
    if draft.job.body().started_at.is_none() {
        draft.phase(Phase::Booting);
    }
    if let Some(machine) = core.machine_of(&draft.job, attempt).await? {
        draft.machine(Machine {
            provider_job_id: Some(placement.id),
            price_per_hour: placement.price_per_hour,
            placed_at: Some(draft.now),
            ..machine
        });
    }
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// Nothing was rented, and that is certain.
async fn refused(
    core: &Arc<Core>,
    intended: &StoredJobLite,
    provider: &Provider,
    attempt: AttemptNumber,
    full: bool,
    reason: Reason,
) -> Result<Option<Duration>, Error> {
    let mut draft = intended.draft(core.clock.now());
    let full = full && provider.connector.info().capabilities.queue;
    if full && matches!(draft.job.state(), JobState::Created { .. }) {
        // Another took the slot between the look and the order: the job waits in line like any other.
        draft.apply(&Fact::Admitted)?;
    }
    draft.job.set_attempt_end(attempt, reason);
    draft.apply(&Fact::OrderRefused { attempt })?;
    if let Some(machine) = core.machine_of(&draft.job, attempt).await? {
        draft.machine(Machine {
            gone_at: Some(draft.now),
            gone_proof: Some("the order was refused".to_owned()),
            ..machine
        });
    }
    if full {
        draft.phase(Phase::Queued);
        provider.line.step_back(draft.job.id());
    }
    draft.commit(core).await?;
    Ok(Some(if full { core.policy.look_every } else { Duration::ZERO }))
}

/// What became of an order whose answer was lost, or whose asker crashed.
pub(super) async fn settle(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let Some(provider) = core.provider_of(&stored.job) else { return unknown_provider(core, stored).await };
    let Some(Claim::Asked { attempt }) = stored.job.state().claim() else { return Ok(Some(Duration::ZERO)) };
    let Some(asked) = stored.job.attempts().iter().find(|a| a.number == attempt).cloned() else {
        return Ok(None);
    };
    let owned = match provider.connector.list_owned(core.installation.id()).await {
        Ok(owned) => owned,
        Err(error) => {
            tracing::warn!(job_id = %stored.job.id(), error = %error, "a listing failed; it proves nothing");
            return Ok(Some(core.policy.look_every));
        }
    };
    let at = StoredJobLite { job: stored.job, version: stored.version };
    if let Some(found) = owned.into_iter().find(|machine| machine.order == asked.order) {
        let placement = Placement { id: found.id, price_per_hour: asked.price_per_hour };
        return placed(core, &at, provider, attempt, placement).await;
    }
    let settled = asked.ordered_at + Duration::from_secs(provider.connector.info().settle_s);
    if core.clock.now() < settled {
        return Ok(Some(core.policy.look_every));
    }
    let never = Reason::new(ORDER_LOST, "the order never reached the provider");
    refused(core, &at, provider, attempt, false, never).await
}

/// The job's provider is not configured any more: what it may hold cannot be reached, so nothing is decided.
async fn unknown_provider(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let name = stored.job.provider().map_or("none", |name| name.as_str());
    let reason =
        Reason::new("provider_not_configured", format!("the provider `{name}` is not configured any more"))
            .suggest("configure it again; the job goes on then");
    if stored.job.body().reason.as_ref() != Some(&reason) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.job.set_reason(Some(reason));
        draft.commit(core).await?;
    }
    Ok(Some(core.policy.look_every * 15))
}

/// A connector's error as the history shows it.
pub(super) fn reason_of(error: &ConnectorError) -> Reason {
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
