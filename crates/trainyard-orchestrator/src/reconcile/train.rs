//! With a machine in hand: hand over, start, pause, resume, stop, and tell how it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{ConnectorError, ErrorKind as Kind, StartOrder, TrainingState};
use trainyard_domain::{Fact, JobState, NotificationKind, Phase, Reason, Rental, Timestamp};
use trainyard_storage::StoredJob;

use super::commit::Draft;
use super::end;
use super::order::reason_of;
use super::plan::Outcome;
use crate::Error;
use crate::core::Core;
use crate::handover::hand_over;
use crate::link::Link;

/// Hands over inputs, code, specification and secrets, and starts the training. Safe to repeat: the agent knows what
/// it has, and starts an attempt once.
pub(super) async fn bring(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: Rental,
) -> Result<Option<Duration>, Error> {
    let job = &stored.job;
    let Ok(Some(link)) = Link::of(core, job, &rental).await else { return Ok(Some(core.policy.look_every)) };
    let inputs = match hand_over(core, job).await {
        Ok(inputs) => inputs,
        // What stood there at the submit is gone: no attempt can help.
        Err(error) => {
            let reason = Reason::new(error.code.clone(), format!("{error}: {}", error.detail_text()));
            return end::finish(core, stored, Outcome::Failed { reason, exit: None }).await;
        }
    };
    for (source, _) in &inputs {
        if let Err(error) = link.workload.put_input(source).await {
            return not_brought(core, stored, error).await;
        }
    }
    let mut secrets = BTreeMap::new();
    for name in &job.spec().secrets {
        if let Some(sealed) = core.storage.secret(name).await? {
            secrets.insert(name.clone(), core.vault.open(name, &sealed.sealed)?);
        }
    }
    let ran = job.ran_for_s(core.clock.now());
    let order = StartOrder {
        job_id: job.id().clone(),
        attempt: rental.attempt,
        spec: trainyard_domain::JobSpec { limits: job.limits().clone(), ..job.spec().as_ref().clone() },
        secrets,
        inputs: inputs.into_iter().map(|(_, hand_over)| hand_over).collect(),
        resume_from: None,
        deadline_s: Some(job.limits().max_duration_s.saturating_sub(ran)),
        gpus: core
            .provider_of(job)
            .zip(job.attempt())
            .and_then(|(provider, at)| provider.connector.cards(&at.order)),
    };
    match link.workload.start(&order).await {
        Ok(state) => {
            link.hear();
            match state.training {
                TrainingState::Running { since, .. } => note_started(core, stored, &rental, since).await,
                TrainingState::Preparing => Ok(Some(core.policy.boot_poll)),
                TrainingState::Idle | TrainingState::Exited { .. } => Ok(Some(Duration::ZERO)),
            }
        }
        Err(error) => not_brought(core, stored, error).await,
    }
}

/// Unpacking and installing: mostly over at once; shown as a phase where it is not.
pub(super) async fn prepare(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    const SHOWN_AFTER: chrono::TimeDelta = chrono::TimeDelta::milliseconds(500);
    let now = core.clock.now();
    let since = stored.job.attempt().and_then(|attempt| attempt.placed_at);
    let long = since.is_some_and(|at| now - at > SHOWN_AFTER);
    let poll = core.boot_poll(&stored.job);
    if long && stored.job.body().started_at.is_none() && stored.job.body().phase != Some(Phase::Installing) {
        let mut draft = Draft::of(&stored, now);
        draft.phase(Phase::Installing);
        draft.commit(core).await?;
    }
    Ok(Some(poll))
}

/// The hand-over broke off. What cannot be helped ends the job; all else is tried again, and silence is judged by
/// the next look.
async fn not_brought(
    core: &Arc<Core>,
    stored: StoredJob,
    error: ConnectorError,
) -> Result<Option<Duration>, Error> {
    tracing::warn!(job_id = %stored.job.id(), error = %error, "handing over to the agent broke off");
    match error.kind {
        Kind::Invalid | Kind::Unsupported => {
            let reason = reason_of(&error);
            end::finish(core, stored, Outcome::Failed { reason, exit: None }).await
        }
        _ => Ok(Some(core.boot_poll(&stored.job).max(Duration::from_millis(50)))),
    }
}

