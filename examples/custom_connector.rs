//! A provider of one's own: a shed, where machines are agents of this computer, each in a directory.
//!
//! The whole of it is one implementation of `Connector`; nothing in Trainyard knows its name. It passes the kit that the
//! shipped providers pass, and then an orchestrator trains on it. Everything it knows lies in its directory, so that
//! a restart, a dropped call or an order without an answer changes nothing.
//!
//! `cargo run -p trainyard-kit --example custom_connector`

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "an example shows what it got, and stops where it fails"
)]

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use trainyard::connector::{
    Capabilities, Connector, ConnectorError, ConnectorInfo, ErrorKind, MachineObservation, MachinePhase,
    Placement, ProvisionOrder, Termination, Workload,
};
use trainyard::domain::{
    EventBody, InstallationId, JobId, JobSpec, OrderName, ProviderJobId, Timestamp, TrainerKind,
};
use trainyard_agent::{AgentClient, AgentRecord, SigningKey, sweep};
use trainyard_testkit::connector::{Can, ConnectorHarness, Trial, TrueMachine, run_all};

/// The provider.
#[derive(Debug)]
struct Shed {
    info: ConnectorInfo,
    directory: PathBuf,
    key: SigningKey,
}

impl Shed {
    /// `seed` makes the key towards the agents: always the same for one directory.
    fn open(directory: PathBuf, seed: [u8; 32]) -> Result<Shed, Box<dyn std::error::Error>> {
        fs::create_dir_all(directory.join("machines"))?;
        let info = ConnectorInfo {
            name: "shed".parse()?,
            capabilities: Capabilities::default(),
            proven: "tested".to_owned(),
            limits: Vec::new(),
            agent_lost_after_s: 10,
            settle_s: 1,
            boot_deadline_s: 30,
        };
        Ok(Shed { info, directory, key: SigningKey::from_seed(seed)? })
    }

    fn place(&self, order: &OrderName) -> PathBuf {
        self.directory.join("machines").join(order.as_str())
    }

    /// What the agent wrote as soon as it listened.
    fn record(&self, order: &OrderName) -> Option<AgentRecord> {
        serde_json::from_slice(&fs::read(self.place(order).join(AgentRecord::FILE)).ok()?).ok()
    }

    fn start(&self, order: &OrderName) -> io::Result<()> {
        // Fails where it is there already: one machine for one order.
        fs::create_dir(self.place(order))?;
        let mut agent = Command::new(std::env::current_exe()?)
            .args(["__agent", "--order", order.as_str(), "--public-key", &self.key.public_hex()])
            .args(["--listen", "127.0.0.1:0", "--root"])
            .arg(self.place(order))
            .arg("--keep")
            .arg(self.directory.join("keep"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.place(order).join("agent.err"))?)
            .spawn()?;
        // Somebody has to ask for its exit code, else it stays as a zombie.
        std::thread::spawn(move || agent.wait());
        Ok(())
    }

    fn seen(&self, order: &OrderName) -> MachineObservation {
        let phase = match (self.record(order), self.place(order).exists()) {
            (Some(record), _) if record.process.is_alive() => MachinePhase::Up,
            (None, true) => MachinePhase::Booting,
            (Some(_), true) => MachinePhase::Unknown("dead".to_owned()),
            (_, false) => MachinePhase::Gone,
        };
        MachineObservation {
            order: order.clone(),
            id: id_of(order),
            phase,
            price_per_hour: None,
            note: None,
            at: now(),
        }
    }

    fn orders(&self) -> io::Result<Vec<OrderName>> {
        let names = fs::read_dir(self.directory.join("machines"))?;
        let names = names.map(|entry| Ok(entry?.file_name().to_string_lossy().parse().ok()));
        names.filter_map(io::Result::transpose).collect()
    }
}

