//! Offers and orders: what is shown, what is bought, what is refused.

use secrecy::SecretString;
use trainyard_connector::{Connector, Effect, ErrorKind, Offer, ProvisionOrder, RegistryLogin};
use trainyard_domain::Resources;
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Canned, Fault};
use trainyard_simulator::world::KeyState;
use trainyard_vastai::VastAIConnector;

use crate::rig::{Rig, any, new_order};

trainyard_testkit::program_tests![
    offers_are_sound_and_cheapest_first,
    a_market_that_keeps_to_no_filter_fools_nobody,
    a_spot_machine_is_bid_for,
    a_bid_that_left_a_machine_behind_gives_it_back,
    a_dearer_machine_is_given_back,
    a_smaller_machine_is_given_back,
    a_taken_offer_is_no_capacity,
    an_account_without_money_is_told,
    keys_that_do_not_work_are_told,
    a_private_image_brings_its_login_and_shows_it_nowhere,
    the_account_tells_its_credit,
    an_instance_whose_label_was_edited_is_still_ours,
];

async fn offers_are_sound_and_cheapest_first() {
    let rig = Rig::usual().await;
    let need = Resources { gpu: vec!["RTX4090".to_owned()], regions: vec!["US".to_owned()], ..any() };
    let offers = rig.connector.offers(&need).await.unwrap();
    assert!(offers.len() >= 5 && offers.is_sorted_by_key(|offer| offer.price_per_hour), "{offers:?}");
    for offer in &offers {
        assert!(
            offer.gpu == "RTX4090" && offer.gpu_memory_gb == 24 && offer.region.ends_with("US"),
            "{offer:?}"
        );
        assert!(
            offer.id.starts_with("machine:") && !offer.spot && offer.traffic_per_gb > "0".parse().unwrap()
        );
    }
    let dear = Resources { max_price_per_hour: Some("0.40".parse().unwrap()), ..need };
    let cheap = rig.connector.offers(&dear).await.unwrap();
    assert!(!cheap.is_empty() && cheap.len() < offers.len());
    let none = Resources { gpu: vec!["B300".to_owned()], ..any() };
    assert!(rig.connector.offers(&none).await.unwrap().is_empty());
    rig.end().await;
}

async fn a_market_that_keeps_to_no_filter_fools_nobody() {
    let rig = Rig::usual().await;
    let most = "0.20".parse().unwrap();
    let need = Resources { max_price_per_hour: Some(most), ..any() };
    let honest = rig.connector.offers(&need).await.unwrap();
    rig.switch("offers", "unfiltered", serde_json::Value::Null);
    let offers = rig.connector.offers(&need).await.unwrap();
    let ids = |offers: &[Offer]| offers.iter().map(|offer| offer.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&offers), ids(&honest));
    rig.end().await;
}

async fn spot_order(rig: &Rig) -> ProvisionOrder {
    let resources = Resources { spot: true, gpu: vec!["RTX3090".to_owned()], ..any() };
    let offer = rig.connector.offers(&resources).await.unwrap().into_iter().next();
    ProvisionOrder { name: new_order(), resources, offer, image: None, registry: None }
}

async fn a_spot_machine_is_bid_for() {
    let rig = Rig::usual().await;
    let order = spot_order(&rig).await;
    let offer = order.offer.clone().unwrap();
    assert!(offer.spot);
    let placed = rig.provision(&order).await.unwrap();
    let machine = &rig.alive()[0];
    let listed = machine.offer.price_per_hour.decimal();
    let share = machine.price_per_hour.decimal() / listed;
    assert_eq!(share.round_dp(2).to_string(), "0.55", "a tenth over half the price: {listed}");
    let cents = |text: &trainyard_domain::Money| text.decimal().round_dp(3);
    assert_eq!(placed.price_per_hour.as_ref().map(cents), Some(cents(&offer.price_per_hour)));
    rig.end().await;
}

async fn a_bid_that_left_a_machine_behind_gives_it_back() {
    let rig = Rig::usual().await;
    let order = spot_order(&rig).await;
    rig.switch("create", "leftover", serde_json::Value::Null);
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCapacity, Effect::None), "{error}");
    assert!(error.to_string().contains("was given back"), "{error}");
    rig.until_phase(&order, |phase| phase.is_none()).await;
    let order = spot_order(&rig).await;
    rig.switch("create", "leftover", serde_json::Value::Null);
    rig.fault(
        "terminate",
        Fault::StatusBefore(Canned { body: Some("{\"success\":false}".to_owned()), ..Canned::status(400) }),
    );
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!(error.effect, Effect::Unknown, "{error}");
    assert!(rig.phase(&order).await.is_some(), "it is found by its name, to be given back later");
    rig.end().await;
}

async fn limited(rig: &Rig) -> ProvisionOrder {
    let mut order = rig.order().await;
    order.resources.max_price_per_hour = order.offer.as_ref().map(|offer| offer.price_per_hour);
    order
}

