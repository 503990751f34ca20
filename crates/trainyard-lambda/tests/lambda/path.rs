//! The way of one machine: ordered, booted, reached over SSH, used, given back.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::json;
use trainyard_connector::ssh::{ExecLimits, HostKeyRule, SshKey, Tunnel, TunnelConfig};
use trainyard_connector::{Connector, ErrorKind, InputSource, MachinePhase, Termination, TrainingState};
use trainyard_domain::Sha256;
use trainyard_simulator::{Delays, Options, Vendor};

use crate::rig::{Rig, greeted, with_agent};

trainyard_testkit::program_tests![
    an_order_boots_answers_over_ssh_and_is_gone,
    the_way_costs_less_than_three_seconds,
    an_agent_is_sent_through_the_tunnel,
    a_machine_without_an_address_is_waited_for,
    a_restarted_server_finds_the_way_again,
    many_bytes_go_through_the_tunnel,
    a_connection_that_breaks_is_made_again,
    the_boot_log_is_read_piece_by_piece,
    a_person_gets_in_with_what_is_told,
    another_host_key_is_told_once_or_refused,
    an_unhealthy_machine_that_answers_is_up,
];

async fn an_order_boots_answers_over_ssh_and_is_gone() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(placed.price_per_hour.unwrap().to_string(), "0.69");
    let agent = rig.agent(&order, &placed).await;
    let state = agent.state().await.unwrap();
    assert_eq!(state.training, TrainingState::Idle);
    let seen = rig.list().await;
    assert_eq!((seen.len(), &seen[0].phase, &seen[0].id), (1, &MachinePhase::Up, &placed.id));
    assert_eq!(seen[0].price_per_hour, placed.price_per_hour);
    assert_eq!(rig.connector.observe(&order.name, &placed.id).await.unwrap().phase, MachinePhase::Up);
    assert!(rig.connector.remarks(&order.name).is_empty(), "the host key was the one it was given");
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    rig.until_phase(&order, |phase| phase == Some(MachinePhase::Gone)).await;
    rig.switch("list", "vanish_at_once", json!(null));
    assert_eq!(rig.phase(&order).await, None);
    let again = rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    assert!(matches!(&again, Termination::Gone(proof) if proof.contains("does not exist")), "{again:?}");
    assert_eq!(rig.asked("create"), 1);
    rig.end().await;
}

/// What is ours of the way, with a world that takes no time.
async fn the_way_costs_less_than_three_seconds() {
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
    assert!(whole < Duration::from_secs(3), "{whole:?}");
    rig.end().await;
}

async fn an_agent_is_sent_through_the_tunnel() {
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

async fn a_machine_without_an_address_is_waited_for() {
    let delays = Delays { boot: Duration::from_secs(2), address: Duration::from_secs(1), ..Delays::NONE };
    let rig = Rig::start(Options { delays, ..with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Booting));
    assert!(rig.connector.ssh(&order.name, &placed.id).await.unwrap().is_none());
    let agent = rig.connector.attach(&order.name, &placed.id).await.unwrap();
    let error = agent.greet().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert!(log.lines.is_empty() && log.broken.is_none());
    rig.until_up(&order).await;
    greeted(agent.as_ref()).await;
    rig.end().await;
}

async fn a_restarted_server_finds_the_way_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let boot_id = rig.agent(&order, &placed).await.greet().await.unwrap().boot_id;
    let again = rig.again();
    let agent = again.attach(&order.name, &placed.id).await.unwrap();
    assert_eq!(agent.greet().await.unwrap().boot_id, boot_id);
    assert!(again.remarks(&order.name).is_empty());
    rig.end().await;
}

async fn many_bytes_go_through_the_tunnel() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.agent(&order, &placed).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    let sha256 = {
        use sha2::Digest;
        Sha256::from_bytes(sha2::Sha256::digest(&bytes).into())
    };
    let input = InputSource { sha256, size_bytes: bytes.len() as u64, path: file.path().to_owned() };
    let begun = Instant::now();
    agent.put_input(&input).await.unwrap();
    println!("  20 MiB handed over in {} ms", begun.elapsed().as_millis());
    rig.end().await;
}

