//! Changing, cloning and forgetting jobs.

use std::sync::Arc;

use trainyard_domain::{Command, Job, JobId, JobSpec, Machine, Origin};

use super::submit::refused;
use super::{load, view};
use crate::core::{Core, Provider};
use crate::money::{Planned, SetAside};
use crate::reconcile::Draft;
use crate::{Error, JobPatch, JobView, Orchestrator, money};

impl Orchestrator {
    /// Changes labels and limits; limits also while it runs. What its machine may cost more then is set aside first; a
    /// limit that is lowered below what was spent stops the training.
    ///
    /// # Errors
    /// `invalid_spec` naming the field; `duration_ceiling`; `budget` where a budget has no room for more.
    pub async fn patch_job(&self, id: &JobId, patch: JobPatch) -> Result<JobView, Error> {
        let core = &self.core;
        loop {
            let stored = load(core, id).await?;
            let mut draft = Draft::of(&stored, core.clock.now());
            let limits = patch
                .limits
                .as_ref()
                .map_or_else(|| draft.job.limits().clone(), |p| p.onto(draft.job.limits()));
            let labels = patch.labels.clone().unwrap_or_else(|| draft.job.body().labels.clone());
            let changed = JobSpec { limits, labels, ..stored.job.spec().as_ref().clone() };
            changed.validate().map_err(|error| super::create::invalid(error).about(id))?;
            if patch.limits.is_some() {
                super::create::under_ceiling(core, &changed).map_err(|error| error.about(id))?;
                under_cloud_ceiling(core, &stored.job, &changed).map_err(|error| error.about(id))?;
            }
            let aside = set_aside(core, &mut draft, &changed).await.map_err(|error| error.about(id))?;
            draft.job.set_labels(changed.labels);
            draft.job.set_limits(changed.limits);
            let committed = draft.commit(core).await;
            drop(aside);
            match committed {
                Ok(_) => break,
                Err(error) if error.code == "contention" => {}
                Err(error) => return Err(error),
            }
        }
        core.queue.ring(id);
        self.job(id).await
    }

    /// Makes a new `created` job of the same specification, told where it came from.
    ///
    /// # Errors
    /// `no_checkpoint` where it is to start from a checkpoint and none is held; `job_exists`.
    pub async fn clone_job(
        &self,
        id: &JobId,
        new_id: Option<JobId>,
        from_checkpoint: bool,
    ) -> Result<JobView, Error> {
        let core = &self.core;
        if let Some(made) = self.done() {
            return self.job(made).await;
        }
        let stored = load(core, id).await?;
        if from_checkpoint && core.checkpoints.newest_good(id).await?.is_none() {
            return Err(Error::bad_request("no_checkpoint", "no checkpoint of the job is held")
                .detail("clone it without `from_checkpoint`")
                .about(id));
        }
        let new_id = new_id.unwrap_or_else(|| JobId::generate(core.clock.ulid()));
        let origin = Origin { job_id: id.clone(), from_checkpoint };
        let job = Job::new(new_id, stored.job.spec().as_ref().clone(), Some(origin), core.clock.now());
        let key = self.mark(job.id());
        let stored = core.storage.create_under(&job, &[], key.as_ref()).await?;
        if from_checkpoint {
            // Held for the new job too, so that the old one may be deleted; after a crash before this it is done when
            // the new one is handed its checkpoint.
            core.checkpoints.share(id, stored.job.id()).await?;
        }
        Ok(view(core, stored))
    }

    /// Forgets a `created` or ended job with its files; its machines stay on the ledger.
    ///
    /// # Errors
    /// 400 while it may hold a machine.
    pub async fn delete_job(&self, id: &JobId, keep_artifact: bool) -> Result<(), Error> {
        loop {
            let stored = load(&self.core, id).await?;
            stored.job.ask(&Command::Delete).map_err(|refusal| refused(id, &refusal))?;
            // A submit may have come between: then it is asked again.
            if self.core.storage.delete(id, Some(stored.version)).await? {
                return forget_files(&self.core, id, keep_artifact).await;
            }
        }
    }
}

/// Removes the files of a job whose row is gone; the row goes first, so that nothing refers to files that are gone.
pub(crate) async fn forget_files(core: &Arc<Core>, id: &JobId, keep_artifact: bool) -> Result<(), Error> {
    core.forget(id);
    core.logs.delete(id).await?;
    core.checkpoints.delete(id).await?;
    if !keep_artifact {
        core.artifacts.delete(id).await?;
    }
    for provider in core.providers.values() {
        if let Err(error) = provider.connector.forget(id).await {
            tracing::warn!(job_id = %id, error = %error, "what was kept for the job could not be removed");
        }
    }
    Ok(())
}

/// Whether the installation allows a rented machine that long.
fn under_cloud_ceiling(core: &Core, job: &Job, changed: &JobSpec) -> Result<(), Error> {
    let most = core.policy.cloud_max_duration_s;
    let rents = core.provider_of(job).is_some_and(Provider::costs);
    if rents && changed.limits.max_duration_s > most {
        let message = format!(
            "`limits.max_duration_s` is over this installation's ceiling of {most} seconds for rented machines"
        );
        return Err(Error::bad_request("duration_ceiling", message));
    }
    Ok(())
}

/// Sets aside what the machine that a job holds may cost under its new limits.
async fn set_aside(
    core: &Arc<Core>,
    draft: &mut Draft,
    changed: &JobSpec,
) -> Result<Option<SetAside>, Error> {
    let job = &draft.job;
    let held = job.attempt().filter(|attempt| attempt.gone_at.is_none() && !job.state().name().is_end());
    let Some(attempt) = held.filter(|_| changed.limits != *job.limits()) else { return Ok(None) };
    let Some(entry) = core.storage.machine(&attempt.order).await? else { return Ok(None) };
    let per_gb = attempt.offer.as_ref().and_then(|offer| offer.traffic_per_gb).unwrap_or_default();
    let planned = Planned {
        price_per_hour: attempt.price_per_hour,
        traffic_per_gb: per_gb,
        there: Some((&entry.order, entry.cost(draft.now))),
        limits: &changed.limits,
    };
    match money::set_aside(core, job, planned).await? {
        Ok(aside) => {
            draft.reserves(aside.read);
            draft.machine(Machine { reserved: aside.amount, ..entry });
            Ok(Some(aside))
        }
        Err(reason) => Err(Error::bad_request(&reason.code, reason.message.clone())
            .detail(reason.suggestion.as_deref().unwrap_or(&reason.message))),
    }
}
