//! An orchestrator over SQLite and scripted providers, with short times.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trainyard_connector::Connector;
use trainyard_domain::{EventBody, Job, JobId, JobSpec, Machine, Seq, StateName};
use trainyard_orchestrator::{Clock, Installation, Orchestrator, Parts, Policy, SystemClock};
use trainyard_storage::{DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles, SqliteOptions, SqliteStorage};

use crate::cloud::Cloud;

pub(crate) struct Rig {
    pub(crate) orchestrator: Orchestrator,
    _directory: Option<tempfile::TempDir>,
}

pub(crate) fn quick() -> Policy {
    let ms = Duration::from_millis;
    Policy {
        listing_quick: ms(20),
        listing_slow: ms(60),
        cloud_look_every: ms(200),
        look_every: ms(50),
        release_again: ms(100),
        machine_log_every: ms(20),
        order_offers_age: ms(10),
        offers_age: ms(50),
        capacity_poll: ms(30),
        due_every: ms(500),
        housekeeping_every: ms(100),
        sweep_every: ms(100),
        leftovers_every: ms(100),
        ..Policy::default()
    }
}

pub(crate) async fn rig(clouds: &[&Cloud]) -> Rig {
    rig_with(clouds, quick()).await
}

pub(crate) async fn rig_with(clouds: &[&Cloud], policy: Policy) -> Rig {
    rig_at(clouds, policy, Arc::new(SystemClock)).await
}

pub(crate) async fn rig_at(clouds: &[&Cloud], policy: Policy, clock: Arc<dyn Clock>) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig_of(directory.path(), clouds, policy, clock).await;
    Rig { _directory: Some(directory), ..rig }
}

/// One over a directory that outlives it.
pub(crate) async fn rig_in(directory: &Path, clouds: &[&Cloud], policy: Policy) -> Rig {
    rig_of(directory, clouds, policy, Arc::new(SystemClock)).await
}

async fn rig_of(directory: &Path, clouds: &[&Cloud], policy: Policy, clock: Arc<dyn Clock>) -> Rig {
    let at = |name: &str| directory.join(name);
    let orchestrator = Orchestrator::start(Parts {
        storage: Arc::new(SqliteStorage::open(SqliteOptions::new(at("db"))).await.unwrap()),
        artifacts: DiskArtifacts::open(at("artifacts")).await.unwrap(),
        checkpoints: DiskCheckpoints::open(at("checkpoints")).await.unwrap(),
        logs: LogFiles::open(at("logs")).await.unwrap(),
        inputs: InputFiles::open(at("inputs"), policy.input_bytes_max).await.unwrap(),
        installation: Installation::open(directory, &SystemClock).unwrap(),
        connectors: clouds.iter().map(|cloud| Arc::new((*cloud).clone()) as Arc<dyn Connector>).collect(),
        unconfigured: vec![("elsewhere".to_owned(), "set ELSEWHERE_API_KEY".to_owned())],
        allowed_paths: Vec::new(),
        policy,
        clock,
    })
    .unwrap();
    Rig { orchestrator, _directory: None }
}

impl Rig {
    /// Creates a job that any machine can train.
    pub(crate) async fn create(&self, id: &str, change: impl FnOnce(&mut JobSpec)) -> JobId {
        let mut spec = JobSpec::new("gpt2");
        spec.trainer.command = Some(vec!["true".to_owned()]);
        change(&mut spec);
        let id: JobId = id.parse().unwrap();
        self.orchestrator.create_job(Some(id.clone()), spec).await.unwrap();
        id
    }

    /// Submits, waits for what comes of it, and says so in a word: `ran`, the state before that, or the error.
    pub(crate) async fn submit(&self, id: &JobId, provider: &str) -> String {
        match self.orchestrator.submit(id, provider, None, Duration::from_secs(20)).await {
            Ok(submitted) if submitted.view.job.body().started_at.is_some() => "ran".to_owned(),
            Ok(submitted) => submitted.view.job.state().name().to_string(),
            Err(error) => format!("{:?} {}", error.kind, error.code),
        }
    }

    /// Waits until something is true of the world.
    pub(crate) async fn awaits(&self, what: &str, is: impl Fn() -> bool) {
        self.awaits_within(Duration::from_secs(20), what, is).await;
    }

    /// The same for what takes long.
    pub(crate) async fn awaits_long(&self, what: &str, is: impl Fn() -> bool) {
        self.awaits_within(Duration::from_secs(300), what, is).await;
    }

    async fn awaits_within(&self, within: Duration, what: &str, is: impl Fn() -> bool) {
        let look = async {
            while !is() {
                // waits: between two looks at a state.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(within, look).await.is_ok(), "not {what}");
    }

    pub(crate) async fn job(&self, id: &JobId) -> Job {
        self.orchestrator.job(id).await.unwrap().job
    }

    /// Waits until something is true of a job.
    pub(crate) async fn until(&self, id: &JobId, what: &str, done: impl Fn(&Job) -> bool) -> Job {
        let look = async {
            loop {
                let job = self.job(id).await;
                if done(&job) {
                    return job;
                }
                // waits: between two looks at a state.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), look).await {
            Ok(job) => job,
            Err(_) => panic!("not {what}: {:#?}", self.job(id).await.body()),
        }
    }

    /// Waits until a job has ended so and nothing of it is rented.
    pub(crate) async fn rests(&self, id: &JobId, state: StateName) -> Job {
        let rests = |job: &Job| job.state().name() == state && !job.may_hold_machine();
        self.until(id, &format!("{state} and at rest"), rests).await
    }

    pub(crate) async fn ledger(&self) -> Vec<Machine> {
        self.orchestrator.machines().await.unwrap()
    }

    /// The phases that a job's status went through, repeats left out.
    pub(crate) async fn phases(&self, id: &JobId) -> Vec<String> {
        let page = self.orchestrator.event_page(id, Seq(0), 1000).await.unwrap();
        let word = |phase| serde_json::to_value(phase).unwrap().as_str().unwrap().to_owned();
        let phases = page.events.into_iter().filter_map(|event| match event.body {
            EventBody::Status(status) => status.phase.map(word),
            _ => None,
        });
        phases.collect()
    }
}

/// Why each attempt ended.
pub(crate) fn ends(job: &Job) -> Vec<String> {
    let code = |attempt: &trainyard_domain::Attempt| {
        attempt.end.as_ref().map_or_else(|| "-".to_owned(), |end| end.code.clone())
    };
    job.attempts().iter().map(code).collect()
}
