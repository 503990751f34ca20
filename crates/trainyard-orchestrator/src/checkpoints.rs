//! Bringing checkpoints home while trainings run, so that a lost machine costs minutes and not the run; and finding the
//! one that the next attempt continues from.
//!
//! One task for each link copies, and no look at a job waits for it. At most [`Policy::checkpoint_copies_max`] copies
//! are under way at once. What is copied is held on its machine meanwhile, and stands here only when every byte of
//! it has the digest that the machine made.
//!
//! [`Policy::checkpoint_copies_max`]: crate::Policy::checkpoint_copies_max

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use trainyard_connector::{
    CheckpointInfo, CheckpointManifest, ConnectorError, ErrorKind as Kind, HandOver, HandOverPurpose,
    InputSource,
};
use trainyard_domain::{ArtifactFile, AttemptNumber, Job, JobId, Rental, Resumed};
use trainyard_storage::{Checkpoint, CheckpointIngest, IngestError, StorageError};

use crate::core::{Core, Provider};
use crate::link::Link;

/// How long one question for the digests of a held checkpoint waits.
const HOLD_WAIT: Duration = Duration::from_secs(20);
/// Questions for them before a copy is given up: ten minutes of hashing.
const HOLD_TRIES: u32 = 30;
/// Copies of one checkpoint that may fail in a row before the next one is waited for.
const TRIES_MAX: u32 = 5;

/// Why a checkpoint is not home.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("the machine's agent did not give it")]
    Agent(#[from] ConnectorError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the job could not be read")]
    Job(#[from] crate::Error),
    #[error("it has {0} bytes, over the limit")]
    TooLarge(u64),
    #[error("its digests were not made in time")]
    NotHeld,
    #[error("`{0}` is not as long as the machine said")]
    Length(String),
}

/// Brings a job's checkpoints home, each time one is told and not more often than the job says, until the link is
/// dropped. To be spawned once for each link.
pub(crate) async fn keep(core: Arc<Core>, id: JobId, attempt: AttemptNumber, link: Weak<Link>) {
    let Some(told) = link.upgrade().map(|link| link.checkpoints_told()) else { return };
    let mut tries = 0;
    loop {
        if let Some(wait) = not_due_for(&core, &id).await {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = core.closed() => return,
            }
        }
        let Some(now) = link.upgrade() else { return };
        let brought = tokio::select! {
            brought = bring_newest(&core, &id, attempt, &now) => brought,
            () = core.closed() => return,
        };
        drop(now);
        let again = match brought {
            Ok(_) => {
                tries = 0;
                None
            }
            Err(error) => {
                tracing::warn!(
                    job_id = %id, error = %error, cause = ?std::error::Error::source(&error),
                    "a checkpoint could not be brought home"
                );
                tries += 1;
                (tries < TRIES_MAX).then(|| Duration::from_secs(1 << tries))
            }
        };
        tokio::select! {
            () = told.notified() => {}
            () = async { match again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            } } => {}
            () = core.closed() => return,
        }
    }
}

/// How long the next copy is still to wait for; none: it may begin.
async fn not_due_for(core: &Core, id: &JobId) -> Option<Duration> {
    let every = core.storage.load(id).await.ok()??.job.spec().checkpoints.every_s;
    let newest = core.checkpoints.list(id).await.ok()?.into_iter().next()?;
    let since = (core.clock.now() - newest.saved_at).to_std().unwrap_or_default();
    // A clock that was set back does not hold up the copies.
    Duration::from_secs(every).checked_sub(since).filter(|left| !left.is_zero())
}

