//! Orders: what is offered, what is refused and in which words, the key that must be there.

use serde_json::json;
use trainyard_connector::{Connector, Effect, ErrorKind, MachinePhase, ProvisionOrder, Termination};
use trainyard_domain::Resources;
use trainyard_simulator::faults::Fault;
use trainyard_simulator::world::{AccountOrder, KeyState, OfferOrder};
use trainyard_simulator::{Account, Vendor};

use crate::rig::{Rig, any, new_order};

trainyard_testkit::program_tests![
    offers_are_what_can_be_had_with_an_agent_for_it,
    refusals_have_a_kind_and_no_effect,
    a_dearer_machine_is_not_taken,
    another_machine_than_asked_is_to_be_given_back,
    the_key_is_added_once_and_again_where_it_was_deleted,
    a_machine_that_cannot_be_terminated_yet_is_tried_again,
    asking_twice_for_the_end_is_as_good_as_once,
    the_account_is_told,
];

async fn offers_are_what_can_be_had_with_an_agent_for_it() {
    let rig = Rig::usual().await;
    let offers = rig.offers().await;
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert!(ids.contains(&"gpu_1x_a10@us-east-1") && ids.contains(&"gpu_8x_a100@us-east-1"), "{ids:?}");
    assert!(!ids.iter().any(|id| id.contains("gh200")), "there is no agent for ARM here");
    assert!(!ids.iter().any(|id| id.contains("b200")), "it is sold out");
    assert!(offers.is_sorted_by_key(|offer| offer.price_per_hour));
    let need = Resources {
        gpu: vec!["H100".to_owned()],
        max_price_per_hour: Some("4".parse().unwrap()),
        regions: vec!["US".to_owned()],
        ..Resources::default()
    };
    let fitting = rig.connector.offers(&need).await.unwrap();
    assert_eq!(
        fitting.iter().map(|offer| offer.id.as_str()).collect::<Vec<_>>(),
        ["gpu_1x_h100_pcie@us-west-1"]
    );
    rig.world.set_stock(Vendor::Lambda, 0);
    assert!(rig.offers().await.is_empty());
    rig.end().await;
}

async fn refusals_have_a_kind_and_no_effect() {
    let rig = Rig::usual().await;
    let key = Account::usual_key(Vendor::Lambda);
    for (switch, kind) in [
        ("account_inactive", ErrorKind::NoCredit),
        ("invalid_address", ErrorKind::NoCredit),
        ("quota", ErrorKind::NoCredit),
        ("provider_unavailable", ErrorKind::NoCapacity),
    ] {
        let order = rig.order().await;
        rig.switch("create", switch, json!(null));
        let error = rig.provision(&order).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{switch}: {error}");
    }
    let order = rig.order().await;
    rig.fault("create", Fault::NoCapacity);
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCapacity, Effect::None), "{error}");
    assert!(error.message.contains("Not enough capacity"), "{error}");
    rig.world.set_account(Vendor::Lambda, AccountOrder { quota: Some(0), ..AccountOrder::default() });
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCredit, Effect::None), "{error}");
    rig.world.set_key(Vendor::Lambda, &key, KeyState::Revoked);
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None), "{error}");
    assert!(!format!("{error:?}").contains(&key));
    let offerless =
        ProvisionOrder { name: new_order(), resources: any(), offer: None, image: None, registry: None };
    assert_eq!(rig.provision(&offerless).await.unwrap_err().kind, ErrorKind::Invalid);
    assert!(rig.alive().is_empty());
    rig.end().await;
}

