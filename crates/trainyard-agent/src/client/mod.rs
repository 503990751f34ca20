//! The `Workload` that speaks to an agent.
//!
//! Every call is bounded in time. A call that was not sent has no effect; one whose answer did not come may have had
//! it. Calls may be repeated: the agent knows attempts by their numbers, inputs by their digests, events by theirs.

mod push;
mod supply;
mod tls;
mod transport;

use std::io::SeekFrom;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use trainyard_connector::{
    AgentGreeting, Arch, CheckpointInfo, CheckpointManifest, ConnectorError, EXEC_WITHIN_MAX, ErrorKind,
    EventBatch, ExecOrder, ExecOutput, InputSource, KeptJob, Manifest, Renewal, StartOrder, Workload,
    WorkloadState,
};
use trainyard_domain::{AttemptNumber, JobId, OrderName};

use crate::SigningKey;
use crate::protocol::{
    ANSWER_BYTES_MAX, HoldBody, InputState, ReleaseBody, RenewBody, StartBody, StopBody, WAIT_MS_MAX,
};
pub use supply::{AgentSupply, BootOrder, Bootstrap, Stay, SupplyConfig, SupplyError, boot_failure};
pub use tls::TlsIdentity;
use transport::{Call, Transport};

/// Where a command beside a training is asked for.
const EXEC: &str = "/v1/exec";
/// Bytes of one part of an input. Well below what an agent takes, so that a slow line resumes with little lost.
const PART_BYTES: u64 = 16 << 20;
/// A call that the agent answers from memory.
const QUICK: Duration = Duration::from_secs(15);
/// The question that silence is told by: one that hangs must not hide a lost agent for long.
const STATE: Duration = Duration::from_secs(4);
/// A call for which the agent may have to end processes or remove files.
const LONG: Duration = Duration::from_secs(60);
/// A call that moves many bytes.
const BULK: Duration = Duration::from_secs(180);

/// The training behind one agent. Cheap to clone; clones share connections and what is known of the agent.
#[derive(Debug, Clone)]
pub struct AgentClient {
    transport: Transport,
}

impl AgentClient {
    /// The agent of an order at that base URL (`http://127.0.0.1:10000`, `https://…`). Nothing is sent yet. Clients
    /// share one pool of connections per process.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none; `Internal` where no HTTP client can be made.
    pub fn new(base_url: &str, key: SigningKey, order: OrderName) -> Result<AgentClient, ConnectorError> {
        Ok(AgentClient { transport: Transport::new(base_url, None, key, order)? })
    }

    /// The same over an HTTP client of the caller's own: a tunnel, a proxy, a pinned certificate.
    ///
    /// # Errors
    /// `Invalid` for a URL that is none.
    pub fn with_http(
        base_url: &str,
        http: reqwest::Client,
        key: SigningKey,
        order: OrderName,
    ) -> Result<AgentClient, ConnectorError> {
        Ok(AgentClient { transport: Transport::new(base_url, Some(http), key, order)? })
    }

    fn supplied(self, supply: AgentSupply, arch: Arch) -> AgentClient {
        AgentClient { transport: self.transport.supplied(supply, arch) }
    }

    async fn get<T: DeserializeOwned>(&self, target: &str, within: Duration) -> Result<T, ConnectorError> {
        let answer = self.transport.send(Call::new(Method::GET, target).within(within)).await?;
        read(&answer)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &impl Serialize,
        within: Duration,
    ) -> Result<T, ConnectorError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "the request to the agent cannot be written")
                .because(error)
        })?;
        let call = Call::new(Method::POST, target).within(within).body(body.into());
        read(&self.transport.send(call).await?)
    }

    async fn put_part(
        &self,
        input: &InputSource,
        file: &mut tokio::fs::File,
        at: u64,
    ) -> Result<InputState, ConnectorError> {
        let here = |error: std::io::Error| {
            let text = format!("the input {} cannot be read here", input.path.display());
            ConnectorError::refused(ErrorKind::Invalid, text).because(error)
        };
        let len = PART_BYTES.min(input.size_bytes - at);
        let mut body = vec![0; len as usize];
        file.seek(SeekFrom::Start(at)).await.map_err(here)?;
        file.read_exact(&mut body).await.map_err(here)?;
        let range = match len {
            0 => "bytes */0".to_owned(),
            _ => format!("bytes {at}-{}/{}", at + len - 1, input.size_bytes),
        };
        let target = format!("/v1/inputs/{}", input.sha256);
        let call = Call::new(Method::PUT, &target).within(BULK).body(body.into()).range(range);
        read(&self.transport.send(call).await?)
    }
}

#[async_trait]
impl Workload for AgentClient {
    fn serve(&mut self, job: &JobId, attempt: AttemptNumber) {
        self.transport.serve(job, attempt);
    }

    async fn greet(&self) -> Result<AgentGreeting, ConnectorError> {
        self.transport.greet().await
    }

    async fn state(&self) -> Result<WorkloadState, ConnectorError> {
        self.get("/v1/state", STATE).await
    }

    async fn job(&self) -> Result<Option<KeptJob>, ConnectorError> {
        self.get("/v1/job", QUICK).await
    }

