//! Agents that tell the truth of everything but of what they hand out, and that only so often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256 as Hasher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trainyard_connector::{
    AgentEvent, AgentEventBody, AgentGreeting, EventBatch, Manifest, ManifestFile, SelfRemovalProof,
    TrainingState, WorkloadState,
};
use trainyard_domain::{AttemptNumber, Exit, JobId, Sha256, Timestamp};
use trainyard_orchestrator::{Clock, SystemClock};

use super::kinds::{self, Others, Tally, Wire};
use crate::dice::Dice;

/// A file's path and its bytes.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// What an agent of one job does.
#[derive(Debug, Clone)]
pub(super) struct Story {
    /// What the training left.
    pub(super) files: Files,
    /// The same files as they were before.
    pub(super) older: Files,
    /// Manifests that are still to be corrupted.
    pub(super) manifests: usize,
    /// Parts that are still to be corrupted.
    pub(super) parts: usize,
}

/// All liars, behind one address.
#[derive(Debug, Clone)]
pub(super) struct Liars {
    shared: Arc<Mutex<Shared>>,
    /// Where what was brought home is shown: nothing of a job may be there before its last lie was told.
    pub(super) shown: PathBuf,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dice: Dice,
    stories: BTreeMap<JobId, Story>,
    /// Of those that train on, and what is to be copied meanwhile.
    pub(super) copies: BTreeMap<JobId, Story>,
    pub(super) started: BTreeMap<String, (JobId, AttemptNumber, Timestamp)>,
    pub(super) tally: Tally,
    /// What was shown too early.
    pub(super) early: Vec<JobId>,
}

