//! What every test of a vendor's connector needs: a world, a connector that points at it, orders, and waiting for states.
//!
//! A file of each vendor's tests, which say what is its own by a [`Setup`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use trainyard_agent::{AgentSupply, SigningKey, SupplyConfig};
use trainyard_connector::{
    Arch, Connector, ConnectorError, MachineObservation, MachinePhase, Offer, Placement, ProvisionOrder,
    Workload,
};
use trainyard_domain::{InstallationId, OrderName, Resources, Timestamp};
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_simulator::world::Machine;
use trainyard_simulator::{Account, Options, Simulator, Vendor, World, serve};

/// Waiting for a state gives up after this.
const WITHIN: Duration = Duration::from_secs(30);

/// What is one vendor's own.
pub(crate) trait Setup {
    type Connector: Connector;
    type Config: Clone;
    const VENDOR: Vendor;

    /// A connector's configuration for this world, without the vendor's paces: tests ask more often than an account may.
    fn config(simulator: &Simulator, key: SecretString, supply: AgentSupply) -> Self::Config;

    fn connect(config: Self::Config) -> Self::Connector;

    /// Whatever there is.
    fn any() -> Resources;
}

pub(crate) struct Rig<S: Setup> {
    pub(crate) simulator: Simulator,
    pub(crate) world: World,
    pub(crate) connector: S::Connector,
    pub(crate) config: S::Config,
}

/// An image that brings the agent.
pub(crate) fn with_agent() -> Options {
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let image_environment = BTreeMap::from([("TRAINYARD_AGENT".to_owned(), program)]);
    Options { image_environment, ..Options::for_tests() }
}

#[expect(clippy::disallowed_methods, reason = "a test's own clock")]
pub(crate) fn now() -> Timestamp {
    chrono::Utc::now()
}

pub(crate) fn installation() -> InstallationId {
    "tests000".parse().unwrap()
}

impl<S: Setup> Rig<S> {
    pub(crate) async fn start(options: Options, change: impl FnOnce(&mut S::Config)) -> Self {
        let simulator = serve(options).await.unwrap();
        let binaries = BTreeMap::from([(Arch::X86_64, std::env::current_exe().unwrap())]);
        let key = SigningKey::from_seed([5; 32]).unwrap();
        let supply = AgentSupply::new(SupplyConfig { fetch: None, served_at: None, binaries, key }).unwrap();
        let key = SecretString::from(Account::usual_key(S::VENDOR));
        let mut config = S::config(&simulator, key, supply);
        change(&mut config);
        let connector = S::connect(config.clone());
        Rig { world: simulator.world(), simulator, connector, config }
    }

    /// Without delays, with the agent in the image.
    pub(crate) async fn usual() -> Self {
        Self::start(with_agent(), |_| {}).await
    }

    /// The same installation after a restart of its server.
    pub(crate) fn again(&self) -> S::Connector {
        S::connect(self.config.clone())
    }

    pub(crate) fn fault(&self, operation: &str, fault: Fault) {
        self.world.add_fault(Rule::once(S::VENDOR, operation, fault));
    }

    pub(crate) fn switch(&self, operation: &str, name: &str, value: serde_json::Value) {
        self.fault(operation, Fault::Own { name: name.to_owned(), value });
    }

    pub(crate) fn asked(&self, operation: &str) -> u64 {
        self.world.count(S::VENDOR, operation).asked
    }

    pub(crate) fn alive(&self) -> Vec<Machine> {
        self.world.alive()
    }

    pub(crate) async fn offers(&self) -> Vec<Offer> {
        self.connector.offers(&S::any()).await.unwrap()
    }

    /// An order of the cheapest machine.
    pub(crate) async fn order(&self) -> ProvisionOrder {
        let offer = self.offers().await.into_iter().next();
        ProvisionOrder { name: new_order(), resources: S::any(), offer, image: None, registry: None }
    }

    pub(crate) async fn provision(&self, order: &ProvisionOrder) -> Result<Placement, ConnectorError> {
        self.connector.provision(order).await
    }

    pub(crate) async fn list(&self) -> Vec<MachineObservation> {
        self.connector.list_owned(&installation()).await.unwrap()
    }

    /// How the machine of an order is by the listing; none where it is not listed.
    pub(crate) async fn phase(&self, order: &ProvisionOrder) -> Option<MachinePhase> {
        self.list().await.into_iter().find(|seen| seen.order == order.name).map(|seen| seen.phase)
    }

    pub(crate) async fn until_phase(
        &self,
        order: &ProvisionOrder,
        so: impl Fn(Option<MachinePhase>) -> bool,
    ) {
        let until = Instant::now() + WITHIN;
        loop {
            let phase = self.phase(order).await;
            if so(phase.clone()) {
                return;
            }
            assert!(Instant::now() < until, "still {phase:?}");
            // waits: a little between two readings
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_up(&self, order: &ProvisionOrder) {
        self.until_phase(order, |phase| phase == Some(MachinePhase::Up)).await;
    }

    /// The agent of an order, once it answers.
    pub(crate) async fn agent(&self, order: &ProvisionOrder, placed: &Placement) -> Box<dyn Workload> {
        let agent = self.connector.attach(&order.name, &placed.id).await.unwrap();
        greeted(agent.as_ref()).await;
        agent
    }

    /// Gives everything back and ends the world, which panics where something is left.
    pub(crate) async fn end(self) {
        for machine in self.alive() {
            let id = machine.id.parse().unwrap();
            let order = machine.name.parse().unwrap_or_else(|_| new_order());
            // Underway, or gone since it was read.
            self.connector.terminate(&order, &id).await.unwrap();
        }
        assert!(self.world.until(WITHIN, |world| world.alive().is_empty()).await);
        self.simulator.stop().await;
    }
}

pub(crate) async fn greeted(agent: &dyn Workload) {
    let until = Instant::now() + WITHIN;
    while let Err(error) = agent.greet().await {
        assert!(Instant::now() < until, "the agent does not answer: {error}: {:?}", error.source);
        // waits: a little between two tries
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn new_order() -> OrderName {
    OrderName::new(&installation(), ulid::Ulid::generate())
}
