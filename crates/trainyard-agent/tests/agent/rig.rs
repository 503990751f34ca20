//! An agent of one's own in a directory of one's own, and states to wait for.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::Digest;
use tempfile::TempDir;
use trainyard_agent::{AgentClient, SigningKey, sweep};
use trainyard_connector::{AgentEvent, InputSource, StartOrder, TrainingState, Workload};
use trainyard_domain::{AttemptNumber, Exit, JobSpec, OrderName, Sha256, TrainerKind};

/// States are waited for this long.
const WITHIN: Duration = Duration::from_secs(60);

/// Waits for something to become true.
pub(crate) async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + WITHIN;
    while !is_true().await {
        assert!(Instant::now() < end, "still waiting for: {what}");
        // waits: a little between two looks
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// An agent.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) order: OrderName,
    pub(crate) client: AgentClient,
    pub(crate) port: u16,
    pub(crate) child: Child,
    /// Kept, so that a restarted agent is at the same port, as behind a vendor's proxy.
    listener: TcpListener,
    variables: Vec<(String, String)>,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed([3; 32]).unwrap()
}

pub(crate) fn new_order() -> OrderName {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    format!("ty-tests000-{}", &hex::encode(random)[..26]).parse().unwrap()
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::with(&[])
    }

    /// One whose agent has these variables too.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Rig {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let variables: Vec<(String, String)> = variables.iter().map(own).collect();
        let dir = tempfile::tempdir().unwrap();
        let order = new_order();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let child = spawn(dir.path(), &order, &listener, &variables);
        let client = AgentClient::new(&format!("http://127.0.0.1:{port}"), key(), order.clone()).unwrap();
        Rig { dir, order, client, port, child, listener, variables }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A file of the test's own, outside the agent's directory.
    pub(crate) fn own(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for a script.
    pub(crate) fn own_text(&self, name: &str) -> String {
        self.own(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts another agent in the same directory.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.dir.path(), &self.order, &self.listener, &self.variables);
    }

    pub(crate) fn client(&self) -> AgentClient {
        AgentClient::new(&format!("http://127.0.0.1:{}", self.port), key(), self.order.clone()).unwrap()
    }

    /// Starts a shell script as the training.
    pub(crate) async fn run(&self, script: &str) {
        self.client.start(&shell(script)).await.unwrap();
    }

    /// Waits for the training to run.
    pub(crate) async fn running(&self) {
        until("the training runs", async || {
            matches!(self.client.state().await.unwrap().training, TrainingState::Running { .. })
        })
        .await;
    }

    /// Waits for the end of the training.
    pub(crate) async fn exit(&self) -> Exit {
        let end = Instant::now() + WITHIN;
        let mut after = 0;
        loop {
            if let TrainingState::Exited { exit, .. } = self.client.state().await.unwrap().training {
                return exit;
            }
            assert!(Instant::now() < end, "the training does not end; its log:\n{}", self.log().await);
            after = self.client.events(after, Duration::from_secs(5)).await.unwrap().last;
        }
    }

    /// Every event so far.
    pub(crate) async fn events(&self) -> Vec<AgentEvent> {
        let mut all: Vec<AgentEvent> = Vec::new();
        loop {
            let batch = self.client.events(all.len() as u64, Duration::ZERO).await.unwrap();
            if batch.events.is_empty() {
                return all;
            }
            all.extend(batch.events);
        }
    }

    /// The log so far.
    pub(crate) async fn log(&self) -> String {
        String::from_utf8_lossy(&self.client.log(0, u32::MAX).await.unwrap()).into_owned()
    }

    /// Waits for a file that the training writes and gives its content.
    pub(crate) async fn told(&self, name: &str) -> String {
        until(&format!("the file {name}"), async || {
            std::fs::read_to_string(self.own(name)).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        std::fs::read_to_string(self.own(name)).unwrap()
    }

    /// An input from bytes.
    pub(crate) fn input(&self, bytes: &[u8]) -> InputSource {
        let path = self.own(&format!("input-{}", digest(bytes)));
        std::fs::write(&path, bytes).unwrap();
        InputSource { sha256: digest(bytes), size_bytes: bytes.len() as u64, path }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        sweep(self.order.as_str());
    }
}

fn spawn(dir: &Path, order: &OrderName, listener: &TcpListener, variables: &[(String, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("__agent")
        .arg("--root")
        .arg(dir.join("root"))
        .args(["--order", order.as_str(), "--public-key", &key().public_hex(), "--listen-fd0", "--keep"])
        .arg(dir.join("keep"))
        .env("RUNPOD_API_KEY", "never-seen")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
        .spawn()
        .unwrap()
}

/// A specification that runs a command.
pub(crate) fn command(words: &[&str]) -> StartOrder {
    let mut spec = JobSpec::new("any/model");
    spec.trainer.kind = Some(TrainerKind::Command);
    spec.trainer.command = Some(words.iter().map(|&word| word.to_owned()).collect());
    StartOrder {
        job_id: "job".parse().unwrap(),
        attempt: AttemptNumber::FIRST,
        spec,
        secrets: Default::default(),
        inputs: Vec::new(),
        resume_from: None,
        deadline_s: None,
        machine_ends_s: None,
        gpus: None,
    }
}

/// One that runs a shell script.
pub(crate) fn shell(script: &str) -> StartOrder {
    command(&["sh", "-c", script])
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: &str) -> bool {
    let pid: i32 = pid.trim().parse().unwrap();
    trainyard_agent::ProcessId::of(pid).is_some_and(|process| process.is_alive())
}

/// User and system time of a process, in ticks.
pub(crate) fn cpu_ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_ascii_whitespace().collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}
