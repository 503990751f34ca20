//! Machines that really run.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trainyard_simulator::faults::Fault;
use trainyard_simulator::world::Machine;
use trainyard_simulator::world::{Call, Cause, Ill, Source};
use trainyard_simulator::{Delays, Options, Order, Phase, Vendor};

use super::rig::{create, line, options, order, place, remove, running, start, until};

#[tokio::test]
async fn a_machine_runs_its_program_at_home_with_its_environment() {
    let (simulator, world) = start(options()).await;
    let script = "echo id=$OWN_ID; pwd; echo home=$HOME; touch $TMPDIR/x; echo to-stderr >&2; env | grep -c CARGO; \
                  sleep 1000";
    let machine = place(&world, Vendor::Runpod, script);
    assert_eq!(machine.id.len(), 14);
    assert_eq!(line(&machine, "id=").await, format!("id={}", machine.id));
    let home = machine.root.join("home");
    assert_eq!(line(&machine, "home=").await, format!("home={}", home.display()));
    line(&machine, "to-stderr").await;
    line(&machine, "0").await;
    let lines = machine.log.tail(100);
    assert!(lines.iter().any(|line| line.text == home.to_string_lossy() && line.source == Source::Container));
    assert!(lines.iter().any(|line| line.text.contains("an/image:1") && line.source == Source::System));
    remove(&world, &machine).await;
    assert!(!machine.root.exists());
    simulator.stop().await;
}

#[tokio::test]
async fn a_removal_leaves_no_process_of_whatever_kind() {
    let (simulator, world) = start(options()).await;
    // One that left its session and its environment, one that ignores signals, one whose parent is gone.
    let script = "setsid env -i sleep 1001 & (trap '' TERM HUP; sleep 1002) & \
                  (setsid sh -c 'cd /; sleep 1003 & sleep 1004' &) ; echo ready; sleep 1005";
    let machine = place(&world, Vendor::Vastai, script);
    line(&machine, "ready").await;
    // waits: for the shells to have started their sleeps, which nothing tells
    while world.processes_of(machine.uid) < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    remove(&world, &machine).await;
    assert_eq!(world.processes_of(machine.uid), 0);
    simulator.stop().await;
}

