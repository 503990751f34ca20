//! What breaks, and what must come of it.

use std::time::{Duration, Instant};

use trainyard_connector::{Connector, Effect, ErrorKind, MachinePhase, Termination};
use trainyard_simulator::faults::{Canned, Fault, FaultPlan, Rule};
use trainyard_simulator::{Options, Vendor};

use crate::rig::{Rig, installation};

trainyard_testkit::program_tests![
    an_order_with_an_unknown_outcome_is_found_by_its_name,
    an_order_that_was_not_done_leaves_nothing,
    an_order_that_was_sent_away_for_now_is_sent_again,
    two_pods_of_one_name_are_listed_both,
    pages_come_whole_and_end,
    a_listing_that_fails_is_never_empty,
    every_status_is_told,
    a_broken_image_is_told_by_its_log,
    a_broken_start_is_told_by_its_log,
    a_pod_that_is_taken_back_is_broken_or_gone,
    odd_answers_change_nothing,
    a_removal_is_asked_for_until_it_is_heard,
    the_proxy_pages_are_nobodys_word,
];

async fn an_order_with_an_unknown_outcome_is_found_by_its_name() {
    let rig = Rig::usual().await;
    for fault in [
        Fault::DropAfter,
        Fault::StallAfter { seconds: 0.5 },
        Fault::StatusAfter(Canned::status(500)),
        Fault::StatusAfter(Canned::status(503)),
        Fault::StatusAfter(Canned::status(520)),
        Fault::Cut { bytes: 20 },
        Fault::Truncate { bytes: 20 },
        Fault::Truncate { bytes: 0 },
        Fault::Answer { body: "<html>200</html>".to_owned(), content_type: None },
    ] {
        let order = rig.order().await;
        let asked = rig.asked("create");
        rig.fault("create", fault.clone());
        // By a connector of its own: one that failed five times in a row leaves the vendor alone for a while.
        let error = rig.again().provision(&order).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{fault:?}: {error}");
        assert_eq!(rig.asked("create"), asked + 1, "{fault:?}: it was sent again");
        let found = rig.list().await.into_iter().filter(|seen| seen.order == order.name).count();
        assert_eq!(found, 1, "{fault:?}");
    }
    rig.end().await;
}

async fn an_order_that_was_not_done_leaves_nothing() {
    let rig = Rig::usual().await;
    for fault in
        [Fault::DropBefore, Fault::StallBefore { seconds: 0.2 }, Fault::StatusBefore(Canned::status(502))]
    {
        let order = rig.order().await;
        let asked = rig.asked("create");
        rig.fault("create", fault.clone());
        let error = rig.provision(&order).await.unwrap_err();
        assert_eq!(error.effect, Effect::Unknown, "{fault:?}: nobody can tell: {error}");
        assert_eq!((rig.asked("create"), rig.phase(&order).await), (asked + 1, None), "{fault:?}");
    }
    rig.end().await;
}

/// RunPod decides on a 429 before any work.
async fn an_order_that_was_sent_away_for_now_is_sent_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", Fault::StatusBefore(Canned { retry_after_s: Some(1), ..Canned::status(429) }));
    let begun = Instant::now();
    rig.provision(&order).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((rig.asked("create"), rig.alive().len()), (2, 1));
    rig.end().await;
}

/// Names are not unique at RunPod: whoever settles an order must see both.
async fn two_pods_of_one_name_are_listed_both() {
    let rig = Rig::start(Options { path: "/nowhere".into(), ..Options::for_tests() }, |_| {}).await;
    let (one, other) = (rig.order().await, rig.order().await);
    rig.provision(&one).await.unwrap();
    let placed = rig.provision(&other).await.unwrap();
    rig.world.change(Vendor::Runpod, placed.id.as_str(), |name, _| *name = one.name.to_string()).unwrap();
    assert_eq!(rig.list().await.iter().filter(|seen| seen.order == one.name).count(), 2);
    // One that a person renamed is known by what its environment says.
    rig.world
        .change(Vendor::Runpod, placed.id.as_str(), |name, _| *name = format!("{}-old", one.name))
        .unwrap();
    let seen = rig.list().await;
    assert_eq!(seen.iter().filter(|seen| seen.order == one.name).count(), 1);
    assert_eq!(seen.len(), 2);
    rig.end().await;
}

async fn pages_come_whole_and_end() {
    let rig = Rig::start(Options { path: "/nowhere".into(), ..Options::for_tests() }, |_| {}).await;
    let mut names = Vec::new();
    for _ in 0..7 {
        let order = rig.order().await;
        rig.provision(&order).await.unwrap();
        names.push(order.name);
    }
    names.sort();
    let own = |name: &str, value: serde_json::Value| Fault::Own { name: name.to_owned(), value };
    rig.world.add_fault(Rule::always(Vendor::Runpod, "list", own("page_size", 3.into())));
    let before = rig.asked("list");
    let mut listed: Vec<_> = rig.list().await.into_iter().map(|seen| seen.order).collect();
    listed.sort();
    assert_eq!((listed, rig.asked("list") - before), (names.clone(), 3));
    rig.world.set_faults(FaultPlan::default());
    rig.switch("list", "no_pagination", 0.into());
    assert_eq!(rig.list().await.len(), names.len(), "as before there were pages");
    let before = rig.asked("list");
    rig.world.add_fault(Rule::always(Vendor::Runpod, "list", own("repeat_cursor", 0.into())));
    let error = rig.connector.list_owned(&installation()).await.unwrap_err();
    assert!(error.to_string().contains("does not end"), "{error}");
    assert!(rig.asked("list") - before <= 3);
    rig.world.set_faults(FaultPlan::default());
    rig.end().await;
}

