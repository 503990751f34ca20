//! Commands: what users ask. They record wishes and read what is stored; none calls a provider.

mod artifact;
mod beside;
mod change;
mod check;
mod create;
mod events;
mod fit;
mod inputs;
mod keyed;
mod lifecycle;
mod offers;
mod overview;
mod secrets;
mod submit;
mod tokens;
mod validate;
mod warm;

pub(crate) use change::forget_files;
pub use check::ProviderCheck;
pub use inputs::InputStatus;
pub use keyed::{KeyTaken, Keyed};
pub use lifecycle::PauseMode;
pub(crate) use tokens::TokenCache;
pub use tokens::{TokenCheck, create_token};

use std::sync::Arc;

use trainyard_domain::{Job, JobId, Timestamp};
use trainyard_storage::StoredJob;

use crate::core::Core;
use crate::{Error, JobView};

/// Loads a job, or says that there is none.
pub(crate) async fn load(core: &Arc<Core>, id: &JobId) -> Result<StoredJob, Error> {
    core.storage.load(id).await?.ok_or_else(|| Error::no_job(id))
}

/// What is shown of a stored job.
pub(crate) fn view(core: &Core, stored: StoredJob) -> JobView {
    let now = core.clock.now();
    JobView {
        version: stored.version,
        seq: stored.seq,
        current_metrics: stored.current_metrics,
        progress: stored.progress,
        cost: stored.job.cost(now),
        useful_share: useful_share(&stored.job, now),
        job: stored.job,
    }
}

/// Which share of the time that machines were billed was training.
fn useful_share(job: &Job, now: Timestamp) -> Option<f64> {
    let paid = || job.attempts().iter().filter(|attempt| attempt.price_per_hour.is_some());
    let billed: u64 = paid().map(|attempt| attempt.billed_s(now)).sum();
    let trained: u64 =
        paid().filter(|attempt| attempt.was_rented()).map(|attempt| attempt.trained_s(now)).sum();
    (billed > 0).then(|| (trained as f64 / billed as f64).min(1.0))
}
