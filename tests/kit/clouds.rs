//! The clouds under the kit, each over a simulator of the case's own: real requests, real machines, real agents.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Value, json};
use trainyard_agent::{AgentSupply, SigningKey, SupplyConfig};
use trainyard_connector::{Arch, Connector};
use trainyard_domain::{InstallationId, Resources};
use trainyard_simulator::faults::{Canned, Fault as Broken, FaultPlan, Rule, When};
use trainyard_simulator::world::Call;
use trainyard_simulator::{Account, Options, Order, Simulator, Vendor, serve};
use trainyard_testkit::connector::{Can, ConnectorHarness, Fault, NotRun, Operation, Trial, TrueMachine};

use crate::door::Door;
use crate::now;

/// Who is simulated, and what its connector is set up with.
pub(crate) struct Cloud {
    pub(crate) vendor: Vendor,
    pub(crate) connect: fn(&Place, SecretString) -> Arc<dyn Connector>,
}

/// What a connector needs to know of a simulator.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) proxy_url: String,
    pub(crate) ssh_port: u16,
    pub(crate) supply: AgentSupply,
    pub(crate) installation: InstallationId,
}

#[async_trait]
impl ConnectorHarness for Cloud {
    async fn open(&self, _agents: bool) -> Box<dyn Trial> {
        let program = std::env::current_exe().expect("this program's path");
        let program = program.to_str().expect("a path in UTF-8").to_owned();
        // As an image that brings the agent: how it is brought otherwise has tests of its own.
        let image_environment = BTreeMap::from([("TRAINYARD_AGENT".to_owned(), program)]);
        let options = Options { strict: false, image_environment, ..Options::for_tests() };
        let simulator = serve(options).await.expect("a simulator");
        let door = Door::to(simulator.addr()).await;
        let place = Place {
            url: format!("{}/{}", door.url(), self.vendor),
            proxy_url: simulator.proxy_url(),
            ssh_port: simulator.world().ssh_port(),
            supply: supply(),
            installation: "kitcloud".parse().expect("an installation"),
        };
        let connector = (self.connect)(&place, key(self.vendor));
        Box::new(CloudTrial { vendor: self.vendor, connect: self.connect, simulator, door, place, connector })
    }
}

fn key(vendor: Vendor) -> SecretString {
    SecretString::from(Account::usual_key(vendor))
}

/// One for the whole program: it reads this program once.
fn supply() -> AgentSupply {
    static SUPPLY: OnceLock<AgentSupply> = OnceLock::new();
    let make = || {
        let program = std::env::current_exe().expect("this program's path");
        let binaries = BTreeMap::from([(Arch::X86_64, program)]);
        let key = SigningKey::from_seed([5; 32]).expect("a key");
        AgentSupply::new(SupplyConfig { fetch: None, served_at: None, binaries, key }).expect("a supply")
    };
    SUPPLY.get_or_init(make).clone()
}

struct CloudTrial {
    vendor: Vendor,
    connect: fn(&Place, SecretString) -> Arc<dyn Connector>,
    simulator: Simulator,
    door: Door,
    place: Place,
    connector: Arc<dyn Connector>,
}

#[async_trait]
impl Trial for CloudTrial {
    fn connector(&self) -> Arc<dyn Connector> {
        self.connector.clone()
    }

    fn installation(&self) -> InstallationId {
        self.place.installation.clone()
    }

    async fn reconnect(&self) -> Arc<dyn Connector> {
        (self.connect)(&self.place, key(self.vendor))
    }

    async fn pass(&self, time: Duration) {
        self.simulator.world().clock().step(time * 20);
        // waits: processes live in real time
        tokio::time::sleep(time / 2).await;
    }

    fn resources(&self) -> Resources {
        Resources { disk_gb: 20, ..Resources::default() }
    }

    async fn truth(&self) -> Can<Vec<TrueMachine>> {
        let machines = self.simulator.world().machines_of(self.vendor).into_iter();
        Ok(machines.map(|it| TrueMachine { alive: it.is_alive(), name: it.name, id: it.id }).collect())
    }

