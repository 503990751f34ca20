//! Looking: what is true of the machine and of the training on it, read fresh.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{ErrorKind as Kind, MachinePhase, TrainingState};
use trainyard_domain::Rental;
use trainyard_storage::StoredJob;

use super::plan::Seen;
use crate::core::Core;
use crate::link::Link;
use crate::tail::tail;

/// Looks at what the job holds. A look that fails is an observation too: silence.
pub(super) async fn look(core: &Arc<Core>, stored: &StoredJob) -> Seen {
    let job = &stored.job;
    if job.state().name().is_end() {
        return Seen::Nothing;
    }
    let Some(rental) = job.state().rental() else { return Seen::Nothing };
    let link = match Link::of(core, job, rental).await {
        Ok(Some(link)) => link,
        Ok(None) => return Seen::Nothing,
        Err(error) if error.kind == Kind::NotFound => return Seen::MachineGone,
        Err(error) => {
            tracing::warn!(job_id = %job.id(), error = %error, "the agent's machine cannot be reached");
            return Seen::Silent { lost: false, ever_answered: false };
        }
    };
    match link.workload.state().await {
        Ok(state) => {
            link.hear();
            let ours = state.attempt.as_ref().is_some_and(|(id, n)| id == job.id() && *n == rental.attempt);
            let told = stored.cursor.is_some_and(|(n, at)| n == rental.attempt && at >= state.last_event);
            let follows =
                !matches!(state.training, TrainingState::Idle) && !told || is_running(&state.training);
            if ours && follows {
                let (task, id, attempt) = (core.clone(), job.id().clone(), rental.attempt);
                let weak = Arc::downgrade(&link);
                link.follow(|| tokio::spawn(tail(task, id, attempt, weak)));
            }
            Seen::Says { state, told }
        }
        Err(error) if error.kind == Kind::Restarted => Seen::Restarted,
        Err(error) => silent(core, stored, rental, &link, &error).await,
    }
}

fn is_running(training: &TrainingState) -> bool {
    matches!(training, TrainingState::Running { .. } | TrainingState::Preparing)
}

/// The agent does not answer: the machine itself may tell more.
async fn silent(
    core: &Arc<Core>,
    stored: &StoredJob,
    rental: &Rental,
    link: &Link,
    error: &trainyard_connector::ConnectorError,
) -> Seen {
    let job = &stored.job;
    let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else {
        return Seen::Nothing;
    };
    tracing::debug!(job_id = %job.id(), error = %error, "the agent does not answer");
    let observed = provider.connector.observe(&attempt.order, &rental.machine).await;
    if observed.is_ok_and(|machine| machine.phase == MachinePhase::Gone) {
        return Seen::MachineGone;
    }
    let ever_answered = link.was_heard() || attempt.started_at.is_some();
    let patience = if ever_answered {
        Duration::from_secs(provider.connector.info().agent_lost_after_s)
    } else {
        core.policy.boot_deadline
    };
    Seen::Silent { lost: link.silent_for() > patience, ever_answered }
}