#[async_trait]
impl Connector for Shed {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let failed = |error| {
            ConnectorError::unknown(ErrorKind::Internal, "the shed could not start an agent").because(error)
        };
        self.start(&order.name).map_err(|error: io::Error| failed(error))?;
        Ok(Placement { id: id_of(&order.name), price_per_hour: None })
    }

    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let orders = self.orders().map_err(|error| {
            ConnectorError::refused(ErrorKind::Unreachable, "the shed could not be read").because(error)
        })?;
        let ours = orders.iter().filter(|order| order.installation() == owner.as_str());
        Ok(ours.map(|order| self.seen(order)).collect())
    }

    async fn observe(
        &self,
        order: &OrderName,
        _: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        Ok(self.seen(order))
    }

    async fn terminate(&self, order: &OrderName, _: &ProviderJobId) -> Result<Termination, ConnectorError> {
        if let Some(record) = self.record(order) {
            record.process.kill();
        }
        // Whatever bears its mark: an agent that wrote no record yet, a training that outlived its agent.
        let (mark, place) = (order.clone(), self.place(order));
        let removed = tokio::task::spawn_blocking(move || {
            sweep(mark.as_str());
            match fs::remove_dir_all(place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        match removed.await {
            Ok(Ok(())) => Ok(Termination::Gone("no process of it is left".to_owned())),
            // Asked again, it goes on where this broke off.
            _ => Ok(Termination::Underway),
        }
    }

    async fn attach(
        &self,
        order: &OrderName,
        _: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        let record = self.record(order).ok_or_else(|| {
            ConnectorError::refused(ErrorKind::Unreachable, "the agent does not listen yet")
        })?;
        let url = format!("http://127.0.0.1:{}", record.port);
        Ok(Box::new(AgentClient::new(&url, self.key.clone(), order.clone())?))
    }

    async fn forget(&self, job: &JobId) -> Result<(), ConnectorError> {
        match fs::remove_dir_all(self.directory.join("keep").join(job.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ConnectorError::unknown(ErrorKind::Internal, "what was kept stays").because(error))
            }
            _ => Ok(()),
        }
    }
}

fn id_of(order: &OrderName) -> ProviderJobId {
    order.as_str().replacen("ty-", "shed-", 1).parse().expect("printable")
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + std::time::UNIX_EPOCH.elapsed().expect("a time after 1970")
}

// What the kit needs of it.

struct ShedHarness;

#[async_trait]
impl ConnectorHarness for ShedHarness {
    async fn open(&self, _agents: bool) -> Box<dyn Trial> {
        Box::new(ShedTrial { directory: tempfile::tempdir().expect("a directory") })
    }
}

struct ShedTrial {
    directory: TempDir,
}

#[async_trait]
impl Trial for ShedTrial {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Shed::open(self.directory.path().to_owned(), [1; 32]).expect("a shed"))
    }

    fn installation(&self) -> InstallationId {
        "myplace1".parse().expect("an installation")
    }

    async fn reconnect(&self) -> Arc<dyn Connector> {
        self.connector()
    }

    async fn pass(&self, time: Duration) {
        // waits: processes live in real time
        tokio::time::sleep(time / 10).await;
    }

    async fn truth(&self) -> Can<Vec<TrueMachine>> {
        let shed = Shed::open(self.directory.path().to_owned(), [1; 32]).expect("a shed");
        let orders = shed.orders().expect("the shed's directory").into_iter();
        Ok(orders
            .map(|order| TrueMachine {
                name: order.to_string(),
                id: id_of(&order).as_str().to_owned(),
                alive: shed.record(&order).is_none_or(|record| record.process.is_alive()),
            })
            .collect())
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    // This program is its own agent: it executes itself beside each training.
    if let Some(code) = trainyard::agent_entry() {
        return Ok(code);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let summary = runtime.block_on(run_all("shed", &ShedHarness, &[]));
    runtime.block_on(train())?;
    Ok(ExitCode::from(u8::from(!summary.failed.is_empty())))
}

/// One job on the shed, through an orchestrator that was told of it and of nothing else.
async fn train() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let mut config = trainyard::Config::new(directory.path().join("data"));
    config.local = None;
    config.connectors.push(Arc::new(Shed::open(directory.path().join("shed"), [2; 32])?));
    let orchestrator = trainyard::open(config).await?;

    let mut spec = JobSpec::new("any/model");
    spec.trainer.kind = Some(TrainerKind::Command);
    let script = "echo training; printf result > \"$TRAINYARD_OUTPUT_DIR/result.txt\"";
    spec.trainer.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
    orchestrator.create_job(Some("job_1".parse()?), spec).await?;
    let job = orchestrator.start_training("job_1", "shed").await?.job;
    let mut events = orchestrator.events(job.id(), Some(Default::default())).await?;
    while let Some(event) = events.next().await {
        if let EventBody::Status(status) = &event?.event.body {
            println!("{}", status.state);
        }
    }
    let artifact = orchestrator.artifact(job.id()).await?;
    println!("{}  sha256 {}", artifact.path.display(), artifact.main.hash_sha256);
    orchestrator.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