impl Liars {
    /// Serves them; needs a runtime.
    pub(super) async fn serve(shown: PathBuf, dice: Dice) -> (Liars, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            dice,
            stories: BTreeMap::new(),
            copies: BTreeMap::new(),
            started: BTreeMap::new(),
            tally: Tally::default(),
            early: Vec::new(),
        };
        let liars = Liars { shared: Arc::new(Mutex::new(shared)), shown };
        let all = liars.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let liars = all.clone();
                tokio::spawn(async move {
                    // A client that breaks off is its own affair.
                    let _ = liars.converse(stream).await;
                });
            }
        });
        (liars, address)
    }

    pub(super) fn expect(&self, job: &JobId, story: Story) {
        self.shared().stories.insert(job.clone(), story);
    }

    /// How many lies were told, and which; what was shown too early.
    pub(super) fn told(&self) -> (usize, String, Vec<JobId>) {
        let shared = self.shared();
        (shared.tally.total(), shared.tally.tell(), shared.early.clone())
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (mut head, mut byte) = (Vec::new(), [0; 4096]);
        let body_at = loop {
            let n = stream.read(&mut byte).await?;
            if n == 0 || head.len() > 1 << 20 {
                return Ok(());
            }
            head.extend_from_slice(&byte[..n]);
            if let Some(at) = head.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = String::from_utf8_lossy(&head[..body_at]).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        while head.len() < body_at + length.unwrap_or(0) {
            let n = stream.read(&mut byte).await?;
            if n == 0 {
                return Ok(());
            }
            head.extend_from_slice(&byte[..n]);
        }
        let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let wire = self.answer(&target, &head[body_at..]).await;
        stream.write_all(&wire.bytes()).await?;
        stream.shutdown().await
    }

    async fn answer(&self, target: &str, body: &[u8]) -> Wire {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (order, path) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let number = |name: &str| parameter(name).parse::<usize>().unwrap_or(0);
        match path {
            "v1/hello" => told(&AgentGreeting {
                boot_id: order.to_owned(),
                time: SystemClock.now(),
                version: "liar".to_owned(),
                order: order.to_owned(),
            }),
            "v1/state" => told(&self.state(order)),
            "v1/start" => {
                let body: Value = serde_json::from_slice(body).expect("a start");
                let job: JobId = body["job_id"].as_str().expect("`job_id`").parse().expect("an id");
                let attempt = serde_json::from_value(body["attempt"].clone()).expect("`attempt`");
                self.shared().started.entry(order.to_owned()).or_insert((job, attempt, SystemClock.now()));
                told(&self.state(order))
            }
            "v1/events" => self.events(order, number("after") as u64).await,
            "v1/log" => Wire::of("application/octet-stream", Vec::new()),
            "v1/manifest" => self.manifest(order),
            "v1/file" => self.part(order, &parameter("path"), number("offset"), number("limit")),
            "v1/stop" => self.stop(order),
            "v1/checkpoints" => self.checkpoints(order),
            "v1/checkpoints/hold" => self.held(order),
            "v1/checkpoints/file" => {
                self.copied(order, &parameter("file"), number("offset"), number("limit"))
            }
            "v1/job" => told(&Value::Null),
            _ => told(&json!({})),
        }
    }

    fn state(&self, order: &str) -> WorkloadState {
        let started = self.shared().started.get(order).cloned();
        let trains = self.trains(order);
        let training = started.as_ref().map_or(TrainingState::Idle, |(_, _, at)| match trains {
            true => TrainingState::Running { since: *at, paused: false },
            false => TrainingState::Exited { started_at: Some(*at), exit: Exit::with_code(0, *at) },
        });
        WorkloadState {
            boot_id: order.to_owned(),
            last_event: if started.is_some() && !trains { 2 } else { 0 },
            attempt: started.map(|(job, attempt, _)| (job, attempt)),
            training,
            log_bytes: 0,
            self_removal: SelfRemovalProof::None,
        }
    }

    async fn events(&self, order: &str, after: u64) -> Wire {
        if self.trains(order) {
            return self.events_of_running(order, after).await;
        }
        let started = self.shared().started.get(order).cloned();
        let Some((_, _, at)) = started.filter(|_| after < 2) else {
            // waits: as an agent's long poll does, where there is nothing new
            tokio::time::sleep(Duration::from_secs(2)).await;
            return told(&EventBatch { boot_id: order.to_owned(), events: Vec::new(), last: after });
        };
        let all = [AgentEventBody::Started, AgentEventBody::Exited(Exit::with_code(0, at))];
        let events = all.into_iter().zip(1..).map(|(body, n)| AgentEvent { n, at, body });
        let events = events.filter(|event| event.n > after).collect();
        told(&EventBatch { boot_id: order.to_owned(), events, last: 2 })
    }

    fn manifest(&self, order: &str) -> Wire {
        let mut shared = self.shared();
        let Shared { dice, stories, started, tally, early, .. } = &mut *shared;
        let Some((job, attempt, _)) = started.get(order) else { return told(&Value::Null) };
        let story = stories.get_mut(job).expect("a story");
        let file = |(path, bytes): &(String, Vec<u8>)| ManifestFile {
            path: path.clone(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256::from_bytes(Hasher::digest(bytes).into()),
        };
        let files = story.files.iter().map(file).collect();
        let wire = told(&Manifest { attempt: *attempt, files, skipped: Vec::new() });
        if story.manifests == 0 {
            return wire;
        }
        story.manifests -= 1;
        early.extend(self.shown.join(job.as_str()).exists().then(|| job.clone()));
        let (kind, wire) = kinds::of_manifest(dice, wire);
        tally.count(kind);
        wire
    }

    fn part(&self, order: &str, path: &str, offset: usize, limit: usize) -> Wire {
        let mut shared = self.shared();
        let Shared { dice, stories, started, tally, early, .. } = &mut *shared;
        let story = started.get(order).and_then(|(job, _, _)| Some((job, stories.get_mut(job)?)));
        let (job, story) = story.expect("a story");
        let Some(at) = story.files.iter().position(|(known, _)| known == path) else {
            let refused = json!({"error": "the manifest has no such file", "code": "not_found"});
            return Wire { status: "404 Not Found", ..told(&refused) };
        };
        let file = &story.files[at].1;
        let end = offset.saturating_add(limit).min(file.len());
        let wire = Wire::of("application/octet-stream", file[offset.min(end)..end].to_vec());
        if story.parts == 0 || wire.body.is_empty() {
            return wire;
        }
        story.parts -= 1;
        early.extend(self.shown.join(job.as_str()).exists().then(|| job.clone()));
        let another = &story.files[(at + 1) % story.files.len()].1;
        let others = Others { file, another, older: &story.older[at].1, offset };
        let (kind, wire) = kinds::of_part(dice, wire, &others);
        tally.count(kind);
        wire
    }
}

/// JSON with the digest of its bytes, as the real agent gives it.
pub(super) fn told(value: &impl serde::Serialize) -> Wire {
    let body = serde_json::to_vec(value).expect("JSON");
    let digest = hex::encode(Hasher::digest(&body));
    let mut wire = Wire::of("application/json", body);
    wire.headers.push(("trainyard-sha256", digest));
    wire
}
