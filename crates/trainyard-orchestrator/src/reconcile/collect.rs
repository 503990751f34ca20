//! Bringing the artifact home: every file is compared with the digest that the machine made, and only when all of
//! them are stored is the job `completed`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trainyard_connector::{ConnectorError, ErrorKind as Kind, Manifest};
use trainyard_domain::{
    ArtifactFile, ArtifactRecord, Exit, Fact, JobState, NotificationKind, Phase, Reason, Rental, Wish,
};
use trainyard_storage::{IngestError, StoredJob};

use super::commit::{Draft, StoredJobLite};
use super::train::until_unwanted;
use super::{end, is_contention, keep};
use crate::core::Core;
use crate::link::Link;
use crate::{Error, ErrorKind};

/// How long one look waits for the machine's digests.
const MANIFEST_WAIT: Duration = Duration::from_secs(20);

/// Why the artifact is not home.
enum Broken {
    /// A file never matched its digest, or what the machine offers cannot be taken.
    Lost(String),
    /// The agent did not answer: the next look judges it.
    Silent(ConnectorError),
    /// Our own disk.
    Ours(Error),
}

/// Brings the artifact home and completes the job.
pub(super) async fn collect(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: Rental,
    exit: Exit,
) -> Result<Option<Duration>, Error> {
    if matches!(stored.job.state(), JobState::Paused { .. }) {
        // It ended all the same: the pause came too late, or somebody on its machine let it go on.
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.apply(&Fact::Resumed)?;
        draft.commit(core).await?;
        return Ok(Some(Duration::ZERO));
    }
    let Ok(Some(link)) = Link::of(core, &stored.job, &rental).await else {
        return Ok(Some(core.policy.look_every));
    };
    let manifest = match link.workload.manifest(Duration::ZERO).await {
        Ok(Some(manifest)) => manifest,
        // The agent answers that it cannot: asking again gives the same.
        Err(error) if error.kind == Kind::Internal => {
            return lost(core, stored, &rental, &error.to_string()).await;
        }
        Ok(None) | Err(_) => return collecting(core, stored, &link).await,
    };
    let mut at = StoredJobLite { job: stored.job.clone(), version: stored.version };
    if !manifest.files.is_empty() && at.job.body().phase != Some(Phase::Collecting) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.phase(Phase::Collecting);
        at = draft.commit(core).await?;
    }
    let brought = tokio::select! {
        brought = bring_home(core, &at, &link, &manifest, &rental) => brought,
        () = until_unwanted(core, at.job.id()) => return Ok(Some(Duration::ZERO)),
    };
    match brought {
        Ok(record) => complete(core, at, record, &rental, exit, &manifest).await,
        Err(Broken::Silent(error)) => {
            tracing::warn!(job_id = %at.job.id(), error = %error, "fetching the artifact broke off");
            Ok(Some(core.policy.look_every / 2))
        }
        Err(Broken::Ours(error)) => Err(error),
        Err(Broken::Lost(why)) => {
            let Some(stored) = core.storage.load(at.job.id()).await? else { return Ok(None) };
            lost(core, stored, &rental, &why).await
        }
    }
}

/// It cannot be brought home: the next attempt, if one is left, makes it anew.
async fn lost(
    core: &Arc<Core>,
    stored: StoredJob,
    rental: &Rental,
    why: &str,
) -> Result<Option<Duration>, Error> {
    let reason = Reason::new("artifact_lost", format!("the artifact could not be brought home: {why}"));
    end::replace(core, stored, rental, reason).await
}

/// The machine is still hashing: said as a phase, and waited for.
async fn collecting(core: &Arc<Core>, stored: StoredJob, link: &Link) -> Result<Option<Duration>, Error> {
    if stored.job.body().phase != Some(Phase::Collecting) {
        let mut draft = Draft::of(&stored, core.clock.now());
        draft.phase(Phase::Collecting);
        draft.commit(core).await?;
    }
    let made = tokio::select! {
        made = link.workload.manifest(MANIFEST_WAIT) => made,
        () = until_unwanted(core, stored.job.id()) => return Ok(Some(Duration::ZERO)),
    };
    match made {
        Ok(_) => Ok(Some(Duration::ZERO)),
        Err(error) => {
            tracing::warn!(job_id = %stored.job.id(), error = %error, "the machine's digests could not be read");
            Ok(Some(core.policy.look_every / 2))
        }
    }
}

