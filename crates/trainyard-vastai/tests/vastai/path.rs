//! The way of one container: ordered, booted, reached over pinned TLS, used, given back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use trainyard_agent::{AgentSupply, SigningKey, SupplyConfig};
use trainyard_connector::{Arch, Connector, ErrorKind, MachinePhase, Termination, TrainingState};
use trainyard_simulator::faults::Fault;
use trainyard_simulator::world::Cause;
use trainyard_simulator::{Delays, Options, Phase, Vendor};
use trainyard_vastai::VastAIConnector;

use crate::rig::{Rig, greeted, with_agent};

trainyard_testkit::program_tests![
    an_order_boots_answers_over_pinned_tls_and_is_gone,
    the_way_costs_less_than_two_seconds,
    an_agent_is_sent_through_the_mapped_port,
    a_foreign_certificate_is_refused,
    a_container_without_an_address_is_waited_for,
    an_agent_that_moved_is_found_again,
    a_restarted_server_finds_the_way_again,
    a_container_that_exits_comes_up_again_as_another_boot,
    the_log_is_told_line_by_line,
    an_image_without_anything_is_broken_by_its_log,
    the_bill_is_the_books,
];

async fn an_order_boots_answers_over_pinned_tls_and_is_gone() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(placed.price_per_hour, order.offer.as_ref().map(|offer| offer.price_per_hour));
    let agent = rig.agent(&order, &placed).await;
    assert_eq!(agent.state().await.unwrap().training, TrainingState::Idle);
    let seen = rig.list().await;
    assert_eq!((seen.len(), &seen[0].phase, &seen[0].id), (1, &MachinePhase::Up, &placed.id));
    assert_eq!(seen[0].price_per_hour, placed.price_per_hour);
    assert_eq!(rig.connector.observe(&order.name, &placed.id).await.unwrap().phase, MachinePhase::Up);
    assert!(rig.connector.ssh(&order.name, &placed.id).await.is_err(), "there is none in this mode");
    for _ in 0..2 {
        let asked = rig.connector.terminate(&order.name, &placed.id).await.unwrap();
        assert_eq!(asked, Termination::Underway, "only listings prove it");
    }
    rig.until_phase(&order, |phase| phase.is_none()).await;
    assert_eq!(agent.greet().await.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(rig.asked("create"), 1);
    rig.end().await;
}

/// What is ours of the way, with a world that takes no time.
async fn the_way_costs_less_than_two_seconds() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let begun = Instant::now();
    let placed = rig.provision(&order).await.unwrap();
    let ordered = begun.elapsed();
    rig.agent(&order, &placed).await;
    let whole = begun.elapsed();
    println!(
        "  from the order to the agent's greeting: {} ms, the order itself {} ms",
        whole.as_millis(),
        ordered.as_millis()
    );
    assert!(whole < Duration::from_secs(2), "{whole:?}");
    rig.end().await;
}

async fn an_agent_is_sent_through_the_mapped_port() {
    let rig = Rig::start(Options::for_tests(), |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    for told in ["trainyard-boot: awaiting", "trainyard-boot: received"] {
        assert!(log.lines.iter().any(|line| line == told), "{:?}", log.lines);
    }
    rig.end().await;
}

/// Whoever has another installation's key is shown a certificate that it does not know.
async fn a_foreign_certificate_is_refused() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let binaries = BTreeMap::from([(Arch::X86_64, std::env::current_exe().unwrap())]);
    let key = SigningKey::from_seed([6; 32]).unwrap();
    let mut config = rig.config.clone();
    config.supply = AgentSupply::new(SupplyConfig { fetch: None, served_at: None, binaries, key }).unwrap();
    let other = VastAIConnector::new(config).unwrap();
    let agent = other.attach(&order.name, &placed.id).await.unwrap();
    let error = agent.greet().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let mut chain = error.to_string();
    let mut below = std::error::Error::source(&error);
    while let Some(cause) = below {
        chain = format!("{chain}: {cause}");
        below = cause.source();
    }
    assert!(chain.contains("certificate"), "{chain}");
    rig.end().await;
}