    async fn put_input(&self, input: &InputSource) -> Result<(), ConnectorError> {
        let mut state: InputState = self.get(&format!("/v1/inputs/{}", input.sha256), QUICK).await?;
        if state.complete {
            return Ok(());
        }
        let mut file = tokio::fs::File::open(&input.path).await.map_err(|error| {
            let text = format!("the input {} cannot be opened here", input.path.display());
            ConnectorError::refused(ErrorKind::Invalid, text).because(error)
        })?;
        while !state.complete {
            if state.received > input.size_bytes || (state.received == input.size_bytes && state.received > 0)
            {
                let text = format!("{} bytes of the input {} are there", state.received, input.sha256);
                return Err(ConnectorError::refused(ErrorKind::Mismatch, text));
            }
            let before = state.received;
            state = self.put_part(input, &mut file, before).await?;
            if !state.complete && state.received <= before {
                let text = "the agent took a part of an input and has no more than before";
                return Err(ConnectorError::refused(ErrorKind::Internal, text));
            }
        }
        Ok(())
    }

    async fn start(&self, order: &StartOrder) -> Result<WorkloadState, ConnectorError> {
        let secrets = order.secrets.iter();
        let body = StartBody {
            job_id: order.job_id.clone(),
            attempt: order.attempt,
            spec: order.spec.clone(),
            secrets: secrets.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect(),
            inputs: order.inputs.clone(),
            resume_from: order.resume_from.clone(),
            deadline_s: order.deadline_s,
            machine_ends_s: order.machine_ends_s,
            gpus: order.gpus.clone(),
        };
        self.post("/v1/start", &body, LONG).await
    }

    async fn events(&self, after: u64, wait: Duration) -> Result<EventBatch, ConnectorError> {
        self.events_gathered(after, wait, Duration::ZERO).await
    }

    async fn events_gathered(
        &self,
        after: u64,
        wait: Duration,
        gather: Duration,
    ) -> Result<EventBatch, ConnectorError> {
        let (wait_ms, gather_ms) = (millis(wait).min(WAIT_MS_MAX), millis(gather).min(WAIT_MS_MAX));
        let target = format!("/v1/events?after={after}&wait_ms={wait_ms}&gather_ms={gather_ms}");
        self.get(&target, QUICK + Duration::from_millis(wait_ms + gather_ms)).await
    }

    async fn log(&self, offset: u64, limit: u32) -> Result<Bytes, ConnectorError> {
        let target = format!("/v1/log?offset={offset}&limit={limit}");
        self.transport.send(Call::new(Method::GET, &target).within(BULK)).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), ConnectorError> {
        self.post::<Nothing>("/v1/stop", &StopBody { grace_ms: millis(grace) }, QUICK).await.map(drop)
    }

    async fn pause(&self) -> Result<(), ConnectorError> {
        self.post::<Nothing>("/v1/pause", &Nothing {}, QUICK).await.map(drop)
    }

    async fn resume(&self) -> Result<(), ConnectorError> {
        self.post::<Nothing>("/v1/resume", &Nothing {}, QUICK).await.map(drop)
    }

    async fn manifest(&self, wait: Duration) -> Result<Option<Manifest>, ConnectorError> {
        let wait_ms = millis(wait).min(WAIT_MS_MAX);
        let target = format!("/v1/manifest?wait_ms={wait_ms}");
        self.get(&target, LONG + Duration::from_millis(wait_ms)).await
    }

    async fn file(&self, path: &str, offset: u64, limit: u64) -> Result<Bytes, ConnectorError> {
        let limit = limit.min(ANSWER_BYTES_MAX);
        let target = format!("/v1/file?path={}&offset={offset}&limit={limit}", encode(path));
        self.transport.send(Call::new(Method::GET, &target).within(BULK)).await
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ConnectorError> {
        self.get("/v1/checkpoints", QUICK).await
    }

    async fn hold_checkpoint(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Option<CheckpointManifest>, ConnectorError> {
        let wait_ms = millis(wait).min(WAIT_MS_MAX);
        let body = HoldBody { path: path.to_owned(), wait_ms };
        self.post("/v1/checkpoints/hold", &body, LONG + Duration::from_millis(wait_ms)).await
    }

    async fn checkpoint_file(
        &self,
        path: &str,
        file: &str,
        offset: u64,
        limit: u64,
    ) -> Result<Bytes, ConnectorError> {
        let (path, file, limit) = (encode(path), encode(file), limit.min(ANSWER_BYTES_MAX));
        let target = format!("/v1/checkpoints/file?path={path}&file={file}&offset={offset}&limit={limit}");
        self.transport.send(Call::new(Method::GET, &target).within(BULK)).await
    }

    async fn release_checkpoint(&self, path: &str) -> Result<(), ConnectorError> {
        let body = ReleaseBody { path: path.to_owned() };
        self.post::<Nothing>("/v1/checkpoints/release", &body, LONG).await.map(drop)
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(), ConnectorError> {
        let body = RenewBody {
            lease_ms: millis(renewal.lease),
            deadline_ms: renewal.deadline.map(millis),
            machine_ends_ms: renewal.machine_ends.map(millis),
        };
        self.post::<Nothing>("/v1/renew", &body, QUICK).await.map(drop)
    }

    async fn exec(&self, order: &ExecOrder) -> Result<ExecOutput, ConnectorError> {
        let within = Duration::from_millis(order.within_ms).min(EXEC_WITHIN_MAX);
        self.post(EXEC, order, within + QUICK).await
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        self.post::<Nothing>("/v1/release", &Nothing {}, LONG).await.map(drop)
    }
}

/// An empty object.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Nothing {}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ConnectorError> {
    serde_json::from_slice(answer).map_err(|error| {
        ConnectorError::unknown(ErrorKind::Unreachable, "the agent's answer cannot be read").because(error)
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Percent-encodes everything but what every URL may hold.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_percent_encoded() {
        assert_eq!(encode("a/b c&d=é"), "a/b%20c%26d%3D%C3%A9");
    }
}
