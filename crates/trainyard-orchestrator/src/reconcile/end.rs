//! Ends: of a job, of an attempt whose machine was lost, and of what an ended job still holds.

use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::{ConnectorError, ErrorKind as Kind, Termination};
use trainyard_domain::{
    Attempt, AttemptNumber, Exit, Fact, Job, JobState, Machine, NotificationKind, Phase, Reason, Rental,
    StopCause, Timestamp,
};
use trainyard_storage::StoredJob;

use super::commit::{Draft, StoredJobLite};
use super::plan::{Outcome, PAUSED};
use super::{boot, keep};
use crate::core::{Core, Provider};
use crate::{Error, checkpoints, money, release};

/// How often it is looked whether a last checkpoint is home; its end rings too.
pub(super) const LAST_POLL: Duration = Duration::from_millis(300);

/// The machine is lost: everything of it is cleared away first, then the next attempt may come.
pub(super) async fn replace(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    reason: Reason,
) -> Result<Option<Duration>, Error> {
    let reason = boot::explain(core, &stored, reason).await;
    let mut at = StoredJobLite { job: stored.job, version: stored.version };
    if at.job.body().phase != Some(Phase::Recovering) && at.job.body().started_at.is_some() {
        // Gone on with in this same look: the next one may see something else, as where an artifact is lost.
        let mut draft = at.draft(core.clock.now());
        draft.phase(Phase::Recovering);
        at = draft.commit(core).await?;
    }
    at = note_billing(core, at, rental.attempt).await?;
    let Some(removed) = remove(core, &at.job, rental).await? else {
        note_unneeded(core, at.draft(core.clock.now()), rental.attempt).await?;
        return Ok(Some(core.policy.look_every));
    };
    let mut draft = at.draft(core.clock.now());
    draft.job.set_attempt_end(rental.attempt, reason.clone());
    draft.apply(&Fact::Lost { attempt: rental.attempt })?;
    let next = rental.attempt.next();
    let message =
        format!("Attempt {}: {}. Attempt {next} follows, if one is left.", rental.attempt, reason.message);
    draft.tell_again(NotificationKind::MachineLost, "Machine lost", message);
    released(core, &mut draft, rental.attempt, &removed).await?;
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// The time, or the money, is over.
pub(super) async fn expire(
    core: &Arc<Core>,
    stored: StoredJob,
    cause: StopCause,
) -> Result<Option<Duration>, Error> {
    let mut draft = Draft::of(&stored, core.clock.now());
    if cause == StopCause::Budget {
        money::tell_over(core, &mut draft);
    }
    draft.job.stop_for(cause);
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// Ends the job. A stop is recorded once nothing of the training is left, so the machine goes first. Of a training
/// that ended by itself nothing is left, and the end is recorded first: its witness goes with the machine, and a crash
/// between the two must not make a failed training look like a lost machine, which is tried again.
pub(super) async fn finish(
    core: &Arc<Core>,
    stored: StoredJob,
    outcome: Outcome,
) -> Result<Option<Duration>, Error> {
    let outcome = match outcome {
        Outcome::Failed { reason, exit: None } => {
            Outcome::Failed { reason: boot::explain(core, &stored, reason).await, exit: None }
        }
        other => other,
    };
    let rental = stored.job.state().rental().cloned();
    let record_first = matches!(&outcome, Outcome::Failed { exit: Some(_), .. });
    let removed = match &rental {
        Some(rental) if !record_first => remove(core, &stored.job, rental).await?,
        _ => None,
    };
    let mut draft = Draft::of(&stored, core.clock.now());
    if matches!(draft.job.state(), JobState::Created { .. }) {
        // Cancelled before its submit was answered: through `initializing`, as every job.
        draft.apply(&Fact::Admitted)?;
    }
    let at = draft.now;
    let (fact, exit, reason) = match outcome {
        Outcome::Stopped { exit } => (Fact::Stopped { at }, exit, None),
        Outcome::Failed { reason, exit } => (Fact::Failed { at }, exit, Some(reason)),
    };
    note_end(&mut draft, exit, reason.as_ref());
    if reason.as_ref().is_some_and(|reason| reason.code == "budget_exceeded") {
        // Also where the machine's agent came before us.
        money::tell_over(core, &mut draft);
    }
    draft.apply(&fact)?;
    if record_first {
        keep::keep(core, &mut draft).await?;
    }
    announce(&mut draft, reason);
    if let (Some(rental), Some(removed)) = (&rental, removed) {
        released(core, &mut draft, rental.attempt, &removed).await?;
        if removed.is_gone() {
            draft.apply(&Fact::Returned { attempt: rental.attempt })?;
        }
    }
    let ended = draft.commit(core).await?;
    core.leave(ended.job.id());
    count_end(&ended);
    let again = if record_first { Duration::ZERO } else { Duration::from_millis(500) };
    Ok(ended.job.state().claim().map(|_| again))
}

fn note_end(draft: &mut Draft, exit: Option<Exit>, reason: Option<&Reason>) {
    let Some(attempt) = draft.job.attempt().map(|attempt| attempt.number) else { return };
    if let Some(exit) = exit {
        draft.job.set_exit(attempt, exit);
    }
    let reason = reason.cloned().unwrap_or_else(|| Reason::new("cancelled", "the job was cancelled"));
    if draft.job.attempt().is_some_and(|attempt| attempt.end.is_none()) {
        draft.job.set_attempt_end(attempt, reason);
    }
}

fn announce(draft: &mut Draft, reason: Option<Reason>) {
    match reason {
        None => draft.tell(
            NotificationKind::Cancelled,
            "Training stopped",
            "The job was cancelled; nothing of it runs.",
        ),
        Some(reason) => {
            let advice =
                reason.suggestion.as_deref().map(|s| format!(" What to do: {s}.")).unwrap_or_default();
            let kept = match (draft.job.limits().hold_on_failure_s, draft.job.state().rental()) {
                (_, Some(rental)) if draft.job.warm_until().is_some() => format!(
                    " Its machine `{}` is kept warm for {} s: submit the corrected job to it with `--machine`.",
                    rental.machine,
                    draft.job.spec().resources.keep_warm_s
                ),
                (0, _) | (_, None) => String::new(),
                (seconds, Some(_)) => format!(
                    " Its machine is kept for {seconds} s for a look; lower `limits.hold_on_failure_s` to give it back sooner."
                ),
            };
            let message = format!("{}.{advice}{kept}", reason.message);
            draft.tell(NotificationKind::Failed, "Training failed", message);
            draft.job.set_reason(Some(reason));
        }
    }
}

/// Pauses a job without a machine: its last checkpoint comes home first, where that is to be had.
pub(super) async fn park(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: Option<Rental>,
) -> Result<Option<Duration>, Error> {
    let mut removed = None;
    if let Some(rental) = &rental {
        if !checkpoints::last_is_home(core, &stored.job, rental) {
            return Ok(Some(LAST_POLL));
        }
        removed = remove(core, &stored.job, rental).await?;
        if removed.is_none() {
            return Ok(Some(core.policy.look_every));
        }
    }
    let mut draft = Draft::of(&stored, core.clock.now());
    if let Some(rental) = &rental {
        let message = "the job was paused with a checkpoint, and its machine given back";
        draft.job.set_attempt_end(rental.attempt, Reason::new(PAUSED, message));
    }
    draft.apply(&Fact::Parked)?;
    draft.job.set_reason(None);
    if let (Some(rental), Some(removed)) = (&rental, &removed) {
        released(core, &mut draft, rental.attempt, removed).await?;
    }
    draft.commit(core).await?;
    core.leave(stored.job.id());
    Ok(None)
}

/// Lets a job go on that was paused without a machine: the next attempt comes.
pub(super) async fn unpark(core: &Arc<Core>, stored: StoredJob) -> Result<Option<Duration>, Error> {
    let mut draft = Draft::of(&stored, core.clock.now());
    draft.apply(&Fact::Resumed)?;
    draft.phase(Phase::Recovering);
    draft.commit(core).await?;
    Ok(Some(Duration::ZERO))
}

/// Brings the last checkpoint of a failed training home, for who clones the job from it. Says whether that is over;
/// nothing waits for it where the training was not ended by itself or by a limit.
pub(super) fn bring_last(core: &Arc<Core>, stored: &StoredJob) -> bool {
    let job = &stored.job;
    let (JobState::Failed(_), Some(rental)) = (job.state(), job.state().rental()) else { return true };
    let ended = job.attempt().is_some_and(|attempt| attempt.exit.is_some());
    !ended || checkpoints::last_is_home(core, job, rental)
}

/// Gives back what an ended job still holds.
pub(super) async fn give_back(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
) -> Result<Option<Duration>, Error> {
    if !bring_last(core, &stored) {
        return Ok(Some(LAST_POLL));
    }
    if stored.job.warm_until().is_some() && ask_first(core, &stored, rental).await? {
        return Ok(Some(Duration::ZERO));
    }
    let Some(removed) = remove(core, &stored.job, rental).await? else {
        note_unneeded(core, Draft::of(&stored, core.clock.now()), rental.attempt).await?;
        return Ok(Some(core.policy.look_every));
    };
    let mut draft = Draft::of(&stored, core.clock.now());
    if !removed.is_gone() {
        // Noted once: what proves it gone is read after this moment. One to come is of a clock that was set back.
        let noted = core.machine_of(&stored.job, rental.attempt).await?;
        if noted.is_some_and(|machine| machine.release_asked_at.is_none_or(|at| at > draft.now)) {
            released(core, &mut draft, rental.attempt, &removed).await?;
            draft.commit(core).await?;
        }
        return Ok(Some(core.policy.look_every));
    }
    released(core, &mut draft, rental.attempt, &removed).await?;
    draft.apply(&Fact::Returned { attempt: rental.attempt })?;
    draft.commit(core).await?;
    if matches!(stored.job.state(), JobState::Completed(_)) {
        forget_kept(core, &stored).await;
    }
    Ok(None)
}

/// Notes what only this process knows of how a machine was billed, before its removal is asked for: after a crash between
/// the two there is nothing left to see of it.
async fn note_billing(
    core: &Arc<Core>,
    at: StoredJobLite,
    attempt: AttemptNumber,
) -> Result<StoredJobLite, Error> {
    let entry = core.machine_of(&at.job, attempt).await?;
    let Some(entry) = entry.filter(|entry| entry.release_asked_at.is_none()) else { return Ok(at) };
    let mut draft = at.draft(core.clock.now());
    let noted = money::at_release(core, &draft.job, attempt, entry.clone(), draft.now);
    if noted == entry {
        return Ok(at);
    }
    if let Some(from) = noted.billed_from {
        draft.job.set_billed_from(attempt, from);
    }
    draft.machine(noted);
    draft.commit(core).await
}

/// Its removal could not be asked for: from the first time on it costs against our will.
async fn note_unneeded(core: &Arc<Core>, mut draft: Draft, attempt: AttemptNumber) -> Result<(), Error> {
    let entry = core.machine_of(&draft.job, attempt).await?;
    if let Some(machine) = entry.filter(|m| m.unneeded_since.is_none() && m.release_asked_at.is_none()) {
        let unneeded_since = Some(draft.now);
        draft.machine(Machine { unneeded_since, ..machine });
        draft.commit(core).await?;
    }
    Ok(())
}

/// Notes that a machine that was kept warm is to go before anybody is asked: from then on no other job gets it. Says
/// whether that was still to be noted.
async fn ask_first(core: &Arc<Core>, stored: &StoredJob, rental: &Rental) -> Result<bool, Error> {
    let noted = core.machine_of(&stored.job, rental.attempt).await?;
    if noted.is_none_or(|machine| machine.release_asked_at.is_some()) {
        return Ok(false);
    }
    let mut draft = Draft::of(stored, core.clock.now());
    released(core, &mut draft, rental.attempt, &Removed::Underway).await?;
    draft.commit(core).await?;
    Ok(true)
}

/// What lies on the provider's side for a job's next attempt is of no use once the job is over.
async fn forget_kept(core: &Arc<Core>, stored: &StoredJob) {
    let Some(provider) = core.provider_of(&stored.job) else { return };
    if let Err(error) = provider.connector.forget(stored.job.id()).await {
        tracing::warn!(job_id = %stored.job.id(), error = %error, "what was kept for the job could not be removed");
    }
}

/// How far the removal of a machine is.
pub(super) enum Removed {
    /// Nothing of it is left.
    Gone { proof: String, billed_until: Option<Timestamp> },
    /// Accepted and under way.
    Underway,
}

impl Removed {
    fn is_gone(&self) -> bool {
        matches!(self, Removed::Gone { .. })
    }
}

/// Asks for a machine's removal. `None`: it could not be asked, and is tried again.
async fn remove(core: &Arc<Core>, job: &Job, rental: &Rental) -> Result<Option<Removed>, Error> {
    let attempt = job.attempts().iter().find(|attempt| attempt.number == rental.attempt);
    let (Some(provider), Some(attempt)) = (core.provider_of(job), attempt) else { return Ok(None) };
    if provider.costs() {
        return give_up(core, provider, job, attempt, rental).await;
    }
    match provider.connector.terminate(&attempt.order, &rental.machine).await {
        Ok(termination) => {
            core.unlink(&attempt.order);
            Ok(Some(match termination {
                Termination::Gone(proof) => Removed::Gone { proof, billed_until: None },
                Termination::Underway => Removed::Underway,
            }))
        }
        Err(error) => Ok(unasked(job, &error)),
    }
}

/// The removal of a rented machine: asked for, and asked again while it does not come true. Only listings prove it.
async fn give_up(
    core: &Arc<Core>,
    provider: &Provider,
    job: &Job,
    attempt: &Attempt,
    rental: &Rental,
) -> Result<Option<Removed>, Error> {
    provider.sightings.want(job.id());
    if let Some(entry) = core.machine_of(job, rental.attempt).await?
        && let Some(proof) = release::proof(core, provider, &entry)
    {
        core.unlink(&attempt.order);
        let entry = release::closed(entry, &proof, core.clock.now());
        return Ok(Some(Removed::Gone { proof: proof.text, billed_until: entry.billed_until }));
    }
    let asked = core.watching(&attempt.order, |watch| watch.release_asked);
    if asked.is_some_and(|at| at.elapsed() < core.policy.release_again) {
        return Ok(Some(Removed::Underway));
    }
    match provider.connector.terminate(&attempt.order, &rental.machine).await {
        Ok(_) => {}
        // The vendor does not know it: its listings will tell the same, or not.
        Err(error) if error.kind == Kind::NotFound => {}
        Err(error) => return Ok(unasked(job, &error)),
    }
    core.unlink(&attempt.order);
    core.watching(&attempt.order, |watch| watch.release_asked = Some(tokio::time::Instant::now()));
    Ok(Some(Removed::Underway))
}

fn unasked(job: &Job, error: &ConnectorError) -> Option<Removed> {
    tracing::warn!(job_id = %job.id(), error = %error, "giving a machine back failed; it is tried again");
    None
}

/// Records the removal in attempt and ledger.
async fn released(
    core: &Arc<Core>,
    draft: &mut Draft,
    attempt: AttemptNumber,
    removed: &Removed,
) -> Result<(), Error> {
    let Some(machine) = core.machine_of(&draft.job, attempt).await? else { return Ok(()) };
    let asked = machine.release_asked_at.filter(|at| *at <= draft.now).or(Some(draft.now));
    match removed {
        Removed::Underway => {
            let machine = money::at_release(core, &draft.job, attempt, machine, draft.now);
            if let (Some(from), [_]) = (machine.billed_from, machine.attempts.as_slice()) {
                draft.job.set_billed_from(attempt, from);
            }
            draft.machine(Machine { release_asked_at: asked, ..machine });
        }
        Removed::Gone { proof, billed_until } => {
            draft.job.set_gone(attempt, draft.now, *billed_until);
            draft.tell_again(
                NotificationKind::MachineReleased,
                "Machine released",
                format!("The machine of attempt {attempt} is gone: {proof}."),
            );
            let (gone_at, gone_proof) = (Some(draft.now), Some(proof.clone()));
            let billed_until = *billed_until;
            let ended = Machine { release_asked_at: asked, gone_at, gone_proof, billed_until, ..machine };
            let ended = money::at_end(core, &mut draft.job, attempt, ended);
            draft.machine(ended);
            money::learn(core, &draft.job, attempt);
        }
    }
    Ok(())
}

/// Counts an ended job.
pub(super) fn count_end(ended: &StoredJobLite) {
    let state = ended.job.state().name().as_str();
    metrics::counter!("trainyard_jobs_ended_total", "state" => state).increment(1);
}
