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
/// Of the manifests some end an attempt, of which there are fifty.
const ROUND: Round = Round { jobs: 24, manifests: 12, parts: 90 };
/// Longest wait for a job.
const SOON: Duration = Duration::from_secs(120);

/// Jobs at once.
pub(super) struct Round {
    /// How many.
    pub(super) jobs: usize,
    /// Corrupted manifests of one, less than this.
    pub(super) manifests: u64,
    /// Corrupted parts of one, less than this.
    pub(super) parts: u64,
}

impl Round {
    /// Submits its jobs, after their stories were told to `expect`. Gives what each is to end with.
    pub(super) async fn begin(
        &self,
        number: usize,
        dice: &mut Dice,
        orchestrator: &Orchestrator,
        expect: impl Fn(&JobId, Story),
    ) -> Vec<(JobId, Files)> {
        let mut jobs = Vec::new();
        for n in 0..self.jobs {
            let id: JobId = format!("job-{number}-{n}").parse().expect("an id");
            let (files, older) = (left(dice), left(dice));
            let (manifests, parts) = (dice.below(self.manifests) as usize, dice.below(self.parts) as usize);
            expect(&id, Story { files: files.clone(), older, manifests, parts });
            submit(orchestrator, &id).await;
            jobs.push((id, files));
        }
        jobs
    }
}

/// Says what was told, and that nothing of it was shown.
pub(super) async fn none_accepted(what: &str, liars: &Liars, orchestrator: Orchestrator) {
    let (total, kinds, early) = liars.told();
    assert!(early.is_empty(), "shown before they were verified: {early:?}");
    trainyard_tests::say(&format!("{total} corruptions of {what}, none accepted: {kinds}"));
    orchestrator.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_corruption_of_a_transfer_or_a_manifest_is_accepted() {
    let (mut dice, wanted) = (Dice::new("corrupted transfers"), wanted(SHARE));
    let directory = tempfile::tempdir().expect("a directory");
    let artifacts = directory.path().join("artifacts");
    let (liars, address) = Liars::serve(artifacts.clone(), Dice::new("corruptions")).await;
    let checkpoints = DiskCheckpoints::open(directory.path().join("checkpoints")).await.expect("checkpoints");
    let orchestrator = orchestrator(directory.path(), Depot::new(address), checkpoints).await;
    let mut round = 0;
    while liars.told().0 < wanted {
        round += 1;
        let expect = |id: &JobId, story| liars.expect(id, story);
        for (id, files) in ROUND.begin(round, &mut dice, &orchestrator, expect).await {
            ended(&orchestrator, &id).await;
            assert_eq!(stored(&artifacts.join(id.as_str())), files, "what is stored of {id}");
        }
    }
    none_accepted("transfers and manifests", &liars, orchestrator).await;
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

async fn submit(orchestrator: &Orchestrator, id: &JobId) {
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