/// Records that the training runs.
pub(super) async fn note_started(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    at: Timestamp,
) -> Result<Option<Duration>, Error> {
    let mut draft = Draft::of(&stored, core.clock.now());
    draft.apply(&Fact::Started { attempt: rental.attempt, at })?;
    draft.phase(Phase::Training);
    draft.job.set_reason(None);
    let provider = stored.job.provider().map_or("", |name| name.as_str()).to_owned();
    draft.tell(NotificationKind::Running, "Training started", format!("The training runs on `{provider}`."));
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// Asks the training to stop. Its end shows as an event.
pub(super) async fn stop(
    core: &Arc<Core>,
    stored: &StoredJob,
    rental: &Rental,
    grace: Duration,
) -> Result<Option<Duration>, Error> {
    if let Ok(Some(link)) = Link::of(core, &stored.job, rental).await
        && let Err(error) = link.workload.stop(grace).await
    {
        tracing::warn!(job_id = %stored.job.id(), error = %error, "asking the training to stop failed");
        return Ok(Some(Duration::from_millis(200)));
    }
    Ok(Some(Duration::from_millis(500)))
}

/// Stops the training's processes, then records it.
pub(super) async fn pause(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
) -> Result<Option<Duration>, Error> {
    signal(core, stored, rental, &Fact::Paused).await
}

/// Lets them go on, then records it.
pub(super) async fn resume(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
) -> Result<Option<Duration>, Error> {
    signal(core, stored, rental, &Fact::Resumed).await
}

async fn signal(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    fact: &Fact,
) -> Result<Option<Duration>, Error> {
    let Ok(Some(link)) = Link::of(core, &stored.job, rental).await else {
        return Ok(Some(core.policy.look_every));
    };
    let done = match fact {
        Fact::Paused => link.workload.pause().await,
        _ => link.workload.resume().await,
    };
    if let Err(error) = done {
        tracing::warn!(job_id = %stored.job.id(), error = %error, "pausing or resuming failed");
        return Ok(Some(Duration::from_millis(200)));
    }
    let mut draft = Draft::of(&stored, core.clock.now());
    // The processes may have been let go on without a record of their pause; then there is nothing to record.
    if matches!(
        (fact, stored.job.state()),
        (Fact::Paused, JobState::Running { .. }) | (_, JobState::Paused { .. })
    ) {
        draft.apply(fact)?;
        draft.commit(core).await?;
    }
    Ok(Some(Duration::ZERO))
}

/// Tells the milestones that the progress has passed, each once.
pub(super) async fn tell_milestones(core: &Arc<Core>, stored: &StoredJob) -> Result<(), Error> {
    const MILESTONES: [(f64, NotificationKind, &str); 3] = [
        (0.25, NotificationKind::Progress25, "25 %"),
        (0.5, NotificationKind::Progress50, "50 %"),
        (0.75, NotificationKind::Progress75, "75 %"),
    ];
    let Some(fraction) = stored.progress.and_then(|progress| progress.fraction) else { return Ok(()) };
    let told = &stored.job.body().told;
    if !MILESTONES.iter().any(|(at, kind, _)| fraction >= *at && !told.contains(kind)) {
        return Ok(());
    }
    let mut draft = Draft::of(stored, core.clock.now());
    for (at, kind, percent) in MILESTONES {
        if fraction >= at {
            let loss = stored.current_metrics.as_ref().and_then(|point| point.get("loss"));
            let loss = loss.map(|loss| format!(" Loss is {loss:.4}.")).unwrap_or_default();
            draft.tell(
                kind,
                &format!("Training {percent} done"),
                format!("{percent} of the training is done.{loss}"),
            );
        }
    }
    draft.commit(core).await?;
    Ok(())
}
