//! What goes wrong on the way to the vendor and at the vendor: each row of the fault table that makes sense here, with its
//! one outcome.

use serde_json::{Value, json};
use trainyard_connector::{Connector, ConnectorError, Effect, ErrorKind, MachinePhase, Termination};
use trainyard_simulator::faults::{Canned, Fault, Rule};
use trainyard_simulator::world::KeyState;
use trainyard_simulator::{Account, Options, Vendor};

use crate::rig::{Rig, installation, new_order};

trainyard_testkit::program_tests![
    nothing_listens,
    an_order_whose_answer_is_lost_is_found_and_never_repeated,
    an_answer_cut_at_any_byte_is_no_success,
    a_listing_cut_at_any_byte_is_no_listing,
    nonsense_with_status_200_is_no_success,
    harmless_surprises_are_taken,
    a_new_status_is_kept_as_it_is,
    too_many_calls_are_waited_for,
    paces_are_kept_where_the_vendor_asks,
    a_key_revoked_in_mid_life_forgets_no_machine,
    two_machines_of_one_order_are_both_seen,
    a_lagging_listing_hides_and_a_stale_one_shows,
    a_termination_that_does_nothing_shows,
    a_termination_answered_with_404_is_gone,
    a_machine_taken_away_is_seen,
    other_peoples_machines_are_never_ours,
    the_vendors_clock_does_not_matter,
];

fn is(error: &ConnectorError, kind: ErrorKind, effect: Effect) {
    assert_eq!((error.kind, error.effect), (kind, effect), "{error}: {:?}", error.source);
}

/// With Lambda's own pace nothing is refused as too frequent.
async fn paces_are_kept_where_the_vendor_asks() {
    let options = Options { rate_limits: true, ..crate::rig::with_agent() };
    let rig = Rig::start(options, |config| config.paces = trainyard_lambda::usual_paces()).await;
    for _ in 0..3 {
        rig.connector.list_owned(&installation()).await.unwrap();
    }
    assert_eq!(rig.world.count(Vendor::Lambda, "list").refused, 0);
    rig.end().await;
}

async fn nothing_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rig = Rig::start(crate::rig::with_agent(), |config| config.url = format!("http://{free}")).await;
    let error = rig.connector.list_owned(&installation()).await.unwrap_err();
    is(&error, ErrorKind::Unreachable, Effect::None);
    rig.end().await;
}

async fn an_order_whose_answer_is_lost_is_found_and_never_repeated() {
    let canned = |status| Canned::status(status);
    let table = [
        (Fault::DropBefore, 0),
        (Fault::DropAfter, 1),
        (Fault::StallBefore { seconds: 0.3 }, 0),
        (Fault::StallAfter { seconds: 0.3 }, 1),
        (Fault::StatusBefore(canned(500)), 0),
        (Fault::StatusAfter(canned(502)), 1),
        (Fault::StatusAfter(canned(503)), 1),
        (Fault::StatusBefore(canned(429)), 0),
        (Fault::StatusAfter(canned(429)), 1),
        (Fault::StatusAfter(canned(404)), 1),
    ];
    let rig = Rig::usual().await;
    for (number, (fault, made)) in table.into_iter().enumerate() {
        let order = rig.order().await;
        let told = format!("{fault:?}");
        rig.fault("create", fault);
        // Of its own each time: after five failures in a row a connector leaves an operation alone.
        let error = rig.again().provision(&order).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{told}: {error}");
        assert_eq!(rig.asked("create"), number as u64 + 1, "{told}: sent once");
        let found = rig.list().await.into_iter().filter(|seen| seen.order == order.name);
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), made, "{told}");
        // What is found is taken over: the way to it needs nothing that the lost answer told.
        if let ("DropAfter", Some(machine)) = (told.as_str(), found.first()) {
            let agent = rig.connector.attach(&order.name, &machine.id).await.unwrap();
            crate::rig::greeted(agent.as_ref()).await;
        }
    }
    rig.end().await;
}

async fn an_answer_cut_at_any_byte_is_no_success() {
    let rig = Rig::usual().await;
    let whole = r#"{"data":{"instance_ids":["0123456789abcdef0123456789abcdef"]}}"#.len();
    for bytes in (0..whole).step_by(7).chain([whole - 1]) {
        for fault in [Fault::Truncate { bytes }, Fault::Cut { bytes }] {
            let order = rig.order().await;
            rig.switch("create", "no_cloud_init", Value::Null);
            rig.fault("create", fault);
            let before = rig.asked("create");
            let error = rig.provision(&order).await.unwrap_err();
            is(&error, ErrorKind::Unreachable, Effect::Unknown);
            assert_eq!(rig.asked("create"), before + 1);
            rig.world.set_faults(trainyard_simulator::faults::FaultPlan::default());
        }
    }
    rig.end().await;
}

