//! What breaks, and what must come of it.

use std::time::{Duration, Instant};

use trainyard_connector::{Connector, Effect, ErrorKind, MachinePhase, ProvisionOrder, Termination};
use trainyard_simulator::faults::{Canned, Fault, FaultPlan, Rule};
use trainyard_simulator::{Options, Vendor};

use crate::rig::{Rig, installation};

trainyard_testkit::program_tests![
    an_order_with_an_unknown_outcome_is_found_by_its_name,
    an_order_that_was_not_done_leaves_nothing,
    an_order_that_never_was_is_not_listed,
    more_than_a_page_comes_whole,
    a_listing_that_fails_is_never_empty,
    a_listing_that_turns_in_circles_ends,
    nothing_shown_is_not_gone,
    one_flicker_is_not_believed,
    a_broken_image_is_told_with_its_text,
    a_broken_start_is_told_with_its_text,
    a_machine_that_is_taken_back_is_broken,
    a_lost_host_is_kept_as_unknown,
    odd_answers_change_nothing,
    a_removal_is_asked_for_until_it_is_heard,
    a_log_that_never_comes_ends,
    paces_are_kept_where_the_vendor_asks,
];

async fn an_order_with_an_unknown_outcome_is_found_by_its_name() {
    let rig = Rig::usual().await;
    let page = || Fault::StatusAfter(Canned::status(503));
    for fault in [
        Fault::DropAfter,
        Fault::StallAfter { seconds: 0.5 },
        page(),
        Fault::Cut { bytes: 20 },
        Fault::Truncate { bytes: 20 },
    ] {
        let order = rig.order().await;
        let asked = rig.asked("create");
        rig.fault("create", fault.clone());
        let error = rig.provision(&order).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{fault:?}: {error}");
        assert_eq!(rig.asked("create"), asked + 1, "{fault:?}: it was sent again");
        let found = rig.list().await.into_iter().filter(|seen| seen.order == order.name).count();
        assert_eq!(found, 1, "{fault:?}");
    }
    rig.end().await;
}

async fn an_order_that_was_not_done_leaves_nothing() {
    let rig = Rig::usual().await;
    let limit = Canned {
        body: Some(r#"{"detail":"API requests too frequent endpoint threshold=4.5"}"#.to_owned()),
        ..Canned::status(429)
    };
    for fault in [Fault::DropBefore, Fault::StatusBefore(Canned::status(403)), Fault::StatusBefore(limit)] {
        let order = rig.order().await;
        let asked = rig.asked("create");
        rig.fault("create", fault.clone());
        let error = rig.provision(&order).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{fault:?}: {error}");
        assert_eq!((rig.asked("create"), rig.phase(&order).await), (asked + 1, None), "{fault:?}");
    }
    rig.end().await;
}

async fn an_order_that_never_was_is_not_listed() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.switch("create", "no_instance", serde_json::Value::Null);
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(rig.phase(&order).await, None);
    let seen = rig.connector.observe(&order.name, &placed.id).await.unwrap();
    assert!(matches!(seen.phase, MachinePhase::Unknown(_)), "{seen:?}");
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    rig.end().await;
}

async fn several(rig: &Rig, count: usize) -> Vec<ProvisionOrder> {
    rig.world.set_stock(Vendor::Vastai, 100);
    let mut orders = Vec::new();
    for _ in 0..count {
        let order = rig.order().await;
        rig.provision(&order).await.unwrap();
        orders.push(order);
    }
    orders
}

async fn more_than_a_page_comes_whole() {
    let rig = Rig::start(Options { path: "/nowhere".into(), ..Options::for_tests() }, |_| {}).await;
    let orders = several(&rig, 27).await;
    let whole = |rig: &Rig| {
        let names: Vec<_> = orders.iter().map(|order| order.name.clone()).collect();
        let world = rig.world.alive().len();
        (names, world)
    };
    let (mut names, _) = whole(&rig);
    names.sort();
    for slip in [false, true] {
        if slip {
            rig.fault("list", Fault::PageSlip);
        }
        let mut listed: Vec<_> = rig.list().await.into_iter().map(|seen| seen.order).collect();
        listed.sort();
        assert_eq!(listed, names, "one slipped through: {slip}");
    }
    rig.end().await;
}

async fn a_listing_that_fails_is_never_empty() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    let said = |status, body: &str| {
        Fault::StatusBefore(Canned { body: Some(body.to_owned()), ..Canned::status(status) })
    };
    let answer = |body: &str| Fault::Answer { body: body.to_owned(), content_type: None };
    for fault in [
        said(410, r#"{"success":false,"error":"deprecated_endpoint"}"#),
        said(400, r#"{"error":"invalid_request","msg":"x"}"#),
        said(404, r#"{"success":false,"error":"auth_error","msg":"Invalid user key"}"#),
        answer("{}"),
        answer(""),
        answer("<html></html>"),
        answer(r#"{"success":true,"instances":null}"#),
        answer(r#"{"success":false,"instances":[]}"#),
        answer(r#"{"success":true,"instances":[{"id":"x"}]}"#),
    ] {
        rig.fault("list", fault.clone());
        let listed = rig.connector.list_owned(&installation()).await;
        assert!(listed.is_err(), "{fault:?}: {listed:?}");
    }
    assert_eq!(rig.list().await.len(), 1);
    rig.end().await;
}

async fn a_listing_that_turns_in_circles_ends() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    let token = "eyJ2YWx1ZXMiOlsxXX0=";
    let circle = Fault::Replace { pointer: "/next_token".to_owned(), value: token.into() };
    rig.world.add_fault(Rule::always(Vendor::Vastai, "list", circle));
    let error = rig.connector.list_owned(&installation()).await.unwrap_err();
    assert!(error.to_string().contains("again and again"), "{error}");
    rig.world.set_faults(FaultPlan::default());
    rig.end().await;
}

async fn nothing_shown_is_not_gone() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.switch("get", "null", serde_json::Value::Null);
    let seen = rig.connector.observe(&order.name, &placed.id).await.unwrap();
    assert!(matches!(seen.phase, MachinePhase::Unknown(_)), "{seen:?}");
    rig.until_up(&order).await;
    rig.end().await;
}

async fn one_flicker_is_not_believed() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    rig.switch("list", "exited", serde_json::Value::Null);
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Booting), "about to be started again");
    let stopped =
        Fault::Replace { pointer: "/instances/0/actual_status".to_owned(), value: "stopped".into() };
    rig.fault("list", stopped);
    assert!(matches!(rig.phase(&order).await, Some(MachinePhase::Unknown(word)) if word == "stopped"));
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Up));
    rig.end().await;
}

