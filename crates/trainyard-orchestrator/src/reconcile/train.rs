//! With a machine in hand: hand over, start, pause, resume, stop, and tell how it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{
    ConnectorError, ErrorKind as Kind, HandOver, HandOverPurpose, InputSource, Renewal, StartOrder,
    TrainingState,
};
use trainyard_domain::{
    Fact, Job, JobId, JobState, NotificationKind, Phase, Reason, Rental, Timestamp, Wish,
};
use trainyard_storage::StoredJob;

use super::commit::Draft;
use super::end;
use super::plan::Outcome;
use super::refuse::reason_of;
use crate::checkpoints::{self, Resume};
use crate::core::{Core, Provider};
use crate::handover::hand_over;
use crate::link::Link;
use crate::{Error, ErrorKind, money};

/// Hands over inputs, code, specification and secrets, and starts the training. Safe to repeat: the agent knows what
/// it has, and starts an attempt once.
pub(super) async fn bring(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: Rental,
) -> Result<Option<Duration>, Error> {
    if uploads(core, &stored.job) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.phase(Phase::Uploading);
        draft.commit(core).await?;
        return Ok(Some(Duration::ZERO));
    }
    let job = &stored.job;
    let Ok(Some(link)) = Link::of(core, job, &rental).await else { return Ok(Some(core.policy.look_every)) };
    let resume = match resume_of(core, job, &link, &rental).await {
        Ok(resume) => resume,
        Err(error) if error.kind == ErrorKind::BadRequest => return not_here(core, stored, error).await,
        Err(error) => return Err(error),
    };
    let attempt = job.attempt().filter(|attempt| attempt.number == rental.attempt);
    if attempt.is_some_and(|attempt| attempt.resumed_from != resume.noted) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.job.set_resumed(rental.attempt, resume.noted);
        draft.commit(core).await?;
        return Ok(Some(Duration::ZERO));
    }
    let handed = tokio::select! {
        handed = hand_inputs(core, job, &link, &resume, Part::BeforeStart) => handed,
        // Inputs may be many gigabytes; a cancel does not wait for them.
        () = until_unwanted(core, job.id()) => return Ok(Some(Duration::ZERO)),
    };
    let inputs = match handed {
        Ok(inputs) => inputs,
        Err(unhanded) => return not_handed(core, stored, &rental, &link, unhanded).await,
    };
    let mut secrets = BTreeMap::new();
    for name in &job.spec().secrets {
        if let Some(sealed) = core.storage.secret(name).await? {
            secrets.insert(name.clone(), core.vault.open(name, &sealed.sealed)?);
        }
    }
    let ran = job.ran_for_s(core.clock.now());
    let ends = money::machine_ends_s(core, job, core.clock.now());
    let order = StartOrder {
        job_id: job.id().clone(),
        attempt: rental.attempt,
        spec: trainyard_domain::JobSpec { limits: job.limits().clone(), ..job.spec().as_ref().clone() },
        secrets,
        inputs: inputs.into_iter().map(|(_, hand_over)| hand_over).collect(),
        resume_from: resume.noted.map(|noted| noted.checkpoint),
        deadline_s: Some(job.limits().max_duration_s.saturating_sub(ran)),
        machine_ends_s: ends,
        gpus: core
            .provider_of(job)
            .zip(job.attempt())
            .and_then(|(provider, at)| provider.connector.cards(&at.order)),
    };
    match link.workload.start(&order).await {
        Ok(state) => {
            link.hear();
            link.told_limit(job.limits().max_duration_s);
            link.told_end(end_at(core, ends));
            match state.training {
                TrainingState::Running { since, .. } => note_started(core, stored, &rental, since).await,
                TrainingState::Preparing => Ok(Some(core.policy.boot_poll)),
                TrainingState::Idle | TrainingState::Exited { .. } => Ok(Some(Duration::ZERO)),
            }
        }
        Err(error) => not_brought(core, stored, &rental, &link, error).await,
    }
}

/// What the attempt continues from; found out once for each link.
async fn resume_of(core: &Arc<Core>, job: &Job, link: &Link, rental: &Rental) -> Result<Resume, Error> {
    if let Some(known) = link.resume() {
        return Ok(known);
    }
    let resume = checkpoints::to_resume(core, job, rental).await?;
    link.set_resume(resume.clone());
    Ok(resume)
}