#[tokio::test]
async fn a_container_that_ends_is_started_again_on_the_same_disk() {
    let delays = Delays { restart_runpod: Duration::from_millis(10), ..Delays::NONE };
    let (simulator, world) = start(Options { delays, ..options() }).await;
    let script = "echo x >> count; n=$(wc -l < count); sleep 1006 & \
                  if [ $n -lt 4 ]; then exit $n; fi; echo stays; sleep 1007";
    let machine = place(&world, Vendor::Runpod, script);
    line(&machine, "stays").await;
    let seen = until(&world, &machine, |it| it.starts == 4).await;
    assert_eq!(seen.exits, [1, 2, 3]);
    // waits: for the last shell to have started its two sleeps, which nothing tells
    while world.processes_of(machine.uid) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.processes_of(machine.uid), 3, "what earlier starts left is gone");
    remove(&world, &machine).await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_whole_machine_goes_on_when_its_program_ends() {
    let (simulator, world) = start(options()).await;
    let machine = place(&world, Vendor::Lambda, "setsid sleep 1008 & echo booted; exit 3");
    let seen = until(&world, &machine, |it| it.exits == [3]).await;
    assert_eq!((seen.phase, seen.starts), (Phase::Running, 1));
    assert_eq!(world.processes_of(machine.uid), 1, "what it started in the background runs");
    assert_eq!(machine.id.len(), 32);
    let other = place(&world, Vendor::Lambda, "");
    assert_ne!(other.address, machine.address);
    remove(&world, &machine).await;
    remove(&world, &other).await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_port_that_another_machine_or_program_has_is_waited_for() {
    let (simulator, world) = start(options()).await;
    let call = create(Vendor::Vastai, &[]);
    let with_port = |port| {
        let order = Order { ports: vec![port], ..order(Vendor::Vastai, "sleep 1009") };
        world.place(&call, order).unwrap()
    };
    let waits = async |machine: &Machine| {
        let seen = until(&world, machine, |it| it.phase == Phase::Starting).await;
        assert_eq!(seen.starts, 0, "another one has it");
    };
    let port_here = |listener: &TcpListener| listener.local_addr().unwrap().port();

    let foreign = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (first, second) = (with_port(port_here(&foreign)), with_port(port_here(&foreign)));
    waits(&first).await;
    drop(foreign);
    until(&world, &first, |it| it.phase == Phase::Running).await;
    waits(&second).await;
    remove(&world, &first).await;
    until(&world, &second, |it| it.phase == Phase::Running).await;
    remove(&world, &second).await;
    simulator.stop().await;
}

#[tokio::test]
async fn mapped_ports_lead_to_the_machine_and_change_after_a_stop() {
    let (simulator, world) = start(options()).await;
    // The machine's side of the port, in this process: what listens there is no matter of the forwarder.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ordered = Order { ports: vec![free], mapped: true, ..order(Vendor::Vastai, "sleep 1010") };
    let machine = world.place(&create(Vendor::Vastai, &[]), ordered).unwrap();
    let seen = running(&world, &machine).await;
    let inside = TcpListener::bind(("127.0.0.1", free)).await.unwrap();
    let outside = seen.mapped[&free];
    let mut stream = TcpStream::connect(("127.0.0.1", outside)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let (mut there, _) = inside.accept().await.unwrap();
    let mut bytes = [0; 5];
    there.read_exact(&mut bytes).await.unwrap();
    there.write_all(b"you too").await.unwrap();
    drop(there);
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!((&bytes, back.as_str()), (b"hello", "you too"));
    assert_eq!(world.invoice(Vendor::Vastai, &machine.id).unwrap().traffic_bytes, 12);

    world.stop(Vendor::Vastai, &machine.id, Cause::Asked).unwrap();
    let stopped = until(&world, &machine, |it| it.phase == Phase::Stopped).await;
    assert!(stopped.mapped.is_empty());
    assert_eq!(world.processes_of(machine.uid), 0);
    assert!(TcpStream::connect(("127.0.0.1", outside)).await.is_err());
    world.start(Vendor::Vastai, &machine.id).unwrap();
    let again = until(&world, &machine, |it| it.phase == Phase::Running && it.starts == 2).await;
    assert!(again.mapped.contains_key(&free));
    remove(&world, &machine).await;
    simulator.stop().await;
}

#[tokio::test]
async fn what_is_broken_stays_and_says_why() {
    let (simulator, world) = start(options()).await;
    let broken =
        |fault| world.place(&create(Vendor::Vastai, &[fault]), order(Vendor::Vastai, "true")).unwrap();
    let image = broken(Fault::BrokenImage { text: None });
    let seen = until(&world, &image, |it| matches!(it.phase, Phase::Broken(Ill::Image(_)))).await;
    line(&seen, "manifest unknown").await;
    let begun = broken(Fault::BrokenStart { text: Some("no CUDA here".to_owned()) });
    until(&world, &begun, |it| it.phase == Phase::Broken(Ill::Start("no CUDA here".to_owned()))).await;
    let ordered = Order { program: vec!["/no/such/program".to_owned()], ..order(Vendor::Vastai, "") };
    let missing = world.place(&create(Vendor::Vastai, &[]), ordered).unwrap();
    until(&world, &missing, |it| matches!(it.phase, Phase::Broken(Ill::Start(_)))).await;
    line(&missing, "OCI runtime create failed").await;
    let never = broken(Fault::NeverBoots);
    for machine in [&image, &begun, &missing, &never] {
        remove(&world, machine).await;
    }
    simulator.stop().await;
}

#[tokio::test]
async fn exits_preemption_and_deletion_come_as_planned() {
    let (simulator, world) = start(options()).await;
    let planned =
        |vendor, faults: &[Fault]| world.place(&create(vendor, faults), order(vendor, "sleep 1011")).unwrap();
    let exits = planned(Vendor::Vastai, &[Fault::Exits { code: 137, times: 2, after_ms: 0 }]);
    let seen = until(&world, &exits, |it| it.starts == 3 && it.phase == Phase::Running).await;
    assert_eq!(seen.exits, [137, 137]);
    let preempted = planned(Vendor::Vastai, &[Fault::Preempt { after_ms: 0 }]);
    let seen = until(&world, &preempted, |it| it.phase == Phase::Stopped).await;
    assert_eq!(seen.cause, Cause::Preempted);
    let deleted = planned(Vendor::Runpod, &[Fault::ConsoleDelete { after_ms: 0 }]);
    let seen = until(&world, &deleted, |it| it.phase == Phase::Gone).await;
    assert_eq!(seen.cause, Cause::Console);
    let lost = planned(Vendor::Runpod, &[Fault::HostLost { after_ms: 0 }]);
    let seen = until(&world, &lost, |it| !it.reachable).await;
    assert!(!seen.answers());
    for machine in [&exits, &preempted, &lost] {
        remove(&world, machine).await;
    }
    simulator.stop().await;
}

#[tokio::test]
async fn readings_lag_and_slip_as_planned() {
    let (simulator, world) = start(Options { speed: 0.0, ..options() }).await;
    let machine = place(&world, Vendor::Runpod, "sleep 1012");
    let ids = |faults: &[Fault]| {
        let call = Call { operation: "list", ..create(Vendor::Runpod, faults) };
        world.listing(&call, Duration::ZERO).into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let lag = [Fault::ListingLag { seconds: 30.0 }];
    assert_eq!(ids(&[]), vec![machine.id.clone()]);
    assert!(ids(&lag).is_empty() && ids(&[Fault::PageSlip]).is_empty());
    world.clock().step(Duration::from_secs(30));
    assert_eq!(ids(&lag), vec![machine.id.clone()]);
    let ignored = Call { operation: "terminate", ..create(Vendor::Runpod, &[Fault::TerminateIgnored]) };
    world.terminate(&ignored, &machine.id).unwrap();
    assert_eq!(world.alive().len(), 1);
    let not_found = Call { operation: "terminate", ..create(Vendor::Runpod, &[Fault::TerminateNotFound]) };
    assert!(world.terminate(&not_found, &machine.id).is_err());
    until(&world, &machine, |it| it.phase == Phase::Gone).await;
    assert!(ids(&[]).is_empty());
    assert_eq!(ids(&[Fault::DeadShown { seconds: 60.0 }]), vec![machine.id.clone()]);
    world.clock().step(Duration::from_secs(60));
    assert!(ids(&[Fault::DeadShown { seconds: 60.0 }]).is_empty());

    let reused =
        world.place(&create(Vendor::Runpod, &[Fault::ReuseId]), order(Vendor::Runpod, "true")).unwrap();
    assert_eq!(reused.id, machine.id);
    assert_ne!(reused.uid, machine.uid);
    world.explain(Vendor::Runpod, &reused.id).unwrap();
    simulator.stop().await;
}

#[tokio::test]
async fn delays_go_by_the_worlds_clock() {
    let hour = Duration::from_secs(3600);
    let delays = Delays { boot: hour, pull: hour, start: hour, removal: hour, ..Delays::NONE };
    let (simulator, world) = start(Options { delays, speed: 0.0, ..options() }).await;
    let machine = place(&world, Vendor::Runpod, "sleep 1013");
    for phase in [Phase::Placed, Phase::Pulling, Phase::Starting, Phase::Running] {
        until(&world, &machine, |it| it.phase == phase).await;
        world.clock().step(hour);
    }
    world.terminate(&Call::plain(Vendor::Runpod, "terminate"), &machine.id).unwrap();
    until(&world, &machine, |it| it.phase == Phase::Terminating).await;
    world.clock().step(hour);
    until(&world, &machine, |it| it.phase == Phase::Gone).await;
    let invoice = world.invoice(Vendor::Runpod, &machine.id).unwrap();
    assert_eq!(invoice.gpu_seconds, 4 * 3600, "until the removal was asked for");
    simulator.stop().await;
}

#[tokio::test]
async fn a_world_that_ends_takes_everything_along() {
    let (simulator, world) = start(Options { strict: false, ..options() }).await;
    let machine = place(&world, Vendor::Runpod, "setsid sleep 1014 & echo on; sleep 1015");
    line(&machine, "on").await;
    drop(simulator);
    until(&world, &machine, |it| matches!(it.phase, Phase::Broken(_))).await;
    assert_eq!(world.processes_of(machine.uid), 0, "dropped, it kills at once");

    let (simulator, world) = start(options()).await;
    let machine = place(&world, Vendor::Lambda, "sleep 1016");
    running(&world, &machine).await;
    let left = tokio::spawn(simulator.stop()).await;
    assert!(left.unwrap_err().is_panic(), "a machine was alive that nobody explained");
    assert_eq!(world.processes_of(machine.uid), 0);
}
