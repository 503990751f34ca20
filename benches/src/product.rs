//! The product as users run it: a process with a data directory, spoken to over HTTP.
//!
//! This program is linked under the name `trainyard` into the scratch directory; executed by that name it is the
//! product, so that what is measured was built by the same command.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Fault;
use crate::bench::Bench;
use crate::socket::Socket;

const NAME: &str = "trainyard";
/// Longest time for one request.
const REQUEST_MAX: Duration = Duration::from_secs(90);
/// Longest time for a server to end.
const END_MAX: Duration = Duration::from_secs(10);

/// Whether this process is to be the product.
pub(crate) fn is_it() -> bool {
    std::env::current_exe().is_ok_and(|program| program.file_name().is_some_and(|name| name == NAME))
}

/// Puts the program under the product's name.
pub(crate) fn link(program: &Path, dir: &Path) -> Result<PathBuf, Fault> {
    let product = dir.join(NAME);
    // On another file system it has to be a copy.
    if std::fs::hard_link(program, &product).is_err() {
        std::fs::copy(program, &product)?;
    }
    Ok(product)
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    http: reqwest::Client,
    url: String,
    /// The data directory lies in it.
    dir: tempfile::TempDir,
    /// Seconds from its start to the line that says it is ready.
    pub(crate) ready_s: f64,
}

impl Server {
    /// Starts one on a fresh data directory.
    pub(crate) fn start(bench: &Bench) -> Result<Server, Fault> {
        Server::start_in(bench, bench.fresh()?, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_with(bench: &Bench, environment: &[(&str, String)]) -> Result<Server, Fault> {
        Server::start_in(bench, bench.fresh()?, environment)
    }

    fn start_in(
        bench: &Bench,
        dir: tempfile::TempDir,
        environment: &[(&str, String)],
    ) -> Result<Server, Fault> {
        let http = reqwest::Client::builder().timeout(REQUEST_MAX).no_proxy().build()?;
        let mut command = Command::new(&bench.product);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--ready-json", "--data"])
            .arg(dir.path().join("data"));
        command.current_dir(dir.path()).env("TRAINYARD_LOCAL_SLOTS", "8");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let from = Instant::now();
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let line = lines.next().ok_or("the server ended before it was ready")??;
        let ready_s = from.elapsed().as_secs_f64();
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let ready: Value = serde_json::from_str(&line)?;
        let url = ready["url"].as_str().ok_or("no url in the ready line")?.to_owned();
        Ok(Server { child, http, url, dir, ready_s })
    }

    /// Ends it and starts one anew on the same data.
    pub(crate) fn again(self, bench: &Bench) -> Result<Server, Fault> {
        let mut this = self;
        this.end();
        let dir = std::mem::replace(&mut this.dir, bench.fresh()?);
        Server::start_in(bench, dir, &[])
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A directory beside its data.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str) -> Result<String, Fault> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status.is_success() { Ok(text) } else { Err(format!("GET {path}: {status}: {text}").into()) }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status.is_success() {
            Ok(serde_json::from_str(&text)?)
        } else {
            Err(format!("POST {path}: {status}: {text}").into())
        }
    }

    /// Creates a job.
    pub(crate) async fn create(&self, body: &Value) -> Result<(), Fault> {
        self.post("/api/training/jobs", body).await.map(drop)
    }

    /// Creates a job that runs that command.
    pub(crate) async fn create_command(&self, id: &str, command: &[String]) -> Result<(), Fault> {
        let trainer = json!({"kind": "command", "command": command});
        self.create(&json!({"job_id": id, "model_name": "none", "trainer": trainer})).await
    }

    /// Forgets a job that has ended, and its files, once its machine is gone.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), Fault> {
        let mut socket = Socket::connect(self.address(), &format!("/ws/training/jobs/{id}?after=0")).await?;
        // The stream ends with the news that nothing of the job is held any more.
        while socket.next().await?.is_some() {}
        let answer = self.http.delete(format!("{}/api/training/jobs/{id}", self.url)).send().await?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("DELETE {id}: {status}").into()) }
    }

    /// Submits it here.
    pub(crate) async fn submit(&self, id: &str) -> Result<Value, Fault> {
        self.submit_to(id, "local").await
    }

    /// Submits it to a provider.
    pub(crate) async fn submit_to(&self, id: &str, provider: &str) -> Result<Value, Fault> {
        self.post(&format!("/api/training/jobs/{id}/submit"), &json!({"provider": provider})).await
    }

    /// Waits until it has completed.
    pub(crate) async fn completed(&self, id: &str) -> Result<(), Fault> {
        let path = format!("/ws/training/jobs/{id}?after=0");
        let mut socket = Socket::connect(self.address(), &path).await?;
        while let Some(message) = socket.next().await? {
            if !message.text.contains("\"status\"") {
                continue;
            }
            let message: Value = serde_json::from_str(&message.text)?;
            match (message["type"].as_str(), message["data"]["state"].as_str()) {
                (Some("status"), Some("completed")) => return Ok(()),
                (Some("status"), Some("failed" | "stopped")) => return Err(format!("{id}: {message}").into()),
                _ => {}
            }
        }
        Err(format!("{id}: the stream ended early").into())
    }

    fn end(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            // waits: for a process to end; there is no event for it in the standard library
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.kill_agents();
    }

    /// Trainings outlive their server on purpose; those of a measurement must not. Their wardens end with them.
    fn kill_agents(&self) {
        let Ok(machines) = std::fs::read_dir(self.dir.path().join("data/local/machines")) else { return };
        for machine in machines.flatten() {
            let record = std::fs::read(machine.path().join("agent.json")).unwrap_or_default();
            let record: Value = serde_json::from_slice(&record).unwrap_or_default();
            if let Some(pid) = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()) {
                let pid = nix::unistd::Pid::from_raw(pid);
                // One that has ended is as good as killed.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
