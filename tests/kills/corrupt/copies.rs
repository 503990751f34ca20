//! Liars that train on: what they say of a checkpoint, and what they hand out of it while it is copied.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256 as Hasher};
use trainyard_connector::{
    AgentEvent, AgentEventBody, CheckpointInfo, CheckpointManifest, EventBatch, ManifestFile,
};
use trainyard_domain::{JobId, Sha256};

use super::kinds::{self, Others, Wire};
use super::liar::{Liars, Shared, Story, told};

/// The one checkpoint of each.
pub(super) const NAME: &str = "checkpoint-7";
pub(super) const STEP: u64 = 7;

impl Liars {
    /// The agent of that job trains on, and its checkpoint is to be copied.
    pub(super) fn expect_copy(&self, job: &JobId, story: Story) {
        self.shared().copies.insert(job.clone(), story);
    }

    /// Lies that are still to be told about a job's checkpoint.
    pub(super) fn lies_left(&self, job: &JobId) -> usize {
        self.shared().copies.get(job).map_or(0, |story| story.manifests + story.parts)
    }

    /// It trains no more.
    pub(super) fn stop(&self, order: &str) -> Wire {
        let mut shared = self.shared();
        if let Some((job, _, _)) = shared.started.get(order).cloned() {
            shared.copies.remove(&job);
        }
        told(&Value::Object(serde_json::Map::new()))
    }

    pub(super) fn trains(&self, order: &str) -> bool {
        let shared = self.shared();
        shared.started.get(order).is_some_and(|(job, _, _)| shared.copies.contains_key(job))
    }

    /// A checkpoint is told again and again, so that copying it begins anew at once, whatever came of it.
    pub(super) async fn events_of_running(&self, order: &str, after: u64) -> Wire {
        let started = self.shared().started.get(order).cloned();
        let (job, _, at) = started.expect("it was started");
        if after > 0 {
            // waits: as an agent's long poll does; it need not tell more once it told the truth
            let wait = if self.lies_left(&job) > 0 { 5 } else { 200 };
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let body = match (after, info(&self.shared(), order)) {
            (0, _) | (_, None) => AgentEventBody::Started,
            (_, Some(info)) => AgentEventBody::Checkpoint(info),
        };
        let events = vec![AgentEvent { n: after + 1, at, body }];
        told(&EventBatch { boot_id: order.to_owned(), events, last: after + 1 })
    }

    pub(super) fn checkpoints(&self, order: &str) -> Wire {
        told(&info(&self.shared(), order).into_iter().collect::<Vec<_>>())
    }

    /// The digests of what is held.
    pub(super) fn held(&self, order: &str) -> Wire {
        let mut shared = self.shared();
        let Some((job, story)) = story(&shared, order) else { return told(&Value::Null) };
        let file = |(path, bytes): &(String, Vec<u8>)| ManifestFile {
            path: path.clone(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256::from_bytes(Hasher::digest(bytes).into()),
        };
        let files = story.files.iter().map(file).collect();
        let wire = told(&CheckpointManifest {
            path: NAME.to_owned(),
            name: NAME.to_owned(),
            step: Some(STEP),
            files,
        });
        if story.manifests == 0 {
            return wire;
        }
        self.lie(&mut shared, &job, |story| story.manifests -= 1);
        let Shared { dice, tally, .. } = &mut *shared;
        let (kind, wire) = kinds::of_manifest(dice, wire);
        tally.count(kind);
        wire
    }

    /// A range of a file of it.
    pub(super) fn copied(&self, order: &str, path: &str, offset: usize, limit: usize) -> Wire {
        let mut shared = self.shared();
        let Some((job, story)) = story(&shared, order) else { return told(&Value::Null) };
        let Some(at) = story.files.iter().position(|(known, _)| known == path) else {
            return Wire { status: "404 Not Found", ..told(&Value::Null) };
        };
        let file = &story.files[at].1;
        let end = offset.saturating_add(limit).min(file.len());
        let wire = Wire::of("application/octet-stream", file[offset.min(end)..end].to_vec());
        if story.parts == 0 || wire.body.is_empty() {
            return wire;
        }
        self.lie(&mut shared, &job, |story| story.parts -= 1);
        let another = &story.files[(at + 1) % story.files.len()].1;
        let others = Others { file, another, older: &story.older[at].1, offset };
        let Shared { dice, tally, .. } = &mut *shared;
        let (kind, wire) = kinds::of_part(dice, wire, &others);
        tally.count(kind);
        wire
    }

    /// One lie fewer, before which nothing may be shown.
    fn lie(&self, shared: &mut Shared, job: &JobId, take: impl FnOnce(&mut Story)) {
        let early = self.shown.join(job.as_str()).exists();
        shared.early.extend(early.then(|| job.clone()));
        take(shared.copies.get_mut(job).expect("a story"));
    }
}

/// Of an agent that trains; none where it was stopped.
fn story(shared: &Shared, order: &str) -> Option<(JobId, Story)> {
    let (job, _, _) = shared.started.get(order)?;
    Some((job.clone(), shared.copies.get(job)?.clone()))
}

fn info(shared: &Shared, order: &str) -> Option<CheckpointInfo> {
    let (_, story) = story(shared, order)?;
    let size_bytes = story.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    Some(CheckpointInfo { path: NAME.to_owned(), step: Some(STEP), size_bytes })
}