    async fn inject(&self, at: Operation, times: u32, fault: Fault) -> Can<()> {
        if fault == Fault::Unreachable {
            self.door.shut();
            return Ok(());
        }
        let fault = self.translated(at, fault)?;
        let operation = Some(word(at).to_owned());
        let rule = Rule { vendor: Some(self.vendor), operation, when: When::Next(times), fault };
        self.simulator.world().add_fault(rule);
        Ok(())
    }

    async fn heal(&self) {
        self.simulator.world().set_faults(FaultPlan::default());
        self.door.open().await;
    }

    async fn asked(&self, operation: Operation) -> Can<u64> {
        Ok(self.simulator.world().count(self.vendor, word(operation)).asked)
    }

    async fn stranger(&self, name: &str) -> Can<()> {
        let world = self.simulator.world();
        let mine =
            world.machines_of(self.vendor).into_iter().next().expect("a machine to make another one like");
        // Alike in everything, but whatever bears my name bears theirs.
        let details = mine.order.details.to_string().replace(&mine.name, name);
        let order = Order {
            name: name.to_owned(),
            tags: BTreeMap::new(),
            details: serde_json::from_str(&details).expect("JSON"),
            program: Vec::new(),
            ports: Vec::new(),
            service: None,
            ..mine.order.as_ref().clone()
        };
        // Some vendors' offers are gone once they are taken.
        let call = Call::plain(self.vendor, "create");
        let offers = world.offers(self.vendor).into_iter();
        let placed = offers
            .map(|offer| world.place(&call, Order { offer: offer.id, ..order.clone() }))
            .find(Result::is_ok);
        placed.expect("an offer for a stranger").expect("a stranger's machine");
        Ok(())
    }

    async fn take_away(&self, name: &str) -> Can<()> {
        let world = self.simulator.world();
        let machine = world.machines_of(self.vendor).into_iter().find(|it| it.name == name && it.is_alive());
        world.delete_in_console(self.vendor, &machine.expect("such a machine").id).expect("it goes");
        Ok(())
    }

    fn page(&self) -> Can<usize> {
        match self.vendor {
            // The vendor's own limit of a page.
            Vendor::Vastai => Ok(25),
            // A page may hold fewer than were asked for, says RunPod: here it does.
            Vendor::Runpod => {
                let small = Broken::Own { name: "page_size".to_owned(), value: 2.into() };
                self.simulator.world().add_fault(Rule::always(Vendor::Runpod, "list", small));
                Ok(2)
            }
            Vendor::Lambda => Err(NotRun("the vendor's lists have no pages".to_owned())),
        }
    }

    fn key(&self) -> Can<SecretString> {
        Ok(key(self.vendor))
    }

    async fn with_key(&self, key: SecretString) -> Can<Arc<dyn Connector>> {
        Ok((self.connect)(&self.place, key))
    }

    async fn shown(&self, name: &str) -> Can<String> {
        let tape = self.simulator.world().tape();
        let readings = tape.into_iter().filter(|exchange| exchange.method == "GET");
        let texts = readings.filter_map(|exchange| String::from_utf8(exchange.answer?.to_vec()).ok());
        Ok(texts.filter(|text| text.contains(name)).collect())
    }

    async fn end(self: Box<Self>) {
        let mine = format!("ty-{}-", self.place.installation);
        let left = self.simulator.world().alive();
        let left: Vec<_> = left
            .iter()
            .map(|it| &it.name)
            .filter(|name| name.starts_with(&mine) && name.len() == 38)
            .collect();
        let told = format!("machines are left alive, and billed: {left:?}");
        let clean = left.is_empty();
        self.simulator.stop().await;
        assert!(clean, "{told}");
    }
}

