//! Creating and listing jobs.

use trainyard_domain::{InvalidSpec, Job, JobId, JobSpec};
use trainyard_storage::{JobFilter, JobPage, ListPage};

use super::{load, view};
use crate::core::Core;
use crate::{Error, JobView, Orchestrator};

impl Orchestrator {
    /// Creates a job. Nothing is started and nothing asked of anybody.
    ///
    /// # Errors
    /// `invalid_spec` naming every wrong field; `job_exists`.
    pub async fn create_job(&self, id: Option<JobId>, spec: JobSpec) -> Result<JobView, Error> {
        if let Some(made) = self.done() {
            return self.job(made).await;
        }
        spec.validate().map_err(invalid)?;
        under_ceiling(&self.core, &spec)?;
        let id = id.unwrap_or_else(|| JobId::generate(self.core.clock.ulid()));
        let job = Job::new(id, spec, None, self.core.clock.now());
        let key = self.mark(job.id());
        let stored = self.core.storage.create_under(&job, &[], key.as_ref()).await?;
        Ok(view(&self.core, stored))
    }

    /// One job.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn job(&self, id: &JobId) -> Result<JobView, Error> {
        Ok(view(&self.core, load(&self.core, id).await?))
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn list(&self, filter: &JobFilter, page: ListPage) -> Result<JobPage, Error> {
        Ok(self.core.storage.list(filter, page).await?)
    }

    /// The newest thousand jobs, as the specification's `orchestrator.list_jobs()`.
    ///
    /// # Errors
    /// Where storage fails.
    pub async fn list_jobs(&self) -> Result<JobPage, Error> {
        self.list(&JobFilter::default(), ListPage { limit: 1000, before: None }).await
    }
}

/// Whether the installation allows a job that long.
pub(super) fn under_ceiling(core: &Core, spec: &JobSpec) -> Result<(), Error> {
    match core.policy.max_duration_s {
        Some(most) if spec.limits.max_duration_s > most => Err(Error::bad_request(
            "invalid_spec",
            format!("`limits.max_duration_s` is over this installation's ceiling of {most} seconds"),
        )),
        _ => Ok(()),
    }
}

/// A specification's errors as one error.
pub(crate) fn invalid(error: InvalidSpec) -> Error {
    let first = error.errors.first();
    let message = first.map_or_else(
        || "the specification is not valid".to_owned(),
        |f| format!("`{}` {}", f.field, f.message),
    );
    Error::bad_request("invalid_spec", message).detail(error.to_string())
}