async fn a_dearer_machine_is_given_back() {
    let rig = Rig::usual().await;
    let order = limited(&rig).await;
    rig.fault("create", Fault::PriceJump { factor: 2 });
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PriceChanged, Effect::None), "{error}");
    rig.until_phase(&order, |phase| phase.is_none()).await;
    // And one that is shown dearer than allowed is not ordered at all.
    let mut order = limited(&rig).await;
    order.resources.max_price_per_hour = Some("0.01".parse().unwrap());
    let asked = rig.asked("create");
    assert_eq!(rig.provision(&order).await.unwrap_err().kind, ErrorKind::PriceChanged);
    assert_eq!(rig.asked("create"), asked);
    rig.end().await;
}

async fn a_smaller_machine_is_given_back() {
    let rig = Rig::usual().await;
    let resources = Resources { gpu_count: 2, ..any() };
    let offer = rig.connector.offers(&resources).await.unwrap().into_iter().next();
    let order = ProvisionOrder { name: new_order(), resources, offer, image: None, registry: None };
    rig.fault("create", Fault::OtherSize { gpus: Some(1), region: None });
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCapacity, Effect::None), "{error}");
    rig.until_phase(&order, |phase| phase.is_none()).await;
    rig.end().await;
}

async fn a_taken_offer_is_no_capacity() {
    let rig = Rig::usual().await;
    let (one, other) = (rig.order().await, rig.order().await);
    rig.provision(&one).await.unwrap();
    let error = rig.provision(&other).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCapacity, Effect::None), "{error}");
    assert_eq!(rig.alive().len(), 1);
    rig.end().await;
}

async fn an_account_without_money_is_told() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    rig.fault("create", Fault::NoCredit);
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::NoCredit, Effect::None), "{error}");
    assert!(rig.alive().is_empty());
    rig.end().await;
}

async fn keys_that_do_not_work_are_told() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    let with = |key: &str| {
        let mut config = rig.config.clone();
        config.key = SecretString::from(key.to_owned());
        VastAIConnector::new(config).unwrap()
    };
    rig.world.set_key(Vendor::Vastai, "old", KeyState::Revoked);
    for key in ["wrong", "old"] {
        let other = with(key);
        // Vast answers a wrong key with 404: it must not be read as gone.
        let kinds = [
            other.list_owned(&crate::rig::installation()).await.unwrap_err().kind,
            other.observe(&order.name, &placed.id).await.unwrap_err().kind,
            other.terminate(&order.name, &placed.id).await.unwrap_err().kind,
            other.account().await.unwrap_err().kind,
        ];
        assert_eq!(kinds, [ErrorKind::Unauthorized; 4], "{key}");
        let error =
            other.provision(&ProvisionOrder { name: new_order(), ..order.clone() }).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None), "{error}");
        assert!(!format!("{other:?}{error:?}").contains("\"wrong\""));
    }
    assert_eq!(rig.alive().len(), 1);
    rig.end().await;
}

async fn a_private_image_brings_its_login_and_shows_it_nowhere() {
    let rig = Rig::usual().await;
    let login =
        RegistryLogin { username: "me".to_owned(), password: SecretString::from("hush-hush".to_owned()) };
    let order = ProvisionOrder {
        registry: Some(login),
        image: Some("ghcr.io/a/b:1".to_owned()),
        ..rig.order().await
    };
    let quoting =
        r#"{"success":false,"error":"invalid_args","msg":"image_login -u me -p hush-hush ghcr.io is wrong"}"#;
    rig.fault(
        "create",
        Fault::StatusBefore(Canned { body: Some(quoting.to_owned()), ..Canned::status(400) }),
    );
    let error = rig.provision(&order).await.unwrap_err();
    assert!(!format!("{error} {error:?} {order:?}").contains("hush-hush"), "{error:?}");
    rig.provision(&order).await.unwrap();
    let tape = rig.world.tape();
    let body = tape.iter().rev().find(|exchange| exchange.operation == "create").unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body.body).unwrap();
    assert_eq!(body["image_login"], "-u me -p hush-hush ghcr.io");
    rig.end().await;
}

async fn the_account_tells_its_credit() {
    let rig = Rig::usual().await;
    let account = rig.connector.account().await.unwrap();
    assert_eq!(account.credit.unwrap().to_string(), "100");
    assert!(account.rights.iter().all(|(_, finding)| finding == "yes"), "{:?}", account.rights);
    rig.end().await;
}

async fn an_instance_whose_label_was_edited_is_still_ours() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.world.change(Vendor::Vastai, placed.id.as_str(), |label, _| *label = "step 3".to_owned()).unwrap();
    let listed = rig.list().await;
    assert_eq!((listed.len(), &listed[0].order, &listed[0].id), (1, &order.name, &placed.id));
    rig.end().await;
}