impl CloudTrial {
    /// The kit's fault in the simulator's words.
    fn translated(&self, at: Operation, fault: Fault) -> Can<Broken> {
        let canned = |status, retry_after_s| Canned {
            body: (status == 401).then(|| self.unauthorized().to_string()),
            retry_after_s,
            ..Canned::status(status)
        };
        Ok(match fault {
            Fault::Unreachable => return Err(NotRun("the door is shut for that".to_owned())),
            Fault::DropBefore => Broken::DropBefore,
            Fault::DropAfter => Broken::DropAfter,
            Fault::StallBefore => Broken::StallBefore { seconds: 2.0 },
            Fault::StallAfter => Broken::StallAfter { seconds: 2.0 },
            Fault::StatusBefore { status, retry_after_s } => {
                Broken::StatusBefore(canned(status, retry_after_s))
            }
            Fault::StatusAfter { status } => Broken::StatusAfter(canned(status, None)),
            Fault::Cut { bytes } => Broken::Cut { bytes },
            Fault::Truncate { bytes } => Broken::Truncate { bytes },
            Fault::Answer { body } => Broken::Answer { body, content_type: None },
            Fault::Slow => Broken::Slow { bytes_per_s: 4 },
            Fault::Huge => {
                Broken::Answer { body: format!("[\"{}\"]", "x".repeat(40 << 20)), content_type: None }
            }
            Fault::ExtraFields => Broken::ExtraFields,
            Fault::NumbersAsStrings => Broken::NumbersAsStrings,
            Fault::StateWord(word) => {
                Broken::Replace { pointer: self.state_at(at)?.to_owned(), value: word.into() }
            }
            Fault::NoCapacity => Broken::NoCapacity,
            Fault::NoCredit => Broken::NoCredit,
            Fault::PriceJump => Broken::PriceJump { factor: 2 },
            Fault::OtherSize => Broken::OtherSize { gpus: Some(1), region: None },
            Fault::NeverBoots => Broken::NeverBoots,
            Fault::TerminateIgnored => Broken::TerminateIgnored,
            Fault::TerminateNotFound => Broken::TerminateNotFound,
        })
    }

    /// Where the vendor's word for a machine's state stands in its answers.
    fn state_at(&self, at: Operation) -> Can<&'static str> {
        match (self.vendor, at) {
            (Vendor::Runpod, Operation::List) => Ok("/pods/*/status"),
            (Vendor::Runpod, Operation::Get) => Ok("/status"),
            (Vendor::Lambda, Operation::List) => Ok("/data/*/status"),
            (Vendor::Lambda, Operation::Get) => Ok("/data/status"),
            (Vendor::Vastai, Operation::List) => Ok("/instances/*/actual_status"),
            (Vendor::Vastai, Operation::Get) => Ok("/instances/actual_status"),
            (_, Operation::Offers | Operation::Create | Operation::Terminate) => {
                Err(NotRun("no machine is shown there".to_owned()))
            }
        }
    }

    /// How the vendor refuses a key.
    fn unauthorized(&self) -> Value {
        match self.vendor {
            Vendor::Runpod => {
                json!({"title": "Unauthorized", "status": 401, "detail": "missing bearer token"})
            }
            Vendor::Lambda => json!({"error": {"code": "global/invalid-api-key",
                "message": "API key was invalid, expired, or deleted."}}),
            Vendor::Vastai => json!({"success": false, "error": "auth_error", "msg": "Invalid user key"}),
        }
    }
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Offers => "offers",
        Operation::Create => "create",
        Operation::List => "list",
        Operation::Get => "get",
        Operation::Terminate => "terminate",
    }
}

/// RunPod's connector.
pub(crate) fn runpod(place: &Place, key: SecretString) -> Arc<dyn Connector> {
    use trainyard_runpod::{RunPodConfig, RunPodConnector};
    let usual = RunPodConfig::new(key, place.supply.clone(), place.installation.clone(), now);
    let config = RunPodConfig {
        url: place.url.clone(),
        proxy_url: place.proxy_url.clone(),
        paces: Vec::new(),
        ..usual
    };
    Arc::new(RunPodConnector::new(config).expect("a connector"))
}

/// Lambda's connector.
pub(crate) fn lambda(place: &Place, key: SecretString) -> Arc<dyn Connector> {
    use trainyard_lambda::{LambdaConfig, LambdaLabsConnector};
    let usual = LambdaConfig::new(key, place.supply.clone(), place.installation.clone(), [9; 32], now);
    let config =
        LambdaConfig { url: place.url.clone(), ssh_port: place.ssh_port, paces: Vec::new(), ..usual };
    Arc::new(LambdaLabsConnector::new(config).expect("a connector"))
}

/// Vast.ai's connector.
pub(crate) fn vastai(place: &Place, key: SecretString) -> Arc<dyn Connector> {
    use trainyard_vastai::{VastAIConfig, VastAIConnector};
    let config = VastAIConfig::new(key, &place.url, place.supply.clone(), now);
    Arc::new(VastAIConnector::new(config).expect("a connector"))
}