async fn bring_home(
    core: &Arc<Core>,
    at: &StoredJobLite,
    link: &Link,
    manifest: &Manifest,
    rental: &Rental,
) -> Result<Option<ArtifactRecord>, Broken> {
    if manifest.attempt != rental.attempt {
        return Err(Broken::Lost("the machine offers the files of another attempt".to_owned()));
    }
    let total: u64 = manifest.files.iter().map(|file| file.size_bytes).sum();
    if total > core.policy.artifact_bytes_max {
        return Err(Broken::Lost(format!("it has {total} bytes, over the limit")));
    }
    let files: Vec<ArtifactFile> = manifest
        .files
        .iter()
        .map(|f| ArtifactFile { path: f.path.clone(), size_bytes: f.size_bytes, hash_sha256: f.sha256 })
        .collect();
    let Some(main) = ArtifactRecord::choose_main(&files, at.job.spec().outputs.main.as_deref()) else {
        return Ok(None);
    };
    let ingest = core.artifacts.begin(at.job.id(), rental.attempt).await.map_err(ours)?;
    for file in &files {
        let mut tries = 1;
        while let Err(error) = fetch(core, link, &ingest, file).await {
            match error {
                Broken::Lost(why) if tries < core.policy.artifact_tries_max => {
                    tracing::warn!(job_id = %at.job.id(), file = %file.path, why, "a file is fetched again");
                    tries += 1;
                }
                error => return Err(error),
            }
        }
    }
    ingest.commit(&files).await.map_err(ours)?;
    Ok(Some(ArtifactRecord {
        files,
        main,
        created_at: core.clock.now(),
        attempt: rental.attempt,
        provider: at
            .job
            .provider()
            .cloned()
            .ok_or_else(|| Broken::Lost("it was submitted to nobody".to_owned()))?,
        provider_job_id: Some(rental.machine.clone()),
    }))
}

/// One file, in ranges. The next range is asked for while the last one is hashed and written.
async fn fetch(
    core: &Arc<Core>,
    link: &Link,
    ingest: &trainyard_storage::Ingest,
    file: &ArtifactFile,
) -> Result<(), Broken> {
    let mut writer = ingest.file(&file.path, file.hash_sha256, file.size_bytes).await.map_err(judge)?;
    let mut offset = 0;
    let mut bytes = part(core, link, file, offset).await?;
    while !bytes.is_empty() {
        offset += bytes.len() as u64;
        let (next, written) = tokio::join!(part(core, link, file, offset), writer.write(bytes));
        written.map_err(judge)?;
        bytes = next?;
    }
    writer.finish().await.map(|_| ()).map_err(judge)
}

/// The next bytes of a file; none at its end.
async fn part(core: &Core, link: &Link, file: &ArtifactFile, offset: u64) -> Result<Bytes, Broken> {
    let wanted = core.policy.artifact_chunk_bytes.min(file.size_bytes - offset);
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    let bytes = link.workload.file(&file.path, offset, wanted).await.map_err(unfetched)?;
    link.hear();
    if bytes.is_empty() || bytes.len() as u64 > wanted {
        return Err(Broken::Lost(format!("`{}` is not as long as the machine said", file.path)));
    }
    Ok(bytes)
}

fn unfetched(error: ConnectorError) -> Broken {
    match error.kind {
        Kind::NotFound | Kind::Mismatch | Kind::Invalid | Kind::Internal => Broken::Lost(error.to_string()),
        _ => Broken::Silent(error),
    }
}

fn judge(error: IngestError) -> Broken {
    match error {
        IngestError::Io { .. } => ours(error),
        // Not what the machine promised, or a name that must not be written: never stored under its name.
        other => Broken::Lost(other.to_string()),
    }
}

fn ours(error: IngestError) -> Broken {
    Broken::Ours(
        Error::new(ErrorKind::Unavailable, "artifact_storage", "the artifact could not be stored here")
            .because(error),
    )
}

/// The artifact is home: the job is completed, then its machine given back. Where a label or a limit was changed
/// meanwhile, what is home stays home.
async fn complete(
    core: &Arc<Core>,
    mut at: StoredJobLite,
    record: Option<ArtifactRecord>,
    rental: &Rental,
    exit: Exit,
    manifest: &Manifest,
) -> Result<Option<Duration>, Error> {
    let message = match &record {
        Some(record) => {
            let bytes: u64 = record.files.iter().map(|file| file.size_bytes).sum();
            let count = record.files.len();
            format!(
                "Your model training has finished successfully. {count} files, {bytes} bytes, are home and verified."
            )
        }
        None if manifest.skipped.is_empty() => {
            "Your model training has finished successfully. It left no output.".to_owned()
        }
        None => format!(
            "Your model training has finished successfully. Nothing it left could be taken: {}.",
            manifest.skipped.join("; ")
        ),
    };
    let ended = loop {
        let mut draft = at.draft(core.clock.now());
        draft.job.set_exit(rental.attempt, exit.clone());
        draft.job.set_artifact(record.clone());
        let now = draft.now;
        draft.apply(&Fact::Completed { at: now })?;
        keep::keep(core, &mut draft).await?;
        draft.tell(NotificationKind::Completed, "Training Complete!", message.clone());
        match draft.commit(core).await {
            Ok(ended) => break ended,
            Err(error) if is_contention(&error) => {}
            Err(error) => return Err(error),
        }
        let Some(now) = core.storage.load(at.job.id()).await? else { return Ok(None) };
        if now.job.state().rental() != Some(rental) || matches!(now.job.wish(), Wish::Stop(_)) {
            return Ok(Some(Duration::ZERO));
        }
        at = StoredJobLite { job: now.job, version: now.version };
    };
    end::count_end(&ended);
    Ok(Some(Duration::ZERO))
}