/// What it needs is not here, and no other attempt can help.
async fn not_here(core: &Arc<Core>, stored: StoredJob, error: Error) -> Result<Option<Duration>, Error> {
    let reason = Reason::new(error.code.clone(), format!("{error}: {}", error.detail_text()));
    end::finish(core, stored, Outcome::Failed { reason, exit: None }).await
}

/// Whether inputs are about to go to a rented machine, and that is not said yet. On this machine it is over at once.
fn uploads(core: &Core, job: &Job) -> bool {
    let far = core.provider_of(job).is_some_and(Provider::costs);
    let handed = job.spec().sources().iter().any(|(_, source)| {
        matches!(source, trainyard_domain::Source::Input(_) | trainyard_domain::Source::Path(_))
    });
    let said = matches!(job.body().phase, Some(Phase::Uploading | Phase::Recovering));
    far && handed && !said
}

/// A hand-over that only breaks off is tried for so long; then another machine is.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(120);

/// Why the inputs are not on the machine.
enum Unhanded {
    Here(Error),
    Agent(ConnectorError),
}

/// Which inputs go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What the start needs: the code, and the checkpoint to go on from. On this machine everything, which is over at once.
    BeforeStart,
    /// All that is not there yet.
    Rest,
}

async fn hand_inputs(
    core: &Arc<Core>,
    job: &Job,
    link: &Link,
    resume: &Resume,
    part: Part,
) -> Result<Vec<(InputSource, HandOver)>, Unhanded> {
    let mut inputs = hand_over(core, job).await.map_err(Unhanded::Here)?;
    inputs.extend(resume.inputs.iter().cloned());
    let everything = part == Part::Rest || !core.provider_of(job).is_some_and(Provider::costs);
    let goes = |purpose: &HandOverPurpose| everything || purpose.is_needed_to_start();
    for (source, _) in inputs.iter().filter(|(_, to)| goes(&to.purpose)) {
        link.workload.put_input(source).await.map_err(Unhanded::Agent)?;
    }
    if inputs.iter().all(|(_, to)| goes(&to.purpose)) {
        link.was_handed_over();
    }
    Ok(inputs)
}

async fn not_handed(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    link: &Link,
    unhanded: Unhanded,
) -> Result<Option<Duration>, Error> {
    match unhanded {
        Unhanded::Agent(error) => not_brought(core, stored, rental, link, error).await,
        // What stood there at the submit is gone: no attempt can help.
        Unhanded::Here(error) if error.kind == ErrorKind::BadRequest => not_here(core, stored, error).await,
        Unhanded::Here(error) => Err(error),
    }
}

/// Resolves once the agent does not prepare any more: what it installs may have failed while inputs were on their way.
async fn until_prepared(core: &Core, link: &Link) {
    loop {
        tokio::time::sleep(core.policy.look_every).await;
        let state = link.workload.state().await;
        if state.is_ok_and(|state| !matches!(state.training, TrainingState::Preparing)) {
            return;
        }
    }
}

/// Resolves once the job is to stop, or is gone. What takes long is raced with it, so that a cancel is answered in
/// time. It asks first after a moment: what is quick pays nothing.
pub(super) async fn until_unwanted(core: &Arc<Core>, id: &JobId) {
    let mut bell = core.bells.listen(id);
    let mut wait = Duration::from_millis(200);
    loop {
        // Either way it looks: the bell may have been rung before it was listened to.
        let _ = tokio::time::timeout(wait, bell.changed()).await;
        wait = core.policy.look_every;
        let now = core.storage.load(id).await;
        if now.is_ok_and(|now| now.is_none_or(|now| matches!(now.job.wish(), Wish::Stop(_)))) {
            return;
        }
    }
}

