//! Looking: what is true of the machine and of the training on it, read fresh.
//!
//! The agent's own word comes first. Where it does not answer, the machine tells more: `local` is asked, a provider
//! that costs money is read from its one shared listing.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{
    ConnectorError, ErrorKind as Kind, MachineObservation, MachinePhase, SelfRemovalProof, TrainingState,
    WorkloadState,
};
use trainyard_domain::{Attempt, Job, Rental};
use trainyard_storage::StoredJob;

use super::plan::Seen;
use crate::checkpoints;
use crate::core::{Core, Provider};
use crate::link::Link;
use crate::tail::tail;

/// An agent that was just reached for the first time gets this long to answer, whatever the deadline of the boot says:
/// a machine of ours may have slept over it.
const BOOT_LAST_CHANCE: Duration = Duration::from_secs(20);

/// Looks at what the job holds. A look that fails is an observation too: silence.
pub(super) async fn look(core: &Arc<Core>, stored: &StoredJob) -> Seen {
    let job = &stored.job;
    if job.state().name().is_end() {
        return Seen::Nothing;
    }
    let Some(rental) = job.state().rental() else { return Seen::Nothing };
    let costs = core.provider_of(job).is_some_and(Provider::costs);
    let link = match Link::of(core, job, rental).await {
        Ok(Some(link)) => link,
        Ok(None) => return Seen::Nothing,
        Err(error) if costs => {
            tracing::debug!(job_id = %job.id(), error = %error, "the machine is not reached yet");
            return rented(core, job, rental, None);
        }
        Err(error) if error.kind == Kind::NotFound => return Seen::MachineGone,
        Err(error) => {
            tracing::warn!(job_id = %job.id(), error = %error, "the agent's machine cannot be reached");
            return Seen::Silent { lost: false, ever_answered: false };
        }
    };
    match state_of(&link, job, rental).await {
        Ok(state) => {
            link.hear();
            heed_removal(core, job, &state.self_removal);
            let ours = is_of(&state, job, rental);
            let told = stored.cursor.is_some_and(|(n, at)| n == rental.attempt && at >= state.last_event);
            let follows =
                !matches!(state.training, TrainingState::Idle) && !told || is_running(&state.training);
            if ours && follows {
                let (task, id, attempt) = (core.clone(), job.id().clone(), rental.attempt);
                let weak = Arc::downgrade(&link);
                link.follow(|| tokio::spawn(tail(task, id, attempt, weak)));
                let (task, id, weak) = (core.clone(), job.id().clone(), Arc::downgrade(&link));
                link.keep_checkpoints(|| tokio::spawn(checkpoints::keep(task, id, attempt, weak)));
            }
            Seen::Says { state, told }
        }
        Err(error) if error.kind == Kind::Restarted => Seen::Restarted,
        Err(error) => silent(core, job, rental, &link, &error).await,
    }
}

/// What the agent says. One that was started anew is asked once more: an attempt that had ended is served by it as well.
async fn state_of(link: &Link, job: &Job, rental: &Rental) -> Result<WorkloadState, ConnectorError> {
    let restarted = match link.workload.state().await {
        Err(error) if error.kind == Kind::Restarted => error,
        told => return told,
    };
    let now = link.workload.state().await.ok();
    now.filter(|state| is_of(state, job, rental) && matches!(state.training, TrainingState::Exited { .. }))
        .ok_or(restarted)
}

fn is_of(state: &WorkloadState, job: &Job, rental: &Rental) -> bool {
    state.attempt.as_ref().is_some_and(|(id, n)| id == job.id() && *n == rental.attempt)
}

/// A machine that cannot remove itself is remarked on, once.
fn heed_removal(core: &Core, job: &Job, proof: &SelfRemovalProof) {
    let Some(attempt) = job.attempt() else { return };
    match proof {
        SelfRemovalProof::Failed(why) => {
            core.watching(&attempt.order, |watch| watch.not_removable = Some(why.clone()));
        }
        SelfRemovalProof::Proven => core.watching(&attempt.order, |watch| watch.not_removable = None),
        SelfRemovalProof::None => {}
    }
}