async fn becomes_broken(fault: Fault, says: &str, elsewhere: bool) {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", fault);
    rig.provision(&order).await.unwrap();
    rig.until_phase(&order, |phase| {
        matches!(phase, Some(MachinePhase::Broken { what, elsewhere: found }) if what.contains(says) && found == elsewhere)
    })
    .await;
    rig.end().await;
}

async fn a_broken_image_is_told_with_its_text() {
    becomes_broken(Fault::BrokenImage { text: None }, "manifest", false).await;
}

async fn a_broken_start_is_told_with_its_text() {
    let text = "OCI runtime create failed: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8";
    becomes_broken(Fault::BrokenStart { text: Some(text.to_owned()) }, "cuda>=12.8", true).await;
}

async fn a_machine_that_is_taken_back_is_broken() {
    becomes_broken(Fault::Preempt { after_ms: 100 }, "stopped", true).await;
}

async fn a_lost_host_is_kept_as_unknown() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    rig.world.set_reachable(Vendor::Vastai, placed.id.as_str(), false).unwrap();
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Unknown("offline".to_owned())));
    rig.world.set_reachable(Vendor::Vastai, placed.id.as_str(), true).unwrap();
    rig.until_up(&order).await;
    rig.end().await;
}

async fn odd_answers_change_nothing() {
    let rig = Rig::usual().await;
    for operation in ["offers", "create", "get", "list"] {
        rig.fault(operation, Fault::NumbersAsStrings);
        rig.fault(operation, Fault::ExtraFields);
    }
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    rig.fault("list", Fault::NumbersAsStrings);
    rig.fault("list", Fault::DateSkew { seconds: -40_000 });
    let seen = rig.list().await;
    assert_eq!((seen.len(), seen[0].order.clone()), (1, order.name.clone()));
    assert_eq!(seen[0].price_per_hour, order.offer.map(|offer| offer.price_per_hour));
    rig.end().await;
}

async fn a_removal_is_asked_for_until_it_is_heard() {
    let rig = Rig::usual().await;
    let limit = r#"{"success":false,"error":"rate_limit_exceeded","msg":"API requests too frequent endpoint threshold=3.0"}"#;
    let limit = Fault::StatusBefore(Canned { body: Some(limit.to_owned()), ..Canned::status(429) });
    for fault in [limit, Fault::DropAfter, Fault::TerminateNotFound, Fault::StatusAfter(Canned::status(502))]
    {
        let order = rig.order().await;
        let placed = rig.provision(&order).await.unwrap();
        rig.fault("terminate", fault.clone());
        let asked = rig.connector.terminate(&order.name, &placed.id).await;
        assert!(matches!(asked, Ok(Termination::Underway)), "{fault:?}: {asked:?}");
        rig.until_phase(&order, |phase| phase.is_none()).await;
    }
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.fault("terminate", Fault::TerminateIgnored);
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    assert!(rig.phase(&order).await.is_some(), "accepted is not done");
    rig.end().await;
}

async fn a_log_that_never_comes_ends() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    let never = Fault::Own { name: "log_never".to_owned(), value: serde_json::Value::Null };
    rig.world.add_fault(Rule::always(Vendor::Vastai, "logs", never));
    let begun = Instant::now();
    let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
    assert!(log.lines.is_empty() && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    rig.world.set_faults(FaultPlan::default());
    let again = rig.connector.machine_log(&order.name, &placed.id, log.cursor.as_deref()).await.unwrap();
    assert!(!again.lines.is_empty(), "nothing was lost");
    rig.end().await;
}

/// With Vast's own pace nothing is refused as too frequent.
async fn paces_are_kept_where_the_vendor_asks() {
    let options = Options { rate_limits: true, ..crate::rig::with_agent() };
    let rig = Rig::start(options, |config| config.paces = trainyard_vastai::vast_paces()).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    for _ in 0..3 {
        rig.list().await;
    }
    rig.connector.observe(&order.name, &placed.id).await.unwrap();
    rig.connector.terminate(&order.name, &placed.id).await.unwrap();
    for operation in ["offers", "create", "list", "get", "terminate"] {
        assert_eq!(rig.world.count(Vendor::Vastai, operation).refused, 0, "{operation}");
    }
    let error = rig.connector.observe(&order.name, &"x".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(rig.world.until(Duration::from_secs(20), |world| world.alive().is_empty()).await);
    rig.end().await;
}
