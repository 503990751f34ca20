//! `local` as a connector: slots, agents and their removal joined.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use trainyard_agent::{AgentClient, KeyError, ProcessId, SigningKey, sweep};
use trainyard_connector::{
    Capabilities, Connector, ConnectorError, ConnectorInfo, ErrorKind, MachineObservation, MachinePhase,
    Placement, ProvisionOrder, Termination, Vacancy, Workload,
};
use trainyard_domain::{InstallationId, JobId, OrderName, ProviderJobId, Resources, Timestamp};

use crate::config::LocalConfig;
use crate::gpus::Gpus;
use crate::machines::{Machines, remove_tree};
use crate::slots::Slots;

/// How long an agent that was let go may take to end; then it is killed.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);
/// How long a killed process may take to be gone. One that hangs in the kernel takes longer and is tried again.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at a process that is no child of ours.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why `local` could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Its directory could not be made or read.
    #[error("the directory of local trainings could not be used")]
    Directory(#[from] std::io::Error),
    /// The key towards agents could not be used.
    #[error("the key towards agents could not be used")]
    Key(#[from] KeyError),
}

/// This machine as a provider.
#[derive(Debug)]
pub struct LocalConnector {
    info: ConnectorInfo,
    config: LocalConfig,
    machines: Arc<Machines>,
    slots: Slots,
    gpus: Gpus,
    key: SigningKey,
    now: fn() -> Timestamp,
    /// Agents started by this process: their ports, and the children to be reaped.
    started: Mutex<HashMap<OrderName, (u16, Child)>>,
}

impl LocalConnector {
    /// Sets `local` up, and takes up the agents that live from before. `now` is the clock to read observations by.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn open(
        config: LocalConfig,
        key_seed: [u8; 32],
        now: fn() -> Timestamp,
    ) -> Result<LocalConnector, LocalError> {
        let machines = Machines::open(&config)?;
        machines.clear_unstarted()?;
        let slots = Slots::default();
        for order in machines.orders()? {
            if machines.alive(&order).is_some()
                && let Some(slot) = machines.slot(&order)
            {
                slots.note(order, slot);
            }
        }
        let gpus = Gpus::load(config.use_gpus);
        let info = info(&config, &gpus);
        Ok(LocalConnector {
            info,
            key: SigningKey::from_seed(key_seed)?,
            machines: Arc::new(machines),
            slots,
            gpus,
            config,
            now,
            started: Mutex::default(),
        })
    }

    fn started(&self) -> MutexGuard<'_, HashMap<OrderName, (u16, Child)>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, order: &OrderName) -> Result<AgentClient, ConnectorError> {
        let started = self.started().get(order).map(|(port, _)| *port);
        let port = started.or_else(|| self.machines.record(order).map(|record| record.port));
        let port = port.ok_or_else(|| match self.machines.alive(order) {
            Some(_) => {
                let text = format!("the agent of the order `{order}` does not listen yet");
                ConnectorError::refused(ErrorKind::Unreachable, text)
            }
            None => {
                let text = format!("no agent of the order `{order}` runs on this machine");
                ConnectorError::refused(ErrorKind::NotFound, text)
            }
        })?;
        AgentClient::new(&format!("http://127.0.0.1:{port}"), self.key.clone(), order.clone())
    }

    fn is_ours(&self, order: &OrderName) -> bool {
        self.started().contains_key(order)
    }

    /// Whether no agent of an order runs, as far as one ever did.
    fn is_over(&self, order: &OrderName) -> bool {
        match self.started().get_mut(order) {
            Some((_, child)) => child.try_wait().is_ok_and(|exit| exit.is_some()),
            None => self.machines.alive(order).is_none(),
        }
    }

    /// Ends the agent, kindly at first, and everything that bears the order's mark.
    async fn end(&self, order: &OrderName) -> Result<(), ConnectorError> {
        let process = self.machines.alive(order);
        let mut clean = false;
        if self.is_ours(order) || process.is_some() {
            let released = match self.client(order) {
                Ok(client) => timeout(RELEASE_WITHIN, client.release()).await.is_ok_and(|done| done.is_ok()),
                Err(_) => false,
            };
            let child = self.started().remove(order).map(|(_, child)| child);
            clean = ended(child, process, released).await?;
        }
        if !clean {
            // Its agent did not say that nothing is left: so it is looked for.
            let mark = order.clone();
            let swept = tokio::task::spawn_blocking(move || sweep(mark.as_str())).await;
            let killed = swept.map_err(|error| internal("looking for processes").because(error))?;
            if killed > 0 {
                tracing::warn!(%order, killed, "processes that had outlived their agent were killed");
            }
        }
        Ok(())
    }
}