/// Brings the newest complete checkpoint of a machine home, where it is not here. Says whether it was brought.
async fn bring_newest(
    core: &Arc<Core>,
    id: &JobId,
    attempt: AttemptNumber,
    link: &Link,
) -> Result<bool, CopyError> {
    let Some(newest) = link.workload.checkpoints().await?.pop() else { return Ok(false) };
    let held = core.checkpoints.list(id).await?.into_iter().next();
    if held.as_ref().is_some_and(|held| is_held(held, &newest)) {
        return Ok(false);
    }
    let _place = core.copies.acquire().await;
    let copied = copy(core, id, attempt, link, &newest, held.as_ref()).await;
    // Whatever came of it: links on the machine hold its disk.
    if let Err(error) = link.workload.release_checkpoint(&newest.path).await {
        tracing::debug!(job_id = %id, error = %error, "a checkpoint stays held on its machine");
    }
    copied
}

/// Whether that is the one that is here, as far as that can be told without its digests.
fn is_held(held: &Checkpoint, info: &CheckpointInfo) -> bool {
    info.step.is_some() && held.step == info.step && held.size_bytes() == info.size_bytes
}

async fn copy(
    core: &Arc<Core>,
    id: &JobId,
    attempt: AttemptNumber,
    link: &Link,
    info: &CheckpointInfo,
    held: Option<&Checkpoint>,
) -> Result<bool, CopyError> {
    let manifest = hold(link, info).await?;
    let total = manifest.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    if total > core.policy.artifact_bytes_max {
        return Err(CopyError::TooLarge(total));
    }
    let files = manifest.files.iter().map(|file| ArtifactFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        hash_sha256: file.sha256,
    });
    let checkpoint = Checkpoint {
        job: id.clone(),
        attempt,
        name: manifest.name.clone(),
        step: manifest.step,
        saved_at: core.clock.now(),
        files: files.collect(),
    };
    if held.is_some_and(|held| held.is_same(&checkpoint)) {
        return Ok(false);
    }
    let ingest = core.checkpoints.begin(id, checkpoint).await?;
    for file in ingest.missing().await? {
        let mut tries = 1;
        while let Err(error) = fetch(core, link, &ingest, &manifest.path, &file).await {
            let torn =
                matches!(error, CopyError::Ingest(IngestError::Mismatch { .. }) | CopyError::Length(_));
            if !torn || tries >= core.policy.artifact_tries_max {
                return Err(error);
            }
            tries += 1;
        }
    }
    let Some(stored) = core.storage.load(id).await.map_err(crate::Error::from)? else { return Ok(false) };
    let saved = ingest.commit(stored.job.spec().checkpoints.keep as usize).await?;
    metrics::counter!("trainyard_checkpoints_saved_total").increment(1);
    tracing::info!(job_id = %id, checkpoint = %saved.name, bytes = total, "a checkpoint is home");
    Ok(true)
}

async fn hold(link: &Link, info: &CheckpointInfo) -> Result<CheckpointManifest, CopyError> {
    for _ in 0..HOLD_TRIES {
        if let Some(manifest) = link.workload.hold_checkpoint(&info.path, HOLD_WAIT).await? {
            return Ok(manifest);
        }
    }
    Err(CopyError::NotHeld)
}

/// One file, in ranges. The next range is asked for while the last one is hashed and written.
async fn fetch(
    core: &Core,
    link: &Link,
    ingest: &CheckpointIngest,
    checkpoint: &str,
    file: &ArtifactFile,
) -> Result<(), CopyError> {
    let mut writer = ingest.file(file).await?;
    let mut offset = 0;
    let mut bytes = part(core, link, checkpoint, file, offset).await?;
    while !bytes.is_empty() {
        offset += bytes.len() as u64;
        let (next, written) = tokio::join!(part(core, link, checkpoint, file, offset), writer.write(bytes));
        written?;
        bytes = next?;
    }
    Ok(writer.finish().await?)
}

/// The next bytes of a file; none at its end.
async fn part(
    core: &Core,
    link: &Link,
    checkpoint: &str,
    file: &ArtifactFile,
    offset: u64,
) -> Result<Bytes, CopyError> {
    let wanted = core.policy.artifact_chunk_bytes.min(file.size_bytes - offset);
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    let bytes = link.workload.checkpoint_file(checkpoint, &file.path, offset, wanted).await?;
    link.hear();
    match bytes.is_empty() || bytes.len() as u64 > wanted {
        true => Err(CopyError::Length(file.path.clone())),
        false => Ok(bytes),
    }
}

