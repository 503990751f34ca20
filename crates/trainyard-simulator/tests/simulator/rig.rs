//! What the tests share: a world with one offer of each vendor, and orders for a program.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trainyard_connector::Arch;
use trainyard_simulator::faults::{Drawn, Fault};
use trainyard_simulator::world::{Call, Environment, Kind, Machine, Offer};
use trainyard_simulator::{Options, Order, Phase, Simulator, Vendor, World, serve};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A dollar an hour, disk at a cent an hour for 73 GB, traffic at five cents a GB; ten of each.
pub(crate) fn offer(vendor: Vendor) -> Offer {
    Offer {
        vendor,
        id: "the-offer".to_owned(),
        gpu: "RTX 4090".to_owned(),
        gpu_memory_mb: 24_564,
        gpus: 1,
        price_per_hour: "1".parse().unwrap(),
        disk_per_gb_month: "0.1".parse().unwrap(),
        traffic_per_gb: "0.05".parse().unwrap(),
        region: "somewhere".to_owned(),
        tier: String::new(),
        arch: Arch::X86_64,
        disk_gb_max: 1000,
        megabits: 1000,
        left: 10,
        details: Value::Null,
    }
}

pub(crate) fn options() -> Options {
    Options { offers: Some(Vendor::ALL.map(offer).to_vec()), ..Options::for_tests() }
}

pub(crate) async fn start(options: Options) -> (Simulator, World) {
    let simulator = serve(options).await.unwrap();
    let world = simulator.world();
    (simulator, world)
}

/// An order that runs that script; a whole machine at Lambda.
pub(crate) fn order(vendor: Vendor, script: &str) -> Order {
    Order {
        vendor,
        name: "ty-test".to_owned(),
        tags: BTreeMap::new(),
        offer: "the-offer".to_owned(),
        units: 1,
        price_per_hour: None,
        kind: if vendor == Vendor::Lambda { Kind::Whole } else { Kind::Container },
        image: "an/image:1".to_owned(),
        disk_gb: 73,
        program: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: Environment::new(|machine: &Machine| {
            BTreeMap::from([("OWN_ID".to_owned(), machine.id.clone())])
        }),
        ports: Vec::new(),
        mapped: false,
        service: None,
        details: Value::Null,
    }
}

pub(crate) fn place(world: &World, vendor: Vendor, script: &str) -> Machine {
    world.place(&create(vendor, &[]), order(vendor, script)).unwrap()
}

/// A call to create that these faults strike.
pub(crate) fn create(vendor: Vendor, faults: &[Fault]) -> Call {
    Call { vendor, operation: "create", drawn: Drawn::of(faults.to_vec()) }
}

/// Waits until the machine is so.
pub(crate) async fn until(world: &World, machine: &Machine, so: impl Fn(&Machine) -> bool) -> Machine {
    let now = |world: &World| world.machines().into_iter().find(|it| it.uid == machine.uid).unwrap();
    assert!(world.until(LONG, |world| so(&now(world))).await, "it stays so: {:?}", now(world));
    now(world)
}

pub(crate) async fn running(world: &World, machine: &Machine) -> Machine {
    until(world, machine, |it| it.phase == Phase::Running).await
}

/// Removes it and waits for the end.
pub(crate) async fn remove(world: &World, machine: &Machine) {
    world.terminate(&Call::plain(machine.vendor, "terminate"), &machine.id).unwrap();
    until(world, machine, |it| it.phase == Phase::Gone).await;
}

/// Waits for a line of a machine's log that holds that text.
pub(crate) async fn line(machine: &Machine, text: &str) -> String {
    let look = async {
        let mut seen = 0;
        loop {
            for line in machine.log.after(seen, 100) {
                seen = line.number;
                if line.text.contains(text) {
                    return line.text;
                }
            }
            machine.log.beyond(seen).await;
        }
    };
    let found = tokio::time::timeout(LONG, look).await;
    found.unwrap_or_else(|_| panic!("no line with `{text}`: {:?}", machine.log.tail(50)))
}

/// Sends a request and reads until the connection ends: the raw answer, whatever is wrong with it.
pub(crate) async fn raw(simulator: &Simulator, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: trainyard/0\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset gives what came before.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same for a good answer in JSON: its status and body.
pub(crate) async fn json(simulator: &Simulator, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = raw(simulator, method, path, body).await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