async fn a_listing_cut_at_any_byte_is_no_listing() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    rig.list().await;
    let whole = rig.world.tape().into_iter().rev().find(|one| one.operation == "list").unwrap();
    let whole = whole.answer.unwrap().len();
    for bytes in (0..whole).step_by(1 + whole / 60).chain([whole - 1]) {
        rig.fault("list", Fault::Truncate { bytes });
        let error = rig.connector.list_owned(&installation()).await.unwrap_err();
        is(&error, ErrorKind::Unreachable, Effect::None);
    }
    assert_eq!(rig.list().await.len(), 1);
    rig.end().await;
}

async fn nonsense_with_status_200_is_no_success() {
    let rig = Rig::usual().await;
    let bodies = [
        "",
        "<html><body>Just a moment…</body></html>",
        "null",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":{"instance_ids":[]}}"#,
        r#"{"data":{"instance_ids":null}}"#,
        r#"{"error":{"code":"global/unknown","message":"An unknown error occurred."}}"#,
        r#"{"data":{"instance_ids":[""]}}"#,
    ];
    for body in bodies {
        let order = rig.order().await;
        rig.switch("create", "no_cloud_init", Value::Null);
        rig.fault("create", Fault::Answer { body: body.to_owned(), content_type: None });
        let error = rig.provision(&order).await.unwrap_err();
        is(&error, ErrorKind::Unreachable, Effect::Unknown);
        assert!(rig.phase(&order).await.is_some(), "{body}: and it is found");
    }
    for body in &bodies[..5] {
        rig.fault("list", Fault::Answer { body: (*body).to_owned(), content_type: None });
        assert!(rig.connector.list_owned(&installation()).await.is_err(), "{body}");
    }
    rig.end().await;
}

async fn harmless_surprises_are_taken() {
    let rig = Rig::usual().await;
    for fault in [Fault::ExtraFields, Fault::NumbersAsStrings] {
        for operation in ["offers", "create", "list", "get", "terminate", "other"] {
            rig.world.add_fault(Rule::always(Vendor::Lambda, operation, fault.clone()));
        }
        let order = rig.order().await;
        let placed = rig.provision(&order).await.unwrap();
        rig.until_up(&order).await;
        assert_eq!(rig.list().await[0].price_per_hour, placed.price_per_hour);
        assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
        rig.until_phase(&order, |phase| phase == Some(MachinePhase::Gone)).await;
    }
    rig.end().await;
}

async fn a_new_status_is_kept_as_it_is() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    for (status, expected) in [(json!("hibernating"), "hibernating"), (json!(""), ""), (Value::Null, "")] {
        rig.fault("list", Fault::Replace { pointer: "/data/*/status".to_owned(), value: status });
        assert_eq!(rig.phase(&order).await, Some(MachinePhase::Unknown(expected.to_owned())));
    }
    rig.end().await;
}

async fn too_many_calls_are_waited_for() {
    let rig = Rig::usual().await;
    for form in ["json", "page", "retry_after"] {
        rig.switch("list", "too_many", json!(form));
        let before = rig.asked("list");
        assert!(rig.list().await.is_empty());
        assert_eq!(rig.asked("list"), before + 2, "{form}");
    }
    rig.end().await;
}

async fn a_key_revoked_in_mid_life_forgets_no_machine() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.agent(&order, &placed).await;
    let key = Account::usual_key(Vendor::Lambda);
    rig.world.set_key(Vendor::Lambda, &key, KeyState::Revoked);
    let error = rig.connector.list_owned(&installation()).await.unwrap_err();
    is(&error, ErrorKind::Unauthorized, Effect::None);
    let error = rig.connector.terminate(&order.name, &placed.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorized, "{error}: never taken for a machine that is gone");
    assert!(rig.connector.observe(&order.name, &placed.id).await.is_err());
    agent.greet().await.unwrap();
    rig.world.set_key(Vendor::Lambda, &key, KeyState::Valid);
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Up));
    rig.end().await;
}