/// Waits until an agent is gone, and kills it where it does not go. Says whether it went by itself.
async fn ended(
    child: Option<Child>,
    process: Option<ProcessId>,
    released: bool,
) -> Result<bool, ConnectorError> {
    if let Some(mut child) = child {
        if released && timeout(RELEASE_WITHIN, child.wait()).await.is_ok() {
            return Ok(true);
        }
        // Killing fails only where it has ended already.
        let _ = child.start_kill();
        let _ = timeout(KILLED_WITHIN, child.wait()).await;
        return Ok(false);
    }
    let Some(process) = process else { return Ok(false) };
    if released && timeout(RELEASE_WITHIN, gone(process)).await.is_ok() {
        return Ok(true);
    }
    process.kill();
    timeout(KILLED_WITHIN, gone(process))
        .await
        .map(|()| false)
        .map_err(|_| ConnectorError::unknown(ErrorKind::Internal, "the agent was killed but is not gone yet"))
}

async fn gone(process: ProcessId) {
    while process.is_alive() {
        sleep(LOOK_EVERY).await;
    }
}

fn info(config: &LocalConfig, gpus: &Gpus) -> ConnectorInfo {
    let slots = match gpus.count() {
        0 => ("cpu_slots".to_owned(), config.cpu_slots.to_string()),
        cards => ("gpus".to_owned(), cards.to_string()),
    };
    #[expect(clippy::expect_used, reason = "the word is a valid name")]
    let name = "local".parse().expect("`local` is a provider's name");
    ConnectorInfo {
        name,
        capabilities: Capabilities { pause: true, queue: true, ..Capabilities::default() },
        proven: "tested".to_owned(),
        limits: vec![slots],
        agent_lost_after_s: config.agent_lost_after_s,
        // The order is a process of this machine: a moment after the server's start it is seen or was never made.
        settle_s: 1,
        boot_deadline_s: 30,
    }
}

fn observation(
    order: &OrderName,
    id: ProviderJobId,
    phase: MachinePhase,
    at: Timestamp,
) -> MachineObservation {
    MachineObservation { order: order.clone(), id, phase, price_per_hour: None, note: None, at }
}

fn machine_id(order: &OrderName) -> Result<ProviderJobId, ConnectorError> {
    let attempt = order.as_str().rsplit('-').next().unwrap_or_default();
    format!("local-{attempt}").parse().map_err(|error| internal("naming a machine").because(error))
}

fn internal(doing: &str) -> ConnectorError {
    ConnectorError::unknown(ErrorKind::Internal, format!("{doing} failed"))
}

#[async_trait]
impl Connector for LocalConnector {
    fn info(&self) -> &ConnectorInfo {
        &self.info
    }