async fn a_container_without_an_address_is_waited_for() {
    let delays =
        Delays { boot: Duration::from_millis(700), pull: Duration::from_millis(700), ..Delays::NONE };
    let rig = Rig::start(Options { delays, ..with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.connector.attach(&order.name, &placed.id).await.unwrap();
    let error = agent.greet().await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unreachable,
        "not `NotFound`, which would mean that it is gone: {error}"
    );
    assert_eq!(rig.connector.observe(&order.name, &placed.id).await.unwrap().phase, MachinePhase::Booting);
    rig.until_up(&order).await;
    greeted(agent.as_ref()).await;
    rig.end().await;
}

async fn an_agent_that_moved_is_found_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.agent(&order, &placed).await;
    let before = rig.alive()[0].mapped.clone();
    rig.world.stop(Vendor::Vastai, placed.id.as_str(), Cause::Console).unwrap();
    rig.until_phase(&order, |phase| matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. })))
        .await;
    assert!(
        rig.world.until(Duration::from_secs(20), |world| world.machines()[0].phase == Phase::Stopped).await
    );
    rig.world.start(Vendor::Vastai, placed.id.as_str()).unwrap();
    rig.until_up(&order).await;
    assert_ne!(rig.alive()[0].mapped, before, "its port is another one");
    greeted(agent.as_ref()).await;
    rig.end().await;
}

async fn a_restarted_server_finds_the_way_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let boot_id = rig.agent(&order, &placed).await.greet().await.unwrap().boot_id;
    let agent = rig.again().attach(&order.name, &placed.id).await.unwrap();
    assert_eq!(agent.greet().await.unwrap().boot_id, boot_id);
    rig.end().await;
}

async fn a_container_that_exits_comes_up_again_as_another_boot() {
    let rig = Rig::usual().await;
    rig.fault("create", Fault::Exits { code: 1, times: 3, after_ms: 300 });
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert!(rig.world.until(Duration::from_secs(30), |world| world.machines()[0].exits.len() == 3).await);
    rig.until_up(&order).await;
    let agent = rig.agent(&order, &placed).await;
    assert_eq!(agent.state().await.unwrap().training, TrainingState::Idle, "nothing trains by itself");
    assert_eq!((rig.asked("create"), rig.alive()[0].exits.as_slice()), (1, [1, 1, 1].as_slice()));
    rig.end().await;
}

async fn the_log_is_told_line_by_line() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let first = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert!(first.lines.iter().any(|line| line.starts_with("[vast] ")), "{:?}", first.lines);
    assert!(first.lines.iter().any(|line| line.starts_with("trainyard-boot: ")), "{:?}", first.lines);
    assert!(first.broken.is_none());
    let cursor = first.cursor.as_deref();
    let next = rig.connector.machine_log(&order.name, &placed.id, cursor).await.unwrap();
    assert!(next.lines.iter().all(|line| !first.lines.contains(line)), "{:?}", next.lines);
    rig.end().await;
}

async fn an_image_without_anything_is_broken_by_its_log() {
    // A directory with a shell and the few tools that every image has, but neither agent nor Python.
    let bare = tempfile_dir();
    let tools = ["sh", "cat", "chmod", "head", "mkdir", "mv", "rm", "sha256sum", "sleep", "tail", "tr"];
    for tool in tools {
        let at = ["/bin", "/usr/bin"].map(|dir| std::path::Path::new(dir).join(tool));
        let at = at.iter().find(|at| at.exists()).unwrap();
        std::os::unix::fs::symlink(at, bare.join(tool)).unwrap();
    }
    let rig = Rig::start(Options { path: bare.clone().into(), ..Options::for_tests() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let broken = loop {
        let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
        if let Some(broken) = log.broken {
            break broken;
        }
        assert!(Instant::now() < until, "{:?}", log.lines);
    };
    assert!(broken.0.contains("python3") && !broken.1, "{broken:?}");
    rig.end().await;
    std::fs::remove_dir_all(bare).unwrap();
}

fn tempfile_dir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("trainyard-vastai-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// GPU, disk and traffic together, to the tenth of a cent that Vast's books are rounded to.
async fn the_bill_is_the_books() {
    let rig = Rig::start(Options { speed: 600.0, ..with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    assert!(
        rig.world.until(Duration::from_secs(20), |world| world.machines()[0].phase == Phase::Running).await
    );
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.until_phase(&order, |phase| phase.is_none()).await;
    let bill = rig.connector.bill(&order.name, &placed.id).await.unwrap().unwrap();
    let invoice = rig.world.invoice(Vendor::Vastai, placed.id.as_str()).unwrap();
    assert!(invoice.traffic_bytes > 0 && invoice.disk > "0".parse().unwrap(), "{invoice:?}");
    let off = (bill.decimal() - invoice.total.decimal()).abs();
    assert!(off.to_string().parse::<f64>().unwrap() <= 0.0005, "{bill} and {invoice:?}");
    rig.end().await;
}
