//! The cheap mode, with the real agent's client.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use trainyard_agent::{AgentClient, SigningKey};
use trainyard_connector::{AgentEventBody, StartOrder, TrainingState, Workload};
use trainyard_domain::{AttemptNumber, JobSpec, OrderName};
use trainyard_simulator::faults::{Canned, Fault, Rule};
use trainyard_simulator::world::{Environment, Machine};
use trainyard_simulator::{Options, Order, Script, Simulator, Vendor, World};

use super::rig::{create, offer, options, order, remove, running, start};

const POINTS: u64 = 5;

async fn rent(world: &World, number: usize) -> (Machine, OrderName) {
    let name: OrderName = format!("ty-tests000-{number:026}").parse().unwrap();
    let variables = BTreeMap::from([("TRAINYARD_BOOT_ORDER".to_owned(), name.to_string())]);
    let ordered = Order {
        name: name.to_string(),
        environment: Environment::fixed(variables),
        ports: vec![20_000],
        ..order(Vendor::Runpod, "exit 1")
    };
    let machine = world.place(&create(Vendor::Runpod, &[]), ordered).unwrap();
    (running(world, &machine).await, name)
}

fn client(simulator: &Simulator, machine: &Machine, name: OrderName) -> AgentClient {
    let url = simulator.proxy_url().replace("{pod}", &machine.id).replace("{port}", "20000");
    AgentClient::new(&url, SigningKey::from_seed([3; 32]).unwrap(), name).unwrap()
}

fn start_order() -> StartOrder {
    StartOrder {
        job_id: "job".parse().unwrap(),
        attempt: AttemptNumber::FIRST,
        spec: JobSpec::new("any/model"),
        secrets: BTreeMap::new(),
        inputs: Vec::new(),
        resume_from: None,
        deadline_s: None,
        machine_ends_s: None,
        gpus: None,
    }
}

/// One training from the greeting to its files.
async fn train(client: AgentClient) {
    let greeting = client.greet().await.unwrap();
    assert_eq!(client.state().await.unwrap().training, TrainingState::Idle);
    client.start(&start_order()).await.unwrap();
    let (mut events, mut after) = (Vec::new(), 0);
    while !matches!(events.last(), Some(AgentEventBody::Exited(_))) {
        let batch = client.events(after, Duration::from_secs(10)).await.unwrap();
        assert_eq!(batch.boot_id, greeting.boot_id);
        after = batch.last;
        events.extend(batch.events.into_iter().map(|event| event.body));
    }
    assert_eq!(events.len() as u64, POINTS + 2, "the start, a point each, the exit");
    let manifest = client.manifest(Duration::ZERO).await.unwrap().unwrap();
    for file in &manifest.files {
        let bytes = client.file(&file.path, 0, u64::MAX).await.unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes);
    }
    client.release().await.unwrap();
}

#[tokio::test]
async fn many_machines_are_agents_without_a_process() {
    let script = Script { points: POINTS, every: Duration::from_millis(100), exit_code: 0 };
    let mut offers = vec![offer(Vendor::Runpod)];
    offers[0].left = 1000;
    let accounts = options().accounts;
    let rich = trainyard_simulator::Account {
        credit: "1000000".parse().ok(),
        ..trainyard_simulator::Account::usual(Vendor::Runpod)
    };
    let accounts = accounts.into_iter().chain([(Vendor::Runpod, rich)]).collect();
    let (simulator, world) =
        start(Options { script: Some(script), offers: Some(offers), accounts, ..options() }).await;
    let mut machines = Vec::new();
    for number in 0..200 {
        machines.push(rent(&world, number).await);
    }
    join_all(machines.iter().map(|(machine, name)| train(client(&simulator, machine, name.clone())))).await;
    for (machine, _) in &machines {
        assert_eq!((world.processes_of(machine.uid), machine.root.exists()), (0, false));
    }
    for (machine, _) in &machines {
        remove(&world, machine).await;
    }
    simulator.stop().await;
}

#[tokio::test]
async fn an_artifact_is_cut_on_its_way_through_the_proxy() {
    let script = Script { points: 0, every: Duration::ZERO, exit_code: 0 };
    let (simulator, world) = start(Options { script: Some(script), ..options() }).await;
    let (machine, name) = rent(&world, 1).await;
    let agent = client(&simulator, &machine, name);
    agent.start(&start_order()).await.unwrap();
    let file = agent.manifest(Duration::ZERO).await.unwrap().unwrap().files.remove(0);
    for bytes in [0, 1, 20] {
        world.add_fault(Rule::once(Vendor::Runpod, "proxy_file", Fault::Cut { bytes }));
        assert!(agent.file(&file.path, 0, u64::MAX).await.is_err(), "cut at {bytes}");
        world.add_fault(Rule::once(Vendor::Runpod, "proxy_file", Fault::Truncate { bytes }));
        assert_eq!(agent.file(&file.path, 0, u64::MAX).await.unwrap().len(), bytes);
    }
    world.add_fault(Rule::once(Vendor::Runpod, "proxy_manifest", Fault::StatusAfter(Canned::status(502))));
    assert!(agent.manifest(Duration::ZERO).await.is_err());
    remove(&world, &machine).await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_scripted_training_can_be_stopped_and_fails_as_told() {
    let script = Script { points: 1_000_000, every: Duration::from_secs(1), exit_code: 0 };
    let (simulator, world) = start(Options { script: Some(script), ..options() }).await;
    let (machine, name) = rent(&world, 1).await;
    let agent = client(&simulator, &machine, name);
    agent.start(&start_order()).await.unwrap();
    agent.stop(Duration::ZERO).await.unwrap();
    let state = agent.state().await.unwrap();
    assert!(matches!(state.training, TrainingState::Exited { exit, .. } if exit.code == 143 && exit.asked));
    remove(&world, &machine).await;
    assert!(agent.state().await.is_err(), "it went with its machine");
    simulator.stop().await;
}