async fn a_listing_that_fails_is_never_empty() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    let answer = |body: &str| Fault::Answer { body: body.to_owned(), content_type: None };
    for fault in [
        answer("{}"),
        answer(""),
        answer("[]"),
        answer("<html></html>"),
        answer(r#"{"pods":null}"#),
        answer(r#"{"pods":[null]}"#),
        answer(r#"{"pods":[],"pagination":{"hasNextPage":true,"nextCursor":null}}"#),
        Fault::Truncate { bytes: 60 },
        Fault::StatusBefore(Canned { body: Some("{}".to_owned()), ..Canned::status(404) }),
        Fault::StatusBefore(Canned { body: Some("error code: 1010".to_owned()), ..Canned::status(403) }),
    ] {
        rig.fault("list", fault.clone());
        let listed = rig.connector.list_owned(&installation()).await;
        assert!(listed.is_err(), "{fault:?}: {listed:?}");
    }
    assert_eq!(rig.list().await.len(), 1);
    rig.end().await;
}

async fn every_status_is_told() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.provision(&order).await.unwrap();
    rig.until_up(&order).await;
    for (word, so) in [
        ("PROVISIONING", |phase: &MachinePhase| *phase == MachinePhase::Booting),
        ("STARTING", |phase| *phase == MachinePhase::Booting),
        ("EXITED", |phase| matches!(phase, MachinePhase::Broken { elsewhere: true, .. })),
        ("ERROR", |phase| matches!(phase, MachinePhase::Broken { elsewhere: true, .. })),
        ("TERMINATED", |phase| *phase == MachinePhase::Gone),
        ("HIBERNATING", |phase| *phase == MachinePhase::Unknown("HIBERNATING".to_owned())),
    ] as [(&str, fn(&MachinePhase) -> bool); 6]
    {
        rig.switch("list", "status", word.into());
        let phase = rig.phase(&order).await.unwrap();
        assert!(so(&phase), "{word}: {phase:?}");
    }
    rig.end().await;
}

async fn broken_by_log(fault: Fault, says: &str, elsewhere: bool) {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", fault);
    let placed = rig.provision(&order).await.unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let (what, found) = loop {
        let log = rig.connector.machine_log(&order.name, &placed.id, None).await.unwrap();
        if let Some(broken) = log.broken {
            break broken;
        }
        assert!(Instant::now() < until, "{:?}", log.lines);
    };
    assert!(what.contains(says) && found == elsewhere, "{what}");
    assert_eq!(rig.phase(&order).await, Some(MachinePhase::Booting), "RunPod itself says RUNNING");
    rig.end().await;
}

async fn a_broken_image_is_told_by_its_log() {
    broken_by_log(Fault::BrokenImage { text: None }, "manifest unknown", false).await;
}

async fn a_broken_start_is_told_by_its_log() {
    let text = "OCI runtime create failed: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8";
    broken_by_log(Fault::BrokenStart { text: Some(text.to_owned()) }, "cuda>=12.8", true).await;
}

async fn a_pod_that_is_taken_back_is_broken_or_gone() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", Fault::Preempt { after_ms: 100 });
    rig.provision(&order).await.unwrap();
    rig.until_phase(&order, |phase| matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. })))
        .await;
    let order = rig.order().await;
    rig.fault("create", Fault::ConsoleDelete { after_ms: 100 });
    let placed = rig.provision(&order).await.unwrap();
    rig.until_phase(&order, |phase| phase.is_none()).await;
    let seen = rig.connector.observe(&order.name, &placed.id).await.unwrap();
    assert_eq!(seen.phase, MachinePhase::Gone);
    // A page in place of RunPod's own 404 is no evidence.
    rig.fault("get", Fault::StatusBefore(Canned::status(404)));
    assert!(rig.connector.observe(&order.name, &placed.id).await.is_err());
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
    rig.fault("list", Fault::DateSkew { seconds: -40_000 });
    let seen = rig.list().await;
    assert_eq!((seen.len(), seen[0].order.clone()), (1, order.name.clone()));
    assert_eq!(seen[0].price_per_hour, order.offer.map(|offer| offer.price_per_hour));
    rig.end().await;
}

async fn a_removal_is_asked_for_until_it_is_heard() {
    let rig = Rig::usual().await;
    for fault in [
        Fault::StatusBefore(Canned { retry_after_s: Some(1), ..Canned::status(429) }),
        Fault::DropAfter,
        Fault::TerminateNotFound,
        Fault::StatusAfter(Canned::status(502)),
    ] {
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

async fn the_proxy_pages_are_nobodys_word() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let agent = rig.agent(&order, &placed).await;
    for status in [404, 502, 520, 524] {
        rig.fault("proxy", Fault::StatusBefore(Canned::status(status)));
        let error = agent.state().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{status}: {error}");
    }
    agent.state().await.unwrap();
    rig.end().await;
}
