//! The way of one pod: ordered, booted, reached through the proxy, used, given back.

use std::time::{Duration, Instant};

use trainyard_connector::{Connector, ErrorKind, MachinePhase, Termination, TrainingState};
use trainyard_simulator::faults::{Fault, FaultPlan, Rule};
use trainyard_simulator::{Delays, Options, Vendor};

use crate::rig::{Rig, greeted, with_agent};

trainyard_testkit::program_tests![
    an_order_boots_answers_through_the_proxy_and_is_gone,
    the_way_costs_less_than_two_seconds,
    an_agent_is_sent_through_the_proxy,
    a_pod_that_is_not_there_yet_is_waited_for,
    a_restarted_server_finds_the_way_again,
    a_container_that_ends_ten_times_is_another_boot_each_time,
    the_log_is_told_line_by_line,
    a_log_without_a_line_is_empty,
    the_bill_is_the_books,
];

async fn an_order_boots_answers_through_the_proxy_and_is_gone() {
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
    assert!(rig.connector.ssh(&order.name, &placed.id).await.is_err(), "there is none");
    for _ in 0..2 {
        let asked = rig.connector.terminate(&order.name, &placed.id).await.unwrap();
        assert_eq!(asked, Termination::Underway, "only listings prove it");
    }
    rig.until_phase(&order, |phase| phase.is_none()).await;
    assert_eq!(
        agent.greet().await.unwrap_err().kind,
        ErrorKind::Unreachable,
        "the proxy's page is nobody's word"
    );
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

async fn an_agent_is_sent_through_the_proxy() {
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

async fn a_pod_that_is_not_there_yet_is_waited_for() {
    let delays = Delays { pull: Duration::from_millis(900), ..Delays::NONE };
    let rig = Rig::start(Options { delays, ..with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Booting), "RunPod says RUNNING already");
    let agent = rig.connector.attach(&order.name, &placed.id).await.unwrap();
    assert_eq!(agent.greet().await.unwrap_err().kind, ErrorKind::Unreachable);
    greeted(agent.as_ref()).await;
    rig.until_up(&order).await;
    rig.end().await;
}

async fn a_restarted_server_finds_the_way_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let boot = rig.agent(&order, &placed).await.greet().await.unwrap().boot_id;
    let agent = rig.again().attach(&order.name, &placed.id).await.unwrap();
    assert_eq!(agent.greet().await.unwrap().boot_id, boot);
    rig.end().await;
}

/// RunPod starts a container anew whenever its program ends, for ever, and shows it as running all the while.
async fn a_container_that_ends_ten_times_is_another_boot_each_time() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", Fault::Exits { code: 0, times: 10, after_ms: 300 });
    let placed = rig.provision(&order).await.unwrap();
    let ten = |world: &trainyard_simulator::World| world.machines()[0].exits.len() >= 10;
    assert!(rig.world.until(Duration::from_secs(60), ten).await, "{:?}", rig.world.machines()[0].exits);
    let asked = async {
        loop {
            match rig.agent(&order, &placed).await.state().await {
                // The proxy has no one to ask while the container starts, and who was greeted may end just then.
                Err(error) if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Restarted) => {
                    tokio::task::yield_now().await;
                }
                told => break told,
            }
        }
    };
    let state = tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap().unwrap();
    assert_eq!(state.training, TrainingState::Idle, "none of them trains by itself");
    assert_eq!(rig.list().await.len(), 1);
    assert_eq!(rig.asked("create"), 1);
    rig.end().await;
}

async fn the_log_is_told_line_by_line() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let first = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert!(first.lines[0].starts_with("system: create container "), "{:?}", first.lines);
    assert!(first.lines.iter().any(|line| line.starts_with("trainyard-boot: ")), "{:?}", first.lines);
    assert_eq!(first.broken, None);
    let next = rig.connector.machine_log(&order.name, &placed.id, first.cursor.as_deref()).await.unwrap();
    assert!(next.lines.iter().all(|line| !first.lines.contains(line)), "{:?}", next.lines);
    rig.end().await;
}

/// Not even headers come before a first line.
async fn a_log_without_a_line_is_empty() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", Fault::NeverBoots);
    let placed = rig.provision(&order).await.unwrap();
    for _ in 0..2 {
        let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
        assert_eq!((log.lines.len(), log.cursor), (0, None));
    }
    let cut = Fault::Own { name: "cut_log".to_owned(), value: 1.into() };
    rig.world.add_fault(Rule::always(Vendor::Runpod, "logs", cut));
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert_eq!(log.lines.len(), 1, "what came before the stream broke off: {:?}", log.lines);
    rig.world.set_faults(FaultPlan::default());
    let rest = rig.connector.machine_log(&order.name, &placed.id, log.cursor.as_deref()).await.unwrap();
    assert!(!rest.lines.is_empty() && !rest.lines.contains(&log.lines[0]), "{:?}", rest.lines);
    rig.end().await;
}

/// GPU and disk together, to the cent's thousandth.
async fn the_bill_is_the_books() {
    let rig = Rig::start(Options { speed: 600.0, ..with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    rig.until_phase(&order, |phase| phase.is_none()).await;
    let bill = rig.connector.bill(&order.name, &placed.id).await.unwrap().unwrap();
    let invoice = rig.world.invoice(Vendor::Runpod, placed.id.as_str()).unwrap();
    let off = (bill.decimal() - invoice.total.decimal()).abs();
    assert!(off.to_string().parse::<f64>().unwrap() <= 0.00001, "{bill} and {invoice:?}");
    // Our own reckoning, from the price at purchase, is within one second of it.
    let price = placed.price_per_hour.unwrap();
    let ours = price.per_hour_for(invoice.gpu_seconds).decimal();
    let second = price.per_hour_for(1).decimal();
    assert!((ours - bill.decimal()).abs() <= second, "{ours} and {bill}");
    rig.world.add_fault(Rule::once(
        Vendor::Runpod,
        "other",
        Fault::Own { name: "billing_lag".to_owned(), value: 0.into() },
    ));
    assert_eq!(rig.connector.bill(&order.name, &placed.id).await.unwrap(), None, "books lag");
    rig.end().await;
}
