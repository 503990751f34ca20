//! Retention: what is old, or too much, goes: telemetry, ended jobs, and their artifacts, logs and checkpoints.
//!
//! Only what belongs to jobs that have ended and hold nothing any more is dropped, the oldest first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use trainyard_domain::JobId;
use trainyard_storage::HeldFiles;

use crate::Error;
use crate::core::Core;
use crate::reconcile::Draft;

/// Rows that one round of retention takes at most, so that facts never wait for it.
const EXPIRE_ROWS: usize = 1000;

/// How long files of one kind are kept after their job has ended, and how much of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Older ones are dropped; none: they are kept with their job.
    pub age: Option<Duration>,
    /// Bytes of all jobs together, beyond which the oldest are dropped; none: no limit.
    pub bytes: Option<u64>,
}

/// What is kept of files.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Artifacts,
    Logs,
    Checkpoints,
}

/// One round; with `files` the files that are kept are looked through too.
pub(crate) async fn retain(core: &Arc<Core>, files: bool) -> Result<(), Error> {
    let now = core.clock.now();
    while core.storage.expire_telemetry(now - core.policy.telemetry_kept, EXPIRE_ROWS).await?
        >= EXPIRE_ROWS as u64
    {
        tokio::task::yield_now().await;
    }
    if let Some(kept) = core.policy.jobs_kept {
        for id in core.storage.ended_before(now - kept, EXPIRE_ROWS).await? {
            // One of whose machines any is still being given back stays until it is.
            let Some(stored) = core.storage.load(&id).await? else { continue };
            if !stored.job.may_hold_machine() && core.storage.delete(&id, Some(stored.version)).await? {
                crate::commands::forget_files(core, &id, false).await?;
            }
        }
    }
    let kinds = [
        (Kind::Artifacts, core.policy.artifacts_kept),
        (Kind::Logs, core.policy.logs_kept),
        (Kind::Checkpoints, core.policy.checkpoints_kept),
    ];
    for (kind, keep) in kinds.into_iter().filter(|_| files) {
        thin(core, kind, keep).await?;
    }
    core.inputs.expire((now - core.policy.inputs_kept).into()).await?;
    Ok(())
}

async fn thin(core: &Arc<Core>, kind: Kind, keep: Keep) -> Result<(), Error> {
    if keep == Keep::default() {
        return Ok(());
    }
    let held = match kind {
        Kind::Artifacts => core.artifacts.jobs().await?,
        Kind::Logs => core.logs.jobs().await?,
        Kind::Checkpoints => {
            let of = |held: trainyard_storage::JobCheckpoints| HeldFiles {
                job: held.job,
                bytes: held.size_bytes,
                newest: held.newest,
            };
            core.checkpoints.jobs().await?.into_iter().map(of).collect()
        }
    };
    let mut ended = Vec::new();
    let total = held.iter().map(|held| held.bytes).sum();
    for held in held {
        let stored = core.storage.load(&held.job).await?;
        let rests =
            stored.is_none_or(|stored| stored.job.state().name().is_end() && !stored.job.may_hold_machine());
        if rests {
            ended.push(held);
        }
    }
    for job in too_old_or_too_much(ended, total, keep, core.clock.now().into()) {
        tracing::info!(job_id = %job, ?kind, "files of an ended job are dropped, as the configuration says");
        match kind {
            Kind::Artifacts => drop_artifact(core, &job).await?,
            Kind::Logs => drop(core.logs.delete(&job).await?),
            Kind::Checkpoints => drop(core.checkpoints.delete(&job).await?),
        }
    }
    Ok(())
}

/// The record goes first, so that nothing refers to files that are gone.
async fn drop_artifact(core: &Arc<Core>, id: &JobId) -> Result<(), Error> {
    if let Some(stored) = core.storage.load(id).await?
        && stored.job.body().artifact.is_some()
    {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.job.set_artifact(None);
        draft.commit(core).await?;
    }
    core.artifacts.delete(id).await?;
    Ok(())
}

/// Of what ended jobs left, whose goes: the too old, then the oldest of the rest until all that is held, `total` bytes
/// with what jobs under way have, fits.
fn too_old_or_too_much(mut ended: Vec<HeldFiles>, mut total: u64, keep: Keep, now: SystemTime) -> Vec<JobId> {
    ended.sort_by(|one, other| (one.newest, &one.job).cmp(&(other.newest, &other.job)));
    let mut going = Vec::new();
    for held in ended {
        // A time in the future is none that is old.
        let age = now.duration_since(held.newest).unwrap_or_default();
        let old = keep.age.is_some_and(|most| age > most);
        let much = keep.bytes.is_some_and(|most| total > most);
        if old || much {
            total = total.saturating_sub(held.bytes);
            going.push(held.job);
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(job: &str, bytes: u64, at_s: u64) -> HeldFiles {
        let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(at_s);
        HeldFiles { job: job.parse().unwrap(), bytes, newest }
    }

    #[test]
    fn the_too_old_go_and_then_the_oldest_until_the_rest_fits() {
        let all =
            || vec![held("b", 10, 200), held("a", 10, 100), held("c", 10, 300), held("later", 10, 9_000)];
        let goes = |total, age: Option<u64>, bytes| {
            let keep = Keep { age: age.map(Duration::from_secs), bytes };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(400);
            let going = too_old_or_too_much(all(), total, keep, now);
            going.iter().map(JobId::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(goes(40, None, None), "");
        assert_eq!(goes(40, Some(200), None), "a");
        assert_eq!(goes(40, Some(199), None), "a b");
        assert_eq!(goes(40, None, Some(40)), "");
        assert_eq!(goes(40, None, Some(39)), "a");
        assert_eq!(goes(40, None, Some(20)), "a b");
        assert_eq!(goes(60, None, Some(20)), "a b c later", "what jobs under way have counts too");
        assert_eq!(goes(40, Some(200), Some(30)), "a", "what goes for its age makes room");
    }
}
