//! Artifacts that come over a way that changes them: what is accepted is what the machine made, bit for bit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::Connector;
use trainyard_domain::{JobId, JobSpec, StateName};
use trainyard_orchestrator::{Installation, Orchestrator, Parts, Policy, SystemClock};
use trainyard_storage::{DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles, SqliteStorage};

use super::depot::Depot;
use super::liar::{Files, Liars, Story};
use super::wanted;
use crate::dice::Dice;

/// Corruptions of the suite's share.
const SHARE: usize = 1000;
/// Jobs at once.
const AT_ONCE: usize = 24;
/// Corrupted manifests of one job. Some end an attempt, of which there are twenty.
const MANIFESTS: u64 = 12;
/// Corrupted parts of one job.
const PARTS: u64 = 90;
/// Longest wait for a job.
const SOON: Duration = Duration::from_secs(120);

#[test]
fn no_corruption_of_a_transfer_or_a_manifest_is_accepted() {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(corrupt(wanted(SHARE)));
}

async fn corrupt(wanted: usize) {
    let mut dice = Dice::new("corrupted transfers");
    let directory = tempfile::tempdir().expect("a directory");
    let artifacts = directory.path().join("artifacts");
    let (liars, address) = Liars::serve(artifacts.clone(), Dice::new("corruptions")).await;
    let checkpoints = DiskCheckpoints::open(directory.path().join("checkpoints")).await.expect("checkpoints");
    let orchestrator = orchestrator(directory.path(), Depot::new(address), checkpoints).await;
    let mut round = 0;
    while liars.told().0 < wanted {
        round += 1;
        let mut jobs = Vec::new();
        for n in 0..AT_ONCE {
            let id: JobId = format!("job-{round}-{n}").parse().expect("an id");
            let (files, older) = (left(&mut dice), left(&mut dice));
            let (manifests, parts) = (dice.below(MANIFESTS) as usize, dice.below(PARTS) as usize);
            liars.expect(&id, Story { files: files.clone(), older, manifests, parts });
            submit(&orchestrator, &id).await;
            jobs.push((id, files));
        }
        for (id, files) in jobs {
            ended(&orchestrator, &id).await;
            assert_eq!(stored(&artifacts.join(id.as_str())), files, "what is stored of {id}");
        }
    }
    let (total, kinds, early) = liars.told();
    assert!(early.is_empty(), "shown before they were verified: {early:?}");
    trainyard_tests::say(&format!("{total} corruptions of transfers and manifests, none accepted: {kinds}"));
    orchestrator.shutdown(Duration::from_secs(5)).await;
}

/// What a training leaves: a few small files, one of them empty.
pub(super) fn left(dice: &mut Dice) -> Files {
    let mut bytes = |most: u64| -> Vec<u8> {
        (0..1 + dice.below(most)).map(|_| u8::try_from(dice.below(256)).unwrap_or(0)).collect()
    };
    let mut files = vec![
        ("adapter_config.json".to_owned(), bytes(300)),
        ("adapter_model.safetensors".to_owned(), bytes(3000)),
        ("empty.txt".to_owned(), Vec::new()),
        ("sub/tokenizer.json".to_owned(), bytes(900)),
    ];
    files.sort();
    files
}

pub(super) async fn orchestrator(
    directory: &Path,
    depot: Depot,
    checkpoints: DiskCheckpoints,
) -> Orchestrator {
    let at = |name: &str| directory.join(name);
    let ms = Duration::from_millis;
    let policy = Policy {
        look_every: ms(4),
        boot_poll: ms(1),
        // A file is asked for until it comes as it is: every try is another corruption.
        artifact_tries_max: 10_000,
        // Several parts a file.
        artifact_chunk_bytes: 700,
        ..Policy::default()
    };
    Orchestrator::start(Parts {
        storage: Arc::new(SqliteStorage::open_in_memory().await.expect("a storage")),
        artifacts: DiskArtifacts::open(at("artifacts")).await.expect("artifacts"),
        checkpoints,
        logs: LogFiles::open(at("logs")).await.expect("logs"),
        inputs: InputFiles::open(at("inputs"), 1 << 30).await.expect("inputs"),
        installation: Installation::open(directory, &SystemClock).expect("an installation"),
        connectors: vec![Arc::new(depot) as Arc<dyn Connector>],
        unconfigured: Vec::new(),
        allowed_paths: Vec::new(),
        policy,
        clock: Arc::new(SystemClock),
    })
    .expect("an orchestrator")
}

pub(super) async fn submit(orchestrator: &Orchestrator, id: &JobId) {
    let mut spec = JobSpec::new("any");
    spec.trainer.command = Some(vec!["true".to_owned()]);
    spec.retry.max_attempts = 50;
    orchestrator.create_job(Some(id.clone()), spec).await.expect("created");
    orchestrator.submit(id, "depot", None, Duration::ZERO).await.expect("submitted");
}

async fn ended(orchestrator: &Orchestrator, id: &JobId) {
    let look = async {
        loop {
            let view = orchestrator.job(id).await.expect("the job");
            match view.job.state().name() {
                StateName::Completed => return,
                state if state.is_end() => panic!("{id}: {:#?}", view.job.body()),
                // waits: for the job's end
                _ => tokio::time::sleep(Duration::from_millis(3)).await,
            }
        }
    };
    if tokio::time::timeout(SOON, look).await.is_err() {
        panic!("{id} does not end: {:#?}", orchestrator.job(id).await.map(|view| view.job));
    }
}

/// Every file below a directory, by its path.
fn stored(directory: &Path) -> Files {
    let (mut files, mut open) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("below").to_string_lossy().into_owned();
                files.push((name, std::fs::read(&path).expect("a file")));
            }
        }
    }
    files.sort();
    files
}