    async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        let id = machine_id(&order.name)?;
        let (want, cards) = (order.resources.gpu_count, self.gpus.count());
        let slot =
            self.slots.take(&order.name, want, cards, self.config.cpu_slots, |card| self.gpus.is_idle(card));
        let Some(slot) = slot else {
            return Err(ConnectorError::refused(
                ErrorKind::NoCapacity,
                "every slot of this machine is taken",
            ));
        };
        let started = self.machines.start(&self.config, &order.name, &self.key.public_hex(), &slot);
        match started {
            Ok((child, port)) => {
                self.started().insert(order.name.clone(), (port, child));
                Ok(Placement { id, price_per_hour: None })
            }
            Err(error) => {
                self.slots.free(&order.name);
                // Nothing runs; a directory that cannot be removed either is swept later.
                let _ = self.machines.remove(&order.name);
                let message = "the agent could not be started on this machine";
                Err(ConnectorError::refused(ErrorKind::Internal, message).because(error))
            }
        }
    }

    async fn list_owned(&self, owner: &InstallationId) -> Result<Vec<MachineObservation>, ConnectorError> {
        let orders = self
            .machines
            .orders()
            .map_err(|error| internal("reading the directory of agents").because(error))?;
        let ours = orders.into_iter().filter(|order| order.installation() == owner.as_str());
        ours.map(|order| {
            // A directory whose agent is gone is listed too, so that it is cleared away.
            let dead = || MachinePhase::Unknown("dead".to_owned());
            let phase = if self.is_over(&order) { dead() } else { MachinePhase::Up };
            Ok(observation(&order, machine_id(&order)?, phase, (self.now)()))
        })
        .collect()
    }

    async fn observe(
        &self,
        order: &OrderName,
        id: &ProviderJobId,
    ) -> Result<MachineObservation, ConnectorError> {
        let phase = if self.is_over(order) { MachinePhase::Gone } else { MachinePhase::Up };
        Ok(observation(order, id.clone(), phase, (self.now)()))
    }

    async fn terminate(&self, order: &OrderName, _id: &ProviderJobId) -> Result<Termination, ConnectorError> {
        self.end(order).await?;
        // No process is left, so the slot is free, whatever becomes of the files.
        self.slots.free(order);
        let (machines, of) = (self.machines.clone(), order.clone());
        let removed = tokio::task::spawn_blocking(move || machines.remove(&of)).await;
        let removed = removed.map_err(|error| internal("removing an agent's directory").because(error))?;
        removed.map_err(|error| internal("removing an agent's directory").because(error))?;
        Ok(Termination::Gone("no process of it is left on this machine".to_owned()))
    }

    async fn attach(
        &self,
        order: &OrderName,
        _id: &ProviderJobId,
    ) -> Result<Box<dyn Workload>, ConnectorError> {
        Ok(Box::new(self.client(order)?))
    }

    async fn forget(&self, job: &JobId) -> Result<(), ConnectorError> {
        let directory = self.machines.kept(job);
        let removed = tokio::task::spawn_blocking(move || remove_tree(&directory)).await;
        let removed = removed.map_err(|error| internal("removing what was kept").because(error))?;
        removed.map_err(|error| internal("removing what was kept").because(error))
    }

    fn vacancy(&self, resources: &Resources) -> Vacancy {
        let (want, cards) = (resources.gpu_count, self.gpus.count());
        self.slots.vacancy(want, cards, self.config.cpu_slots, |card| self.gpus.is_idle(card))
    }

    fn cards(&self, order: &OrderName) -> Option<Vec<u32>> {
        self.slots.cards_of(order)
    }

    async fn capacity_bell(&self) {
        self.slots.freed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn order(n: u32) -> OrderName {
        format!("ty-localtst-{n:026}").parse().unwrap()
    }

    fn open(directory: &Path) -> LocalConnector {
        let config = LocalConfig::below(directory.to_owned()).unwrap();
        let config = LocalConfig { use_gpus: false, cpu_slots: 4, ..config };
        LocalConnector::open(config, [7; 32], || Timestamp::UNIX_EPOCH).unwrap()
    }

    #[tokio::test]
    async fn an_order_whose_agent_was_never_started_is_not_there_and_one_that_starts_is() {
        let directory = tempfile::tempdir().unwrap();
        // This process's own number keeps other runs of the test apart.
        let (never, starts) = (order(std::process::id()), order(std::process::id() + 1_000_000_000));
        drop(open(directory.path()));
        for order in [&never, &starts] {
            let machine = directory.path().join("machines").join(order.as_str());
            std::fs::create_dir(&machine).unwrap();
            std::fs::write(machine.join("slot.json"), "{}").unwrap();
        }
        // An agent that has not yet written down who it is.
        let script = ["-c", "while :; do sleep 0.05; done", "__agent", starts.as_str()];
        let mut agent = std::process::Command::new("sh").args(script).spawn().unwrap();
        while trainyard_agent::agent_of(starts.as_str()).is_none() {
            // waits: for the shell to have replaced this program's image
            sleep(LOOK_EVERY).await;
        }
        let local = open(directory.path());
        let owned = local.list_owned(&"localtst".parse().unwrap()).await.unwrap();
        let seen: Vec<_> = owned.iter().map(|one| (&one.order, &one.phase)).collect();
        assert_eq!(seen, [(&starts, &MachinePhase::Up)]);
        let id = machine_id(&starts).unwrap();
        assert_eq!(local.attach(&starts, &id).await.unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(local.attach(&never, &id).await.unwrap_err().kind, ErrorKind::NotFound);
        local.terminate(&starts, &id).await.unwrap();
        assert!(agent.wait().unwrap().code().is_none(), "it was killed");
        assert!(local.list_owned(&"localtst".parse().unwrap()).await.unwrap().is_empty());
    }
}