async fn a_connection_that_breaks_is_made_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.agent(&order, &placed).await;
    let boot_id = agent.greet().await.unwrap().boot_id;
    let id = placed.id.as_str();
    for _ in 0..3 {
        rig.world.set_reachable(Vendor::Lambda, id, false).unwrap();
        let error = agent.greet().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert_eq!(rig.phase(&order).await, Some(MachinePhase::Up), "unhealthy, but it was reached before");
        rig.world.set_reachable(Vendor::Lambda, id, true).unwrap();
        greeted(agent.as_ref()).await;
        assert_eq!(agent.greet().await.unwrap().boot_id, boot_id, "the same agent");
    }
    rig.end().await;
}

async fn the_boot_log_is_read_piece_by_piece() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let first = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert!(first.lines.iter().any(|line| line.starts_with("trainyard-boot: agent")), "{:?}", first.lines);
    assert!(first.broken.is_none());
    let again = rig.connector.machine_log(&order.name, &placed.id, first.cursor.as_deref()).await.unwrap();
    assert!(again.lines.is_empty(), "{:?}", again.lines);
    assert_eq!(again.cursor, first.cursor);
    rig.end().await;
}

async fn a_person_gets_in_with_what_is_told() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let target = rig.connector.ssh(&order.name, &placed.id).await.unwrap().unwrap();
    assert_eq!((target.user.as_str(), target.port), ("ubuntu", rig.config.ssh_port));
    assert_eq!(target.host_keys.len(), 1);
    assert!(!format!("{target:?}").contains("PRIVATE"));
    let Some(key) = &target.key else { panic!("the installation's key opens it") };
    assert!(key.expose_secret().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    // Another key does not.
    let other = TunnelConfig {
        user: target.user,
        key: SshKey::from_seed(&[77; 32]).unwrap(),
        host: HostKeyRule { given: Some(target.host_keys[0].clone()), strict: true, accepted: None },
        connect_within: Duration::from_secs(10),
    };
    let address = format!("{}:{}", target.host, target.port).parse().unwrap();
    let limits = ExecLimits { within: Duration::from_secs(10), output_bytes_max: 100 };
    let tunnel = Tunnel::new(Some(address), other);
    assert!(tunnel.exec("true", tokio::io::empty(), limits).await.is_err());
    rig.end().await;
}

async fn another_host_key_is_told_once_or_refused() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.switch("create", "other_host_key", json!(null));
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let remarks = rig.connector.remarks(&order.name);
    assert!(remarks.len() == 1 && remarks[0].contains("SHA256:"), "{remarks:?}");
    assert!(rig.connector.remarks(&order.name).is_empty());
    let target = rig.connector.ssh(&order.name, &placed.id).await.unwrap().unwrap();
    assert_eq!(target.host_keys.len(), 2, "a person may get either");

    let memory = rig.connector.memory(&order.name).unwrap();
    let again = rig.again();
    again.recall(&order.name, &memory);
    again.attach(&order.name, &placed.id).await.unwrap().greet().await.unwrap();
    assert!(again.remarks(&order.name).is_empty(), "after a restart it is the one that was accepted");
    let other = rig.again();
    other.recall(&order.name, target.host_keys[0].replace("AAAA", "BBBB").as_str());
    assert!(other.attach(&order.name, &placed.id).await.unwrap().greet().await.is_err(), "and no other");

    let mut strict = rig.config.clone();
    strict.strict_host_keys = true;
    let strict = trainyard_lambda::LambdaLabsConnector::new(strict).unwrap();
    strict.recall(&order.name, &memory);
    let agent = strict.attach(&order.name, &placed.id).await.unwrap();
    assert!(agent.greet().await.is_err());
    assert_eq!(strict.remarks(&order.name).len(), 1);
    rig.end().await;
}

async fn an_unhealthy_machine_that_answers_is_up() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.switch("create", "unhealthy", json!(null));
    rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    let seen = rig.list().await;
    assert_eq!(seen[0].note.as_deref(), Some("Lambda calls the machine unhealthy"));

    let order = rig.order().await;
    rig.switch("create", "unhealthy", json!(null));
    rig.switch("create", "sshd_lag", json!(3600));
    rig.provision(&order).await.unwrap();
    let broken = |phase| matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. }));
    rig.until_phase(&order, broken).await;
    rig.end().await;
}
