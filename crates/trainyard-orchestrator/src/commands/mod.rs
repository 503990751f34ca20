//! Commands: what users ask. They record wishes and read what is stored; none calls a provider.

mod artifact;
mod change;
mod create;
mod events;
mod inputs;
mod lifecycle;
mod overview;
mod secrets;
mod submit;
mod tokens;
mod validate;

pub(crate) use change::forget_files;
pub use inputs::InputStatus;
pub use lifecycle::PauseMode;
pub(crate) use tokens::TokenCache;
pub use tokens::{TokenCheck, create_token};

use std::sync::Arc;

use trainyard_domain::{JobId, Money};
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
    let cost = stored.job.attempts().iter().fold(Money::ZERO, |sum, attempt| {
        let (Some(price), Some(from)) = (attempt.price_per_hour, attempt.placed_at) else { return sum };
        let seconds = (attempt.gone_at.unwrap_or(now) - from).num_seconds().max(0).unsigned_abs();
        sum.plus(price.per_hour_for(seconds))
    });
    JobView {
        version: stored.version,
        seq: stored.seq,
        current_metrics: stored.current_metrics,
        progress: stored.progress,
        cost,
        job: stored.job,
    }
}
