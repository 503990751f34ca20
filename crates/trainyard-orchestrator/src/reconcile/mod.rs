//! How a job is driven: one look loads the job, observes what it holds, plans one step and performs it. It takes no
//! other input than the job's id, and it is the same code after a crash as before it.

mod adopt;
mod boot;
mod collect;
mod commit;
mod end;
mod keep;
mod look;
mod order;
pub(crate) mod plan;
mod refuse;
mod settle;
mod train;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use trainyard_domain::JobId;
use trainyard_storage::{CommitError, StoredJob};

use crate::core::Core;
use crate::{Error, money};
use plan::{Bounds, Step, plan};

pub(crate) use commit::Draft;
pub(crate) use order::auto_providers;
pub(crate) use refuse::reason_of;

/// Takes keys from the queue and looks at their jobs, until the queue is closed.
pub(crate) async fn drive(core: Arc<Core>) {
    let permits = Arc::new(Semaphore::new(core.policy.reconcile_jobs_max));
    let mut looks = JoinSet::new();
    loop {
        while looks.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let Some(id) = core.queue.next().await else { break };
        let core = core.clone();
        looks.spawn(async move {
            let mut look = Look { next: Some(core.policy.look_every), core, id };
            look.next = reconcile(&look.core, &look.id).await;
            drop(look);
            drop(permit);
        });
    }
    // A look under way ends by itself; every commit is conditional, so one that is cut off harms nothing.
    looks.shutdown().await;
}

/// A look under way. However it ends, a panic included, its key is free again afterwards.
struct Look {
    core: Arc<Core>,
    id: JobId,
    next: Option<Duration>,
}

impl Drop for Look {
    fn drop(&mut self) {
        let queue = &self.core.queue;
        queue.done(&self.id);
        match self.next {
            Some(delay) if delay.is_zero() => queue.ring(&self.id),
            Some(delay) => queue.ring_after(&self.id, delay),
            None => {}
        }
    }
}

/// One look at a job, with at most one effect. Says when it wants the next one.
async fn reconcile(core: &Arc<Core>, id: &JobId) -> Option<Duration> {
    match step(core, id).await {
        Ok(next) => next,
        Err(error) => {
            if is_contention(&error) {
                return Some(Duration::ZERO);
            }
            tracing::warn!(job_id = %id, error = %error, detail = %error.detail_text(), "a look at a job failed");
            Some(core.policy.look_every)
        }
    }
}

async fn step(core: &Arc<Core>, id: &JobId) -> Result<Option<Duration>, Error> {
    let Some(stored) = core.storage.load(id).await? else {
        core.forget(id);
        return Ok(None);
    };
    let seen = look::look(core, &stored).await;
    let bounds = Bounds {
        attempts_max: stored.job.provider().and_then(|name| core.policy.attempts_max.get(name).copied()),
        look_every: look_every(core, &stored),
        boot_poll: core.boot_poll(&stored.job),
        cancel_grace_max: core.policy.cancel_grace_max,
        money: money::purse(core, &stored.job, core.clock.now()),
    };
    let step = plan(&stored.job, &seen, core.clock.now(), &bounds);
    tracing::trace!(job_id = %id, ?seen, ?step, "looked");
    perform(core, stored, step).await
}

/// How long a job goes unlooked at: on a rented machine the events of its agent ring for it.
fn look_every(core: &Core, stored: &StoredJob) -> Duration {
    match core.provider_of(&stored.job) {
        Some(provider) if provider.costs() => core.policy.cloud_look_every,
        Some(_) | None => core.policy.look_every,
    }
}

async fn perform(core: &Arc<Core>, stored: StoredJob, step: Step) -> Result<Option<Duration>, Error> {
    if money::note_up(core, &stored).await? {
        return Ok(Some(Duration::ZERO));
    }
    match step {
        Step::Rest => {
            core.leave(stored.job.id());
            Ok(None)
        }
        Step::Wait(delay) => {
            if boot::note(core, &stored).await? {
                return Ok(Some(Duration::ZERO));
            }
            train::tell_milestones(core, &stored).await?;
            if money::tell(core, &stored).await? {
                return Ok(Some(Duration::ZERO));
            }
            train::tell_limits(core, &stored).await;
            Ok(Some(delay))
        }
        Step::Order => order::order(core, stored).await,
        Step::Settle => settle::settle(core, stored).await,
        Step::Bring(rental) => train::bring(core, stored, rental).await,
        Step::Prepare(rental) => train::prepare(core, stored, rental).await,
        Step::NoteStarted { rental, at } => train::note_started(core, stored, &rental, at).await,
        Step::Stop { rental, grace } => train::stop(core, &stored, &rental, grace).await,
        Step::Pause(rental) => train::pause(core, stored, &rental).await,
        Step::Resume(rental) => train::resume(core, stored, &rental).await,
        Step::Park(rental) => end::park(core, stored, rental).await,
        Step::Unpark => end::unpark(core, stored).await,
        Step::Collect { rental, exit } => {
            // A short training may have passed them all since the last look.
            if train::tell_milestones(core, &stored).await? {
                return Ok(Some(Duration::ZERO));
            }
            collect::collect(core, stored, rental, exit).await
        }
        Step::Replace { rental, reason } => end::replace(core, stored, &rental, reason).await,
        Step::Expire(cause) => end::expire(core, stored, cause).await,
        Step::Finish(outcome) => end::finish(core, stored, outcome).await,
        Step::GiveBack(rental) => end::give_back(core, stored, &rental).await,
        Step::Hold { rental, left } => keep::hold(core, stored, &rental, left).await,
    }
}

fn is_contention(error: &Error) -> bool {
    let source = error.source.as_deref().and_then(|source| source.downcast_ref::<CommitError>());
    matches!(source, Some(CommitError::Stale(_)))
}
