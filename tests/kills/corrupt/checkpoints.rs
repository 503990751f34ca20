//! Checkpoints over a way that changes them, and on a disk that does: what a training goes on from is what was trained,
//! bit for bit, or an older one that is.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};
use trainyard_domain::{ArtifactFile, AttemptNumber, JobId, Sha256, Timestamp};
use trainyard_storage::{Checkpoint, DiskCheckpoints};

use super::copies::{NAME, STEP};
use super::depot::Depot;
use super::kinds::{Tally, turned};
use super::liar::{Files, Liars};
use super::transfers::{Round, left, none_accepted, orchestrator};
use super::wanted;
use crate::dice::Dice;

/// Corruptions of the suite's share, of each kind.
const SHARE: usize = 100;
/// Trainings at once, and lies about the checkpoint of each.
const ROUND: Round = Round { jobs: 10, manifests: 3, parts: 12 };
/// Longest wait for a checkpoint to be home.
const SOON: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_corruption_of_a_checkpoint_on_its_way_is_accepted() {
    let (mut dice, wanted) = (Dice::new("corrupted copies of checkpoints"), wanted(SHARE * 10) / 10);
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("checkpoints");
    let (liars, address) = Liars::serve(root.join("jobs"), Dice::new("corruptions")).await;
    let checkpoints = DiskCheckpoints::open(&root).await.expect("checkpoints");
    let orchestrator = orchestrator(directory.path(), Depot::new(address), checkpoints.clone()).await;
    let mut round = 0;
    while liars.told().0 < wanted {
        round += 1;
        let expect = |id: &JobId, story| liars.expect_copy(id, story);
        for (id, files) in ROUND.begin(round, &mut dice, &orchestrator, expect).await {
            let held = home(&checkpoints, &liars, &id).await;
            assert_eq!((held.name.as_str(), held.step), (NAME, Some(STEP)), "{id}");
            assert_eq!(stored(&checkpoints, &held), files, "what is stored of {id}");
            // It goes on no more: the others have the machine to themselves.
            orchestrator.cancel(&id).await.expect("cancelled");
        }
    }
    none_accepted("copies of checkpoints", &liars, orchestrator).await;
}

/// Waits until every lie was told and the checkpoint is home all the same.
async fn home(checkpoints: &DiskCheckpoints, liars: &Liars, id: &JobId) -> Checkpoint {
    let until = Instant::now() + SOON;
    loop {
        if let Some(held) = checkpoints.list(id).await.expect("listing").pop() {
            assert_eq!(liars.lies_left(id), 0, "{id} is home before the last lie");
            return held;
        }
        assert!(Instant::now() < until, "{id} is not home, {} lies are left", liars.lies_left(id));
        // waits: for the copy
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The bytes of a checkpoint as they stand here.
fn stored(checkpoints: &DiskCheckpoints, held: &Checkpoint) -> Files {
    let read = |file: &ArtifactFile| std::fs::read(checkpoints.path(&file.hash_sha256)).expect("a file");
    let mut files: Files = held.files.iter().map(|file| (file.path.clone(), read(file))).collect();
    files.sort();
    files
}

#[tokio::test]
async fn no_checkpoint_that_was_damaged_where_it_lies_is_gone_on_from() {
    let (mut dice, mut tally) = (Dice::new("damaged checkpoints"), Tally::default());
    let wanted = wanted(SHARE * 10) / 10;
    while tally.total() < wanted {
        let directory = tempfile::tempdir().expect("a directory");
        let checkpoints = DiskCheckpoints::open(directory.path()).await.expect("checkpoints");
        let id: JobId = "job".parse().expect("an id");
        let mut truth = Vec::new();
        for step in 0..1 + dice.below(3) {
            let files = left(&mut dice);
            bring(&checkpoints, &id, step, &files).await;
            truth.push((step, files));
        }
        for _ in 0..1 + dice.below(3) {
            if let Some(kind) = damage(&mut dice, directory.path()) {
                tally.count(kind);
            }
        }
        // As after a restart, half of the time.
        let checkpoints = match dice.below(2) {
            0 => checkpoints,
            _ => DiskCheckpoints::open(directory.path()).await.expect("checkpoints"),
        };
        let good = checkpoints.newest_good(&id).await.expect("looked");
        if let Some(good) = good {
            let known = truth.iter().find(|(step, _)| good.step == Some(*step)).expect("a step of it");
            assert_eq!(stored(&checkpoints, &good), known.1, "step {:?}", good.step);
        }
        // Whatever was damaged: the next one is taken and found.
        let files = left(&mut dice);
        bring(&checkpoints, &id, 9, &files).await;
        let next = checkpoints.newest_good(&id).await.expect("looked").expect("the one that came");
        assert_eq!((next.step, stored(&checkpoints, &next)), (Some(9), files));
    }
    let told = tally.tell();
    trainyard_tests::say(&format!(
        "{} checkpoints damaged where they lie, none gone on from: {told}",
        tally.total()
    ));
}

async fn bring(checkpoints: &DiskCheckpoints, id: &JobId, step: u64, files: &Files) {
    let digest = |bytes: &[u8]| Sha256::from_bytes(Hasher::digest(bytes).into());
    let file = |(path, bytes): &(String, Vec<u8>)| ArtifactFile {
        path: path.clone(),
        size_bytes: bytes.len() as u64,
        hash_sha256: digest(bytes),
    };
    let checkpoint = Checkpoint {
        job: id.clone(),
        attempt: AttemptNumber::FIRST,
        name: format!("checkpoint-{step}"),
        step: Some(step),
        saved_at: Timestamp::UNIX_EPOCH,
        files: files.iter().map(file).collect(),
    };
    let ingest = checkpoints.begin(id, checkpoint).await.expect("begun");
    for file in ingest.missing().await.expect("looked") {
        let (_, bytes) = files.iter().find(|(_, bytes)| digest(bytes) == file.hash_sha256).expect("a file");
        let mut writer = ingest.file(&file).await.expect("begun");
        writer.write(Bytes::copy_from_slice(bytes)).await.expect("written");
        writer.finish().await.expect("taken");
    }
    ingest.commit(10).await.expect("shown");
}

/// Damages one file of the store, by chance; says how. None where nothing is left there.
fn damage(dice: &mut Dice, root: &Path) -> Option<&'static str> {
    let (of, kinds) = match dice.below(3) {
        0 => (
            "jobs/job",
            ["record: a bit is turned", "record: cut short", "record: gone", "record: another's"],
        ),
        _ => ("blobs", ["file: a bit is turned", "file: cut short", "file: gone", "file: another's"]),
    };
    let mut all: Vec<_> =
        std::fs::read_dir(root.join(of)).expect("a directory").flatten().map(|entry| entry.path()).collect();
    all.sort();
    if all.is_empty() {
        return None;
    }
    let (victim, other) = (dice.below(all.len() as u64) as usize, dice.below(all.len() as u64) as usize);
    let bytes = std::fs::read(&all[victim]).expect("a file");
    let kind = dice.below(4) as usize;
    let result = match kind {
        0 if !bytes.is_empty() => std::fs::write(&all[victim], turned(dice, bytes)),
        1 if !bytes.is_empty() => std::fs::write(&all[victim], &bytes[..bytes.len() / 2]),
        3 => std::fs::copy(&all[other], &all[victim]).map(drop),
        _ => std::fs::remove_file(&all[victim]),
    };
    result.expect("damaged");
    Some(kinds[kind])
}