fn is_running(training: &TrainingState) -> bool {
    matches!(training, TrainingState::Running { .. } | TrainingState::Preparing)
}

/// The agent does not answer: the machine itself may tell more.
async fn silent(core: &Arc<Core>, job: &Job, rental: &Rental, link: &Link, error: &ConnectorError) -> Seen {
    let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else {
        return Seen::Nothing;
    };
    tracing::debug!(job_id = %job.id(), error = %error, "the agent does not answer");
    if provider.costs() {
        return rented(core, job, rental, Some(link));
    }
    let observed = provider.connector.observe(&attempt.order, &rental.machine).await;
    if observed.is_ok_and(|machine| machine.phase == MachinePhase::Gone) {
        return Seen::MachineGone;
    }
    let info = provider.connector.info();
    let ever_answered = link.was_heard() || attempt.started_at.is_some();
    let patience = if ever_answered { info.agent_lost_after_s } else { info.boot_deadline_s };
    Seen::Silent { lost: link.silent_for(true) > Duration::from_secs(patience), ever_answered }
}

/// What the provider's listing tells of a rented machine whose agent does not answer. Silence counts only while the
/// provider itself answers: without a network nothing is lost.
fn rented(core: &Core, job: &Job, rental: &Rental, link: Option<&Link>) -> Seen {
    let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else {
        return Seen::Nothing;
    };
    let sightings = &provider.sightings;
    sightings.want(job.id());
    if is_gone(core, provider, attempt, rental) {
        return Seen::MachineGone;
    }
    let sighted = sightings.latest(&attempt.order, Some(&rental.machine));
    if let Some(MachinePhase::Broken { what, elsewhere }) = sighted.as_ref().map(|machine| &machine.phase) {
        return Seen::Broken { what: what.clone(), elsewhere: *elsewhere };
    }
    if let Some((what, elsewhere)) = core.watching(&attempt.order, |watch| watch.broken.clone()) {
        return Seen::Broken { what, elsewhere };
    }
    if let Some(what) = sighted.as_ref().and_then(|machine| too_dear(core, job, attempt, machine)) {
        return Seen::TooDear(what);
    }
    let counts = sightings.is_fresh(core.policy.listing_patience);
    let silence = match link {
        Some(link) => link.silent_for(counts),
        None => core.watching(&attempt.order, |watch| watch.unreached.judge(counts)),
    };
    let info = provider.connector.info();
    let ever_answered = link.is_some_and(Link::was_heard) || attempt.started_at.is_some();
    let lost = if ever_answered {
        silence > Duration::from_secs(info.agent_lost_after_s)
    } else {
        let deadline = Duration::from_secs(info.boot_deadline_s);
        let since = (core.clock.now() - attempt.ordered_at).to_std().unwrap_or_default();
        counts && since > deadline && silence > BOOT_LAST_CHANCE.min(deadline / 2)
    };
    Seen::Silent { lost, ever_answered }
}

/// Whether the readings prove a machine gone that nobody gave back. One that never showed may only be late.
pub(super) fn is_gone(core: &Core, provider: &Provider, attempt: &Attempt, rental: &Rental) -> bool {
    let placed = attempt.placed_at.unwrap_or(attempt.ordered_at);
    let shown = provider.sightings.was_shown(&attempt.order, Some(&rental.machine));
    let after = if shown { placed } else { placed.max(attempt.ordered_at + provider.settle()) };
    let readings = core.policy.gone_readings;
    provider.sightings.absent(&attempt.order, Some(&rental.machine), after, readings).is_some()
}

/// A machine that turns out dearer than the job allows, while nothing was trained on it.
fn too_dear(core: &Core, job: &Job, attempt: &Attempt, machine: &MachineObservation) -> Option<String> {
    let price = machine.price_per_hour.filter(|_| attempt.started_at.is_none())?;
    let most = crate::choice::need(job.spec(), &core.policy).max_price_per_hour?;
    (price > most).then(|| format!("the machine costs ${price} per hour, over the ${most} that are allowed"))
}