/// Brings the last checkpoint of a training home that has ended, whatever the job's policy says. To be called until it
/// says `true`: it is home, there is none, or it cannot be had in time.
pub(crate) fn last_is_home(core: &Arc<Core>, job: &Job, rental: &Rental) -> bool {
    let Some(order) = job.attempt().filter(|attempt| attempt.number == rental.attempt).map(|a| &a.order)
    else {
        return true;
    };
    // Of an agent that this process never spoke to nothing is waited for.
    let known = crate::bells::lock(&core.links).get(order).cloned();
    let Some(link) = known.filter(|link| link.was_heard()) else { return true };
    link.last_checkpoint(core.policy.checkpoint_last_within, || {
        let (core, id, attempt, weak) =
            (core.clone(), job.id().clone(), rental.attempt, Arc::downgrade(&link));
        tokio::spawn(async move {
            let Some(link) = weak.upgrade() else { return };
            for _ in 0..TRIES_MAX {
                let brought = tokio::select! {
                    brought = bring_newest(&core, &id, attempt, &link) => brought,
                    () = core.closed() => return,
                };
                match brought {
                    Ok(_) => break,
                    Err(CopyError::Agent(error)) if error.kind == Kind::Unsupported => break,
                    Err(error) => {
                        tracing::warn!(job_id = %id, error = %error, "the last checkpoint is not home yet");
                    }
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            core.queue.ring(&id);
        })
    })
}

/// What a job's attempt continues from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Resume {
    /// What is noted of it.
    pub(crate) noted: Option<Resumed>,
    /// Files to hand over.
    pub(crate) inputs: Vec<(InputSource, HandOver)>,
}

/// The newest good checkpoint that the attempt continues from; empty where it begins anew, or where its machine kept
/// one by itself.
pub(crate) async fn to_resume(core: &Arc<Core>, job: &Job, rental: &Rental) -> Result<Resume, crate::Error> {
    let id = job.id();
    let before =
        job.attempts().iter().rev().find(|one| one.number != rental.attempt && one.started_at.is_some());
    let origin = job.body().origin.as_ref().filter(|origin| origin.from_checkpoint);
    let here = core.provider_of(job).is_some_and(|provider| !Provider::costs(provider));
    match before {
        // This machine keeps a job's checkpoints between its attempts, and newer ones than were copied.
        Some(before) if here && Some(&before.provider) == job.provider() => return Ok(Resume::default()),
        None if origin.is_none() => return Ok(Resume::default()),
        _ => {}
    }
    let mut newest = core.checkpoints.newest_good(id).await?;
    if newest.is_none()
        && before.is_none()
        && let Some(origin) = origin
    {
        newest = core.checkpoints.share(&origin.job_id, id).await?;
        if newest.is_none() {
            return Err(gone(origin.job_id.as_str()));
        }
    }
    let Some(checkpoint) = newest else { return Ok(Resume::default()) };
    let inputs = checkpoint.files.iter().map(|file| {
        let sha256 = file.hash_sha256;
        let purpose =
            HandOverPurpose::Checkpoint { checkpoint: checkpoint.name.clone(), path: file.path.clone() };
        let path = core.checkpoints.path(&sha256);
        (InputSource { sha256, size_bytes: file.size_bytes, path }, HandOver { sha256, purpose })
    });
    let inputs = inputs.collect();
    Ok(Resume { noted: Some(Resumed { checkpoint: checkpoint.name, step: checkpoint.step }), inputs })
}

/// A 400, since nothing that is tried again helps.
fn gone(origin: &str) -> crate::Error {
    let message = format!("no good checkpoint of the job `{origin}` is held any more");
    crate::Error::bad_request("no_checkpoint", message).detail("clone it without `from_checkpoint`")
}