/// Unpacking and installing, while the inputs come: mostly over at once; shown as a phase where it is not.
pub(super) async fn prepare(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: Rental,
) -> Result<Option<Duration>, Error> {
    if let Ok(Some(link)) = Link::of(core, &stored.job, &rental).await
        && !link.is_handed_over()
    {
        let resume = match resume_of(core, &stored.job, &link, &rental).await {
            Ok(resume) => resume,
            Err(error) if error.kind == ErrorKind::BadRequest => return not_here(core, stored, error).await,
            Err(error) => return Err(error),
        };
        let handed = tokio::select! {
            handed = hand_inputs(core, &stored.job, &link, &resume, Part::Rest) => handed,
            () = until_unwanted(core, stored.job.id()) => return Ok(Some(Duration::ZERO)),
            () = until_prepared(core, &link) => return Ok(Some(Duration::ZERO)),
        };
        if let Err(unhanded) = handed {
            return not_handed(core, stored, &rental, &link, unhanded).await;
        }
    }
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

/// The hand-over broke off. What cannot be helped ends the job; all else is tried again, but not for ever on a machine
/// that is paid for. Silence is judged by the next look.
async fn not_brought(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    link: &Link,
    error: ConnectorError,
) -> Result<Option<Duration>, Error> {
    tracing::warn!(job_id = %stored.job.id(), error = %error, "handing over to the agent broke off");
    match error.kind {
        Kind::Invalid | Kind::Unsupported => {
            let reason = reason_of(&error);
            end::finish(core, stored, Outcome::Failed { reason, exit: None }).await
        }
        _ if link.breaks_off() > HAND_OVER_WITHIN => {
            let reason = Reason::new(
                "handover_failed",
                format!("what the training needs cannot be handed over: {error}"),
            )
            .suggest("if the machine's disk is full, raise `resources.disk_gb` and clone the job");
            end::replace(core, stored, rental, reason).await
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

/// Tells the agent a deadline or an end of the money that was moved. It goes by them when nobody speaks to it.
pub(super) async fn tell_limits(core: &Arc<Core>, stored: &StoredJob) {
    let job = &stored.job;
    let (JobState::Running { .. } | JobState::Paused { .. }, Some(rental)) =
        (job.state(), job.state().rental())
    else {
        return;
    };
    let Ok(Some(link)) = Link::of(core, job, rental).await else { return };
    let now = core.clock.now();
    let ends = money::machine_ends_s(core, job, now);
    let (limit, end) = (job.limits().max_duration_s, end_at(core, ends));
    // A paused training's deadline is told when it goes on: its time does not count meanwhile.
    let runs = matches!(job.state(), JobState::Running { .. });
    if (!runs || link.knows_limit(limit)) && link.knows_end(end) {
        return;
    }
    let left = Duration::from_secs(limit.saturating_sub(job.ran_for_s(now)));
    let renewal = Renewal {
        lease: Duration::ZERO,
        deadline: runs.then_some(left),
        machine_ends: Some(ends.map_or(Duration::MAX, Duration::from_secs)),
    };
    match link.workload.renew(&renewal).await {
        Ok(()) => {
            link.told_end(end);
            if runs {
                link.told_limit(limit);
            }
        }
        Err(error) => {
            tracing::debug!(job_id = %job.id(), error = %error, "the limits could not be told; they are told again")
        }
    }
}

/// When the machine's money is used up, by our clock.
fn end_at(core: &Core, ends_s: Option<u64>) -> Option<Timestamp> {
    let ends = chrono::TimeDelta::seconds(i64::try_from(ends_s?).ok()?);
    core.clock.now().checked_add_signed(ends)
}

/// Tells the milestones that the progress has passed, each once. Says whether there was one to tell.
pub(super) async fn tell_milestones(core: &Arc<Core>, stored: &StoredJob) -> Result<bool, Error> {
    const MILESTONES: [(f64, NotificationKind, &str); 3] = [
        (0.25, NotificationKind::Progress25, "25 %"),
        (0.5, NotificationKind::Progress50, "50 %"),
        (0.75, NotificationKind::Progress75, "75 %"),
    ];
    let Some(fraction) = stored.progress.and_then(|progress| progress.fraction) else { return Ok(false) };
    let told = &stored.job.body().told;
    if !MILESTONES.iter().any(|(at, kind, _)| fraction >= *at && !told.contains(kind)) {
        return Ok(false);
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
    Ok(true)
}
