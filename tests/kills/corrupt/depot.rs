//! A provider whose machines cost nothing, are up at once, and whose agents are all behind one address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use trainyard_agent::{AgentClient, SigningKey};
use trainyard_connector::{
    Capabilities, Connector, ConnectorError, ConnectorInfo, MachineObservation, MachinePhase, Placement,
    ProvisionOrder, Termination, Workload,
};
use trainyard_domain::{InstallationId, JobId, OrderName, ProviderJobId};
use trainyard_orchestrator::{Clock, SystemClock};

/// The provider.
#[derive(Debug)]
pub(super) struct Depot {
    info: ConnectorInfo,
    agents: SocketAddr,
    rented: Mutex<BTreeMap<OrderName, ProviderJobId>>,
}

impl Depot {
    pub(super) fn new(agents: SocketAddr) -> Depot {
        let info = ConnectorInfo {
            name: "depot".parse().expect("a name"),
            capabilities: Capabilities::default(),
            proven: "tested".to_owned(),
            limits: Vec::new(),
            agent_lost_after_s: 600,
            settle_s: 0,
            boot_deadline_s: 600,
        };
        Depot { info, agents, rented: Mutex::default() }
    }

    fn rented(&self) -> std::sync::MutexGuard<'_, BTreeMap<OrderName, ProviderJobId>> {
        self.rented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, order: &OrderName, id: &ProviderJobId) -> MachineObservation {
        let phase = if self.rented().contains_key(order) { MachinePhase::Up } else { MachinePhase::Gone };
        let (order, id) = (order.clone(), id.clone());
        MachineObservation { order, id, phase, price_per_hour: None, note: None, at: SystemClock.now() }
    }
}

#[async_trait]
impl Connector for Depot {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let id: ProviderJobId = order.name.as_str().parse().expect("an id");
        self.rented().insert(order.name.clone(), id.clone());
        Ok(Placement { id, price_per_hour: None })
    }

    async fn list_owned(&self, _: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let rented = self.rented().clone();
        Ok(rented.iter().map(|(order, id)| self.seen(order, id)).collect())
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        Ok(self.seen(order, id))
    }

    async fn terminate(&self, order: &OrderName, _: &ProviderJobId) -> Result<Termination, ConnectorError> {
        self.rented().remove(order);
        Ok(Termination::Gone("it is not there".to_owned()))
    }

    async fn attach(
        &self,
        order: &OrderName,
        _: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        let key = SigningKey::from_seed([7; 32]).expect("a key");
        let url = format!("http://{}/{order}", self.agents);
        Ok(Box::new(AgentClient::new(&url, key, order.clone())?))
    }

    async fn forget(&self, _: &JobId) -> Result<(), ConnectorError> {
        Ok(())
    }
}
