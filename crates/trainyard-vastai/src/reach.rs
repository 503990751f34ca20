//! The agent behind a mapped port: TLS that trusts the attempt's certificate only, at an address that may change.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout};
use trainyard_agent::{AgentClient, SupplyError, TlsIdentity};
use trainyard_connector::{
    AgentGreeting, Arch, CheckpointInfo, CheckpointManifest, ConnectorError, ErrorKind, EventBatch,
    ExecOrder, ExecOutput, InputSource, KeptJob, Manifest, Renewal, StartOrder, Workload, WorkloadState,
};
use trainyard_domain::{AttemptNumber, JobId, OrderName};

use crate::connector::Shared;
use crate::seen::Whereabouts;

/// How long asking Vast for the address may take: the caller waits for an agent, not for a vendor.
const ADDRESS_WITHIN: Duration = Duration::from_secs(8);

/// The training on one instance. Its address is looked up at each call, so an instance that has none yet, or another one
/// since it was stopped and started, is merely not reached for a while.
#[derive(Debug)]
pub(crate) struct MappedWorkload {
    shared: Arc<Shared>,
    order: OrderName,
    id: u64,
    client: Mutex<Option<(SocketAddr, AgentClient)>>,
    /// The attempt that calls are meant for.
    attempt: Option<(JobId, AttemptNumber)>,
}

impl MappedWorkload {
    pub(crate) fn new(shared: Arc<Shared>, order: OrderName, id: u64) -> MappedWorkload {
        MappedWorkload { shared, order, id, client: Mutex::new(None), attempt: None }
    }

    async fn client(&self) -> Result<AgentClient, ConnectorError> {
        let (address, arch) = self.address().await?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some((known, client)) if *known == address => Ok(client.clone()),
            _ => {
                let mut fresh = self.dial(address, arch)?;
                if let Some((job, attempt)) = &self.attempt {
                    fresh.serve(job, *attempt);
                }
                *client = Some((address, fresh.clone()));
                Ok(fresh)
            }
        }
    }

    fn dial(&self, address: SocketAddr, arch: Arch) -> Result<AgentClient, ConnectorError> {
        let supply = &self.shared.config.supply;
        let identity = TlsIdentity::of(supply.key(), &self.order).map_err(not_made)?;
        let http = identity.http_client(address).map_err(not_made)?;
        supply.client_with(&format!("https://{address}"), http, self.order.clone(), arch)
    }

    async fn address(&self) -> Result<(SocketAddr, Arch), ConnectorError> {
        match self.shared.seen.whereabouts(self.id, Instant::now()) {
            Whereabouts::At(address, arch) => return Ok((address, arch)),
            Whereabouts::NotYet => return Err(not_yet()),
            Whereabouts::Unknown => {}
        }
        // Its answer, good or bad, is for the listing to judge: what counts here is the address.
        timeout(ADDRESS_WITHIN, self.shared.read_one(&self.order, self.id))
            .await
            .map_err(|_| not_yet())??;
        match self.shared.seen.whereabouts(self.id, Instant::now()) {
            Whereabouts::At(address, arch) => Ok((address, arch)),
            Whereabouts::NotYet | Whereabouts::Unknown => Err(not_yet()),
        }
    }

    /// An agent that is not reached may have moved.
    fn heed<T>(&self, result: Result<T, ConnectorError>) -> Result<T, ConnectorError> {
        if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unreachable) {
            self.shared.seen.doubt(self.id);
        }
        result
    }
}

/// Certificates and clients are made here: nothing was sent.
pub(crate) fn not_made(error: SupplyError) -> ConnectorError {
    let kind = match error {
        SupplyError::NoArch(_) => ErrorKind::Unsupported,
        SupplyError::Binary { .. } | SupplyError::Certificate(_) | SupplyError::Client(_) => {
            ErrorKind::Internal
        }
    };
    ConnectorError::refused(kind, "the way to the machine's agent cannot be made").because(error)
}

/// Never `NotFound`: that would say that the machine is gone.
fn not_yet() -> ConnectorError {
    ConnectorError::refused(ErrorKind::Unreachable, "Vast.ai shows no address of the machine's agent yet")
}

#[async_trait]
impl Workload for MappedWorkload {
    fn serve(&mut self, job: &JobId, attempt: AttemptNumber) {
        self.attempt = Some((job.clone(), attempt));
        *self.client.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn greet(&self) -> Result<AgentGreeting, ConnectorError> {
        self.heed(self.client().await?.greet().await)
    }

    async fn job(&self) -> Result<Option<KeptJob>, ConnectorError> {
        self.heed(self.client().await?.job().await)
    }

    async fn state(&self) -> Result<WorkloadState, ConnectorError> {
        self.heed(self.client().await?.state().await)
    }

    async fn put_input(&self, input: &InputSource) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.put_input(input).await)
    }

    async fn start(&self, order: &StartOrder) -> Result<WorkloadState, ConnectorError> {
        self.heed(self.client().await?.start(order).await)
    }

    async fn events(&self, after: u64, wait: Duration) -> Result<EventBatch, ConnectorError> {
        self.heed(self.client().await?.events(after, wait).await)
    }

    async fn events_gathered(
        &self,
        after: u64,
        wait: Duration,
        gather: Duration,
    ) -> Result<EventBatch, ConnectorError> {
        self.heed(self.client().await?.events_gathered(after, wait, gather).await)
    }

    async fn log(&self, offset: u64, limit: u32) -> Result<Bytes, ConnectorError> {
        self.heed(self.client().await?.log(offset, limit).await)
    }

    async fn stop(&self, grace: Duration) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.stop(grace).await)
    }

    async fn pause(&self) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.pause().await)
    }

    async fn resume(&self) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.resume().await)
    }

    async fn manifest(&self, wait: Duration) -> Result<Option<Manifest>, ConnectorError> {
        self.heed(self.client().await?.manifest(wait).await)
    }

    async fn file(&self, path: &str, offset: u64, limit: u64) -> Result<Bytes, ConnectorError> {
        self.heed(self.client().await?.file(path, offset, limit).await)
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ConnectorError> {
        self.heed(self.client().await?.checkpoints().await)
    }

    async fn hold_checkpoint(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Option<CheckpointManifest>, ConnectorError> {
        self.heed(self.client().await?.hold_checkpoint(path, wait).await)
    }

    async fn checkpoint_file(
        &self,
        path: &str,
        file: &str,
        offset: u64,
        limit: u64,
    ) -> Result<Bytes, ConnectorError> {
        self.heed(self.client().await?.checkpoint_file(path, file, offset, limit).await)
    }

    async fn release_checkpoint(&self, path: &str) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.release_checkpoint(path).await)
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.renew(renewal).await)
    }

    async fn exec(&self, order: &ExecOrder) -> Result<ExecOutput, ConnectorError> {
        self.heed(self.client().await?.exec(order).await)
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        self.heed(self.client().await?.release().await)
    }
}
