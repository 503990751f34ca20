//! `local` under the kit: real agents in a directory of the case's own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use trainyard_agent::AgentRecord;
use trainyard_connector::{Connector, ErrorKind, ProvisionOrder};
use trainyard_domain::{InstallationId, OrderName, ProviderJobId, Resources};
use trainyard_local::{LocalConfig, LocalConnector};
use trainyard_testkit::connector::{Can, ConnectorHarness, Fault, NotRun, Operation, Trial, TrueMachine};

use crate::now;

pub(crate) struct Local;

#[async_trait]
impl ConnectorHarness for Local {
    async fn open(&self, _agents: bool) -> Box<dyn Trial> {
        let directory = tempfile::tempdir().expect("a directory");
        let connector = connector(&directory);
        Box::new(LocalTrial { directory, connector, others: Mutex::default() })
    }
}

fn connector(directory: &TempDir) -> Arc<LocalConnector> {
    let config = LocalConfig {
        cpu_slots: 6,
        use_gpus: false,
        ..LocalConfig::below(directory.path().to_owned()).expect("this program's path")
    };
    Arc::new(LocalConnector::open(config, [7; 32], now).expect("a connector"))
}

struct LocalTrial {
    directory: TempDir,
    connector: Arc<LocalConnector>,
    /// Machines that others took all slots with.
    others: Mutex<Vec<(OrderName, ProviderJobId)>>,
}

impl LocalTrial {
    fn machines(&self) -> PathBuf {
        self.directory.path().join("machines")
    }

    fn record(&self, name: &str) -> Option<AgentRecord> {
        let bytes = std::fs::read(self.machines().join(name).join(AgentRecord::FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

#[async_trait]
impl Trial for LocalTrial {
    fn connector(&self) -> Arc<dyn Connector> {
        self.connector.clone()
    }

    fn installation(&self) -> InstallationId {
        "kitlocal".parse().expect("an installation")
    }

    async fn reconnect(&self) -> Arc<dyn Connector> {
        connector(&self.directory)
    }

    async fn pass(&self, time: Duration) {
        // waits: processes live in real time
        tokio::time::sleep(time / 10).await;
    }

    async fn truth(&self) -> Can<Vec<TrueMachine>> {
        let entries = std::fs::read_dir(self.machines()).expect("the directory of machines");
        let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
        Ok(names
            .map(|name| TrueMachine {
                id: format!("local-{}", name.rsplit('-').next().unwrap_or_default()),
                // One without a record was started a moment ago.
                alive: self.record(&name).is_none_or(|record| record.process.is_alive()),
                name,
            })
            .collect())
    }

    async fn inject(&self, at: Operation, _times: u32, fault: Fault) -> Can<()> {
        if (at, &fault) != (Operation::Create, &Fault::NoCapacity) {
            return Err(NotRun("nothing is between this machine and itself that could break".to_owned()));
        }
        for n in 0.. {
            let name: OrderName = format!("ty-somebody-{n:026}").parse().expect("a name");
            let resources = Resources::default();
            let order =
                ProvisionOrder { name: name.clone(), resources, offer: None, image: None, registry: None };
            match self.connector.provision(&order).await {
                Ok(placed) => self.others.lock().expect("the list").push((name, placed.id)),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::NoCapacity);
                    break;
                }
            }
        }
        Ok(())
    }

    async fn heal(&self) {
        let others = std::mem::take(&mut *self.others.lock().expect("the list"));
        for (name, id) in others {
            self.connector.terminate(&name, &id).await.expect("another's machine ended");
        }
    }

    async fn stranger(&self, name: &str) -> Can<()> {
        if !name.is_empty() {
            std::fs::create_dir(self.machines().join(name)).expect("a directory that is no agent's");
        }
        Ok(())
    }

    async fn take_away(&self, name: &str) -> Can<()> {
        // An agent that was just started has written no record yet.
        for _ in 0..500 {
            if let Some(record) = self.record(name) {
                record.process.kill();
                return Ok(());
            }
            self.pass(Duration::from_millis(100)).await;
        }
        panic!("the agent of {name} has no record");
    }
}
