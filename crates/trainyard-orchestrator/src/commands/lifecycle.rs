//! Cancel, pause, resume: a wish, then a bounded wait until it is true.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trainyard_domain::{Command, JobId, JobState, StateName};
use trainyard_storage::{KeyMark, StoredJob};

use super::submit::refused;
use super::{load, view};
use crate::core::Core;
use crate::reconcile::Draft;
use crate::{Cancelled, Error, ErrorKind, JobView, Orchestrator};

/// How a job is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseMode {
    /// SIGSTOP and SIGCONT: it keeps its memory and its slot.
    Signal,
    /// Checkpoint, stop, and continue from it later.
    Checkpoint,
}

/// How long pause and resume wait until they are true.
const SIGNAL_ANSWER: Duration = Duration::from_secs(10);
/// How long a pause with a checkpoint waits at most; it goes on after that.
const PARK_ANSWER_MAX: Duration = Duration::from_secs(55);

impl Orchestrator {
    /// Cancels a job and answers, within 30 s, when it is `stopped`, its processes are gone and no machine of it can
    /// still be billed; or says that the release is still being retried.
    ///
    /// # Errors
    /// 400 where nothing runs or it has ended; 500 where it could not be stopped in time (it is still being tried).
    pub async fn cancel(&self, id: &JobId) -> Result<Cancelled, Error> {
        let core = &self.core;
        if self.done().is_none() {
            wish(core, id, &Command::Cancel, self.mark(id)).await?;
        }
        let gone = |stored: &StoredJob| stored.job.state().name().is_end() && !stored.job.may_hold_machine();
        let stored = wait_until(core, id, core.policy.cancel_answer, gone).await?;
        match stored.job.state() {
            JobState::Stopped(_) => {
                let message = match stored.job.may_hold_machine() {
                    false => "Job cancelled successfully".to_owned(),
                    true => "Job cancelled; the machine's release is recorded and being retried until it is proven \
                                gone"
                        .to_owned(),
                };
                Ok(Cancelled { view: view(core, stored), message })
            }
            JobState::Completed(_) | JobState::Failed(_) => {
                Err(Error::bad_request("already_ended", format!("the job is {}", stored.job.state().name()))
                    .about(id))
            }
            _ => Err(Error::new(
                ErrorKind::Provider,
                "cancel_unfinished",
                "the job could not be stopped in time; it is still being tried",
            )
            .about(id)),
        }
    }

    /// Pauses a running job; answers when its processes stand still or, with a checkpoint, when its machine is given back.
    ///
    /// # Errors
    /// 400 where it does not run or cannot pause; 500 where it did not come true in time.
    pub async fn pause(&self, id: &JobId, mode: PauseMode) -> Result<JobView, Error> {
        match mode {
            PauseMode::Signal => self.signal(id, &Command::Pause, StateName::Paused, SIGNAL_ANSWER).await,
            PauseMode::Checkpoint => {
                let grace = load(&self.core, id).await?.job.limits().grace_period_s;
                let answer = Duration::from_secs(grace).saturating_add(SIGNAL_ANSWER).min(PARK_ANSWER_MAX);
                self.signal(id, &Command::Park, StateName::Paused, answer).await
            }
        }
    }

    /// Lets a paused job go on; answers when its processes run.
    ///
    /// # Errors
    /// 400 where it is not paused; 500 where it did not come true in time.
    pub async fn resume(&self, id: &JobId) -> Result<JobView, Error> {
        self.signal(id, &Command::Resume, StateName::Running, SIGNAL_ANSWER).await
    }

    async fn signal(
        &self,
        id: &JobId,
        command: &Command,
        wanted: StateName,
        answer: Duration,
    ) -> Result<JobView, Error> {
        let core = &self.core;
        if self.done().is_none() {
            wish(core, id, command, self.mark(id)).await?;
        }
        // One that stands still already is parked once its machine is gone.
        let is_wanted = |stored: &StoredJob| {
            let keeps = *command == Command::Park && stored.job.state().rental().is_some();
            stored.job.state().name() == wanted && !keeps
        };
        let there = |stored: &StoredJob| is_wanted(stored) || stored.job.state().name().is_end();
        let stored = wait_until(core, id, answer, there).await?;
        let state = stored.job.state().name();
        if is_wanted(&stored) {
            return Ok(view(core, stored));
        }
        if state.is_end() {
            return Err(Error::bad_request("already_ended", format!("the job is {state}")).about(id));
        }
        Err(Error::new(
            ErrorKind::Provider,
            "signal_unfinished",
            format!("the job is not {wanted} yet; it is still being tried"),
        )
        .about(id))
    }
}

/// Records a wish and rings.
async fn wish(core: &Arc<Core>, id: &JobId, command: &Command, key: Option<KeyMark>) -> Result<(), Error> {
    loop {
        let stored = load(core, id).await?;
        let mut draft = Draft::of(&stored, core.clock.now());
        if !draft.job.command(command).map_err(|refusal| refused(id, &refusal))? {
            break;
        }
        draft.key = key.clone();
        match draft.commit(core).await {
            Ok(_) => break,
            Err(error) if error.code == "contention" => {}
            Err(error) => return Err(error),
        }
    }
    core.queue.ring(id);
    Ok(())
}

/// Waits until something is true of the job, or the time is over; answers with the job as it then is.
async fn wait_until(
    core: &Arc<Core>,
    id: &JobId,
    wait: Duration,
    done: impl Fn(&StoredJob) -> bool,
) -> Result<StoredJob, Error> {
    let deadline = Instant::now() + wait;
    let mut bell = core.bells.listen(id);
    loop {
        bell.mark_unchanged();
        let stored = load(core, id).await?;
        if done(&stored) || tokio::time::timeout_at(deadline, bell.changed()).await.is_err() {
            return Ok(stored);
        }
    }
}