async fn two_machines_of_one_order_are_both_seen() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    // The second one finds its port in use: it is another machine of the world, with another port.
    rig.switch("create", "no_cloud_init", Value::Null);
    let placed = rig.provision(&order).await.unwrap();
    let (_, body) = duplicate(&rig, placed.id.as_str());
    assert_eq!(rig.world.machine(Vendor::Lambda, &body).unwrap().name, order.name.as_str());
    let seen = rig.list().await;
    assert_eq!(seen.iter().filter(|seen| seen.order == order.name).count(), 2);
    rig.end().await;
}

/// A second machine under the same name and tags, as a launch that was carried out twice makes it.
fn duplicate(rig: &Rig, id: &str) -> (String, String) {
    let first = rig.world.machine(Vendor::Lambda, id).unwrap();
    let again = trainyard_simulator::Order { ports: Vec::new(), ..(*first.order).clone() };
    let call = trainyard_simulator::world::Call::plain(Vendor::Lambda, "create");
    let second = rig.world.place(&call, again).unwrap();
    (first.id, second.id)
}

async fn a_lagging_listing_hides_and_a_stale_one_shows() {
    let rig = Rig::start(crate::rig::with_agent(), |config| config.settle_s = 120).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.fault("list", Fault::ListingLag { seconds: 60.0 });
    assert_eq!(rig.phase(&order).await, None);
    rig.fault("get", Fault::ListingLag { seconds: 60.0 });
    let error = rig.connector.observe(&order.name, &placed.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}: so young, a 404 proves nothing");
    assert!(rig.phase(&order).await.is_some());
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    rig.until_phase(&order, |phase| phase == Some(MachinePhase::Gone)).await;
    rig.fault("list", Fault::DeadShown { seconds: 60.0 });
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Up), "a stale reading says so");
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Gone));
    rig.end().await;
}

async fn a_termination_that_does_nothing_shows() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    rig.fault("terminate", Fault::TerminateIgnored);
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Up), "only listings prove");
    rig.end().await;
}

async fn a_termination_answered_with_404_is_gone() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.fault("terminate", Fault::TerminateNotFound);
    let gone = rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    assert!(matches!(gone, Termination::Gone(_)), "{gone:?}");
    // A 404 of somebody before Lambda proves nothing.
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.fault("terminate", Fault::StatusBefore(Canned::status(404)));
    assert!(rig.connector.terminate(&order.name, &placed.id).await.is_err());
    rig.end().await;
}

async fn a_machine_taken_away_is_seen() {
    let delays = trainyard_simulator::Delays {
        removal: std::time::Duration::from_secs(2),
        ..trainyard_simulator::Delays::NONE
    };
    let rig = Rig::start(trainyard_simulator::Options { delays, ..crate::rig::with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.world.preempt(Vendor::Lambda, placed.id.as_str()).unwrap();
    let phase = rig.phase(&order).await;
    assert!(matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. })), "{phase:?}");
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.world.delete_in_console(Vendor::Lambda, placed.id.as_str()).unwrap();
    let phase = rig.phase(&order).await;
    assert!(matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. })), "{phase:?}");
    rig.until_phase(&order, |phase| phase == Some(MachinePhase::Gone)).await;
    rig.end().await;
}

async fn other_peoples_machines_are_never_ours() {
    let rig = Rig::usual().await;
    let other = rig.config.clone();
    let other = trainyard_lambda::LambdaConfig {
        installation: "other000".parse().unwrap(),
        ssh_seed: [8; 32],
        ..other
    };
    let other = trainyard_lambda::LambdaLabsConnector::new(other).unwrap();
    let mut order = rig.order().await;
    order.name = format!("ty-other000-{}", "0".repeat(26)).parse().unwrap();
    let placed = other.provision(&order).await.unwrap();
    assert!(rig.list().await.is_empty());
    let error = rig.connector.observe(&new_order(), &placed.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert_eq!(other.list_owned(&"other000".parse().unwrap()).await.unwrap().len(), 1);
    rig.end().await;
}

async fn the_vendors_clock_does_not_matter() {
    let rig = Rig::usual().await;
    for operation in ["offers", "create", "list", "other"] {
        rig.world.add_fault(Rule::always(Vendor::Lambda, operation, Fault::DateSkew { seconds: -36_000 }));
    }
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    let seen = rig.list().await.remove(0);
    assert!((crate::rig::now() - seen.at).num_seconds().abs() < 60);
    rig.end().await;
}
