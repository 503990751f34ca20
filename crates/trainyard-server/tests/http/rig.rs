//! A server with a real orchestrator over SQLite and no providers; what a provider would report is written to its
//! storage by the test.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trainyard_domain::{
    ArtifactRecord, AttemptNumber, Command, Event, EventBody, Exit, Fact, Job, JobId, JobSpec, MetricPoint,
    MetricValue, NewEvent, OrderName, Rental, Seq, Sha256,
};
use trainyard_orchestrator::{Installation, Orchestrator, Parts, Policy, SystemClock};
use trainyard_server::{Server, ServerConfig};
use trainyard_storage::{
    Commit, DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles, SqliteOptions, SqliteStorage, Storage,
    Telemetry, TelemetryItem,
};

use crate::client::{Answer, ask};

pub(crate) struct Rig {
    pub(crate) address: String,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) artifacts: DiskArtifacts,
    pub(crate) logs: LogFiles,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

/// One server with the defaults.
pub(crate) async fn rig() -> Rig {
    rig_with(|_| {}).await
}

pub(crate) async fn rig_with(change: impl FnOnce(&mut ServerConfig)) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let storage: Arc<dyn Storage> =
        Arc::new(SqliteStorage::open(SqliteOptions::new(at("db"))).await.unwrap());
    let artifacts = DiskArtifacts::open(at("artifacts")).await.unwrap();
    let logs = LogFiles::open(at("logs")).await.unwrap();
    let policy = Policy::default();
    let orchestrator = Orchestrator::start(Parts {
        storage: storage.clone(),
        artifacts: artifacts.clone(),
        checkpoints: DiskCheckpoints::open(at("checkpoints")).await.unwrap(),
        logs: logs.clone(),
        inputs: InputFiles::open(at("inputs"), policy.input_bytes_max).await.unwrap(),
        installation: Installation::open(directory.path(), &SystemClock).unwrap(),
        connectors: Vec::new(),
        unconfigured: ["runpod", "lambda", "vastai"]
            .map(|name| (name.to_owned(), "set its key".to_owned()))
            .into(),
        allowed_paths: Vec::new(),
        policy,
        clock: Arc::new(SystemClock),
    })
    .unwrap();
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.workers = 1;
    config.connections.shutdown_grace = Duration::from_secs(2);
    change(&mut config);
    let bound = Server::bind(config).unwrap();
    let address = bound.addresses()[0].to_string();
    assert_eq!(bound.url(), format!("http://{address}"));
    let (stop, stopped) = oneshot::channel::<()>();
    let run = bound.run(orchestrator.clone(), async move {
        let _ = stopped.await;
    });
    let served = tokio::spawn(run);
    Rig { address, orchestrator, storage, artifacts, logs, stop: Some(stop), served, _directory: directory }
}

impl Rig {
    /// A request with that body, as JSON where there is one.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let head = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.send(method, path, head, body.as_bytes()).await
    }

    /// A request with those header lines, each ended by CR LF.
    pub(crate) async fn send(&self, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        ask(&self.address, &request, method == "HEAD").await
    }

    pub(crate) async fn create(&self, id: &str) {
        let body = format!(r#"{{"job_id": "{id}", "model_name": "trainyard-tiny"}}"#);
        let answer = self.call("POST", "/api/training/jobs", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Changes a stored job as the reconciler would, with its status as an event.
    pub(crate) async fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        let stored = self.storage.load(&id.parse().unwrap()).await.unwrap().unwrap();
        let mut job = stored.job;
        change(&mut job);
        let status = EventBody::Status(job.status());
        let event =
            NewEvent { at: self.orchestrator.now(), attempt: job.attempt().map(|a| a.number), body: status };
        let commit = Commit {
            job,
            version: stored.version,
            fence: self.storage.fence(),
            events: vec![event],
            machines: Vec::new(),
            due: None,
            key: None,
            reserves: None,
        };
        self.storage.commit(commit).await.unwrap();
    }

    /// Stores a job that runs, with events 1 (its creation may add some) and a status.
    pub(crate) async fn running(&self, id: &str) {
        let now = self.orchestrator.now();
        let mut job = Job::new(id.parse().unwrap(), JobSpec::new("trainyard-tiny"), None, now);
        job.command(&Command::Submit("local".parse().unwrap())).unwrap();
        self.storage.create(&job, &[]).await.unwrap();
        self.change(id, |job| {
            let order: OrderName = "ty-abcd1234-01hm00000000000000000000zz".parse().unwrap();
            let attempt = job.intend(order, "local".parse().unwrap(), now).unwrap();
            let rental = Rental { attempt, machine: "local-1".parse().unwrap(), can_pause: true };
            job.apply(&Fact::Placed(rental), now).unwrap();
            job.apply(&Fact::Started { attempt, at: now }, now).unwrap();
        })
        .await;
    }

    /// Lets a running job complete, its machine gone.
    pub(crate) async fn complete(&self, id: &str, artifact: Option<ArtifactRecord>) {
        let now = self.orchestrator.now();
        self.change(id, |job| {
            let attempt = AttemptNumber::FIRST;
            job.set_exit(attempt, Exit::with_code(0, now));
            job.set_artifact(artifact);
            job.apply(&Fact::Completed { at: now }, now).unwrap();
            job.apply(&Fact::Returned { attempt }, now).unwrap();
        })
        .await;
    }

    /// Appends points with those losses, their steps counting from `first`.
    pub(crate) async fn points(&self, id: &str, first: u64, losses: &[f64]) {
        let at = self.orchestrator.now();
        let item = |(i, loss): (u64, &f64)| TelemetryItem {
            at,
            body: EventBody::Metrics(MetricPoint {
                step: Some(i),
                values: [("loss".to_owned(), MetricValue(*loss))].into(),
                ..MetricPoint::default()
            }),
        };
        let items: Vec<TelemetryItem> = (first..).zip(losses).map(item).collect();
        let cursor = first + items.len() as u64;
        let job_id: JobId = id.parse().unwrap();
        let telemetry = Telemetry { job_id, attempt: AttemptNumber::FIRST, after: cursor - 1, cursor, items };
        self.storage.append(telemetry).await.unwrap();
    }

    /// The stored events of a job.
    pub(crate) async fn events(&self, id: &str) -> Vec<Event> {
        self.storage.events(&id.parse().unwrap(), Seq(0), 1000).await.unwrap().events
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    use sha2::Digest;
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}