async fn a_dearer_machine_is_not_taken() {
    let rig = Rig::usual().await;
    let mut order = rig.order().await;
    order.resources.max_price_per_hour = order.offer.as_ref().map(|offer| offer.price_per_hour);
    let id = order.offer.as_ref().unwrap().id.clone();
    let dearer = OfferOrder { price_per_hour: Some("0.70".parse().unwrap()), left: None };
    assert!(rig.world.set_offer(Vendor::Lambda, &id, dearer));
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PriceChanged, Effect::None), "{error}");
    assert_eq!(rig.asked("create"), 0);
    // Dearer at the very moment of the purchase: the listing tells.
    let mut order = rig.order().await;
    order.resources.max_price_per_hour = Some("2".parse().unwrap());
    rig.fault("create", Fault::PriceJump { factor: 3 });
    rig.provision(&order).await.unwrap();
    let seen = rig.list().await;
    assert!(seen[0].price_per_hour > order.resources.max_price_per_hour, "{seen:?}");
    rig.end().await;
}

async fn another_machine_than_asked_is_to_be_given_back() {
    let rig = Rig::usual().await;
    let region = Some("asia-south-1".to_owned());
    for other in [Fault::OtherSize { gpus: None, region }, Fault::OtherSize { gpus: Some(2), region: None }] {
        let order = rig.order().await;
        rig.fault("create", other);
        rig.provision(&order).await.unwrap();
        let phase = rig.phase(&order).await;
        assert!(matches!(phase, Some(MachinePhase::Broken { elsewhere: true, .. })), "{phase:?}");
    }
    rig.end().await;
}

async fn the_key_is_added_once_and_again_where_it_was_deleted() {
    let rig = Rig::usual().await;
    let keys = || -> Vec<serde_json::Value> {
        rig.world.shelf(Vendor::Lambda, |shelf| {
            shelf.get("ssh-keys").and_then(|keys| keys.as_array().cloned()).unwrap_or_default()
        })
    };
    for _ in 0..2 {
        let order = rig.order().await;
        let placed = rig.provision(&order).await.unwrap();
        rig.agent(&order, &placed).await;
    }
    let before = keys();
    assert_eq!(before.len(), 1);
    let name = before[0]["name"].as_str().unwrap();
    assert!(name.starts_with("trainyard-tests000-"), "{name}");
    rig.world.shelf(Vendor::Lambda, |shelf| shelf.clear());
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.agent(&order, &placed).await;
    assert_eq!((keys().len(), &keys()[0]["name"]), (1, &before[0]["name"]));
    assert_eq!(rig.asked("create"), 4, "one was refused for the missing key, for certain");
    // Another server of the same installation adds nothing.
    rig.again().provision(&rig.order().await).await.unwrap();
    assert_eq!(keys().len(), 1);
    rig.end().await;
}

async fn a_machine_that_cannot_be_terminated_yet_is_tried_again() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.switch("create", "terminate_blocked", json!(1.5));
    let placed = rig.provision(&order).await.unwrap();
    let error = rig.connector.terminate(&order.name, &placed.id).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None), "{error}");
    // waits: for the vendor's own time, which nothing but asking tells
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    rig.end().await;
}

async fn asking_twice_for_the_end_is_as_good_as_once() {
    let delays = trainyard_simulator::Delays {
        removal: std::time::Duration::from_secs(3),
        ..trainyard_simulator::Delays::NONE
    };
    let rig = Rig::start(trainyard_simulator::Options { delays, ..crate::rig::with_agent() }, |_| {}).await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    rig.switch("terminate", "terminate_again_unknown", json!(null));
    assert_eq!(rig.connector.terminate(&order.name, &placed.id).await.unwrap(), Termination::Underway);
    assert!(matches!(rig.phase(&order).await, Some(MachinePhase::Broken { .. })), "it is terminating");
    rig.until_phase(&order, |phase| phase == Some(MachinePhase::Gone)).await;
    rig.end().await;
}

async fn the_account_is_told() {
    let rig = Rig::usual().await;
    let account = rig.connector.account().await.unwrap();
    assert_eq!(account.credit, None);
    assert!(account.rights.iter().any(|(name, found)| name == "machines" && found.starts_with("0 ")));
    rig.world.set_key(Vendor::Lambda, &Account::usual_key(Vendor::Lambda), KeyState::Revoked);
    assert_eq!(rig.connector.account().await.unwrap_err().kind, ErrorKind::Unauthorized);
    rig.end().await;
}
