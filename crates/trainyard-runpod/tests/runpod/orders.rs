//! Offers and orders: what is shown, what is bought, what is refused.

use secrecy::SecretString;
use trainyard_connector::{Connector, Effect, ErrorKind, ProvisionOrder, RegistryLogin};
use trainyard_domain::Resources;
use trainyard_runpod::{CloudTier, RunPodConnector};
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Canned, Fault};
use trainyard_simulator::world::KeyState;

use crate::rig::{Rig, any, installation, new_order, with_agent};

trainyard_testkit::program_tests![
    offers_are_sound_and_cheapest_first,
    a_dearer_machine_is_given_back,
    a_smaller_machine_is_given_back,
    refusals_are_told_and_rent_nothing,
    keys_that_do_not_work_are_told,
    a_private_image_brings_its_login_and_takes_it_away,
    the_account_tells_its_limits,
    a_pod_that_was_renamed_is_still_ours,
    a_login_that_a_crash_left_is_told_and_removed,
];

async fn offers_are_sound_and_cheapest_first() {
    let both = |config: &mut trainyard_runpod::RunPodConfig| config.clouds.push(CloudTier::Community);
    let rig = Rig::start(with_agent(), both).await;
    let need = Resources { gpu: vec!["RTX4090".to_owned()], ..any() };
    let offers = rig.connector.offers(&need).await.unwrap();
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert_eq!(ids, ["COMMUNITY/*/NVIDIA GeForce RTX 4090", "SECURE/*/NVIDIA GeForce RTX 4090"]);
    assert!(offers.is_sorted_by_key(|offer| offer.price_per_hour), "{offers:?}");
    let europe = Resources { regions: vec!["EU-RO".to_owned()], ..any() };
    let offers = rig.connector.offers(&europe).await.unwrap();
    assert!(offers.len() > 3 && offers.iter().all(|offer| offer.region == "EU-RO-1"), "{offers:?}");
    let all = rig.connector.offers(&any()).await.unwrap();
    assert!(all.iter().all(|offer| !offer.id.contains("unknown") && !offer.id.contains("AMD")), "{all:?}");
    rig.world.set_stock(Vendor::Runpod, 0);
    assert!(rig.connector.offers(&any()).await.unwrap().is_empty());
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
    // One that could not be given back for certain says so, and is found by its name.
    let order = limited(&rig).await;
    rig.fault("create", Fault::PriceJump { factor: 2 });
    rig.fault(
        "terminate",
        Fault::StatusBefore(Canned { body: Some("{}".to_owned()), ..Canned::status(403) }),
    );
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PriceChanged, Effect::Unknown), "{error}");
    assert!(rig.phase(&order).await.is_some());
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

async fn refusals_are_told_and_rent_nothing() {
    let rig = Rig::usual().await;
    let own = |name: &str| Fault::Own { name: name.to_owned(), value: serde_json::Value::Null };
    for (fault, kind) in [
        (Fault::NoCapacity, ErrorKind::NoCapacity),
        (Fault::NoCredit, ErrorKind::NoCredit),
        (own("forbidden_pool"), ErrorKind::Unauthorized),
        (own("unknown_image"), ErrorKind::Invalid),
        (own("blocked"), ErrorKind::Unreachable),
    ] {
        let order = rig.order().await;
        rig.fault("create", fault.clone());
        let error = rig.provision(&order).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::None), "{fault:?}: {error}");
    }
    assert!(rig.alive().is_empty());
    rig.end().await;
}

async fn keys_that_do_not_work_are_told() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.world.set_key(Vendor::Runpod, "old-key-of-mine", KeyState::Revoked);
    for key in ["wrong-key-of-mine", "old-key-of-mine"] {
        let mut config = rig.config.clone();
        config.key = SecretString::from(key.to_owned());
        let other = RunPodConnector::new(config).unwrap();
        let kinds = [
            other.list_owned(&installation()).await.unwrap_err().kind,
            other.observe(&order.name, &placed.id).await.unwrap_err().kind,
            other.terminate(&order.name, &placed.id).await.unwrap_err().kind,
            other.account().await.unwrap_err().kind,
        ];
        assert_eq!(kinds, [ErrorKind::Unauthorized; 4], "{key}");
        let error =
            other.provision(&ProvisionOrder { name: new_order(), ..order.clone() }).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None), "{error}");
        assert!(!format!("{other:?}{error:?}{error}").contains("key-of-mine"));
    }
    assert_eq!(rig.alive().len(), 1);
    rig.end().await;
}

async fn a_private_image_brings_its_login_and_takes_it_away() {
    let rig = Rig::usual().await;
    let password = SecretString::from("hush-hush".to_owned());
    let login = RegistryLogin { username: "me".to_owned(), password };
    let order = ProvisionOrder {
        registry: Some(login),
        image: Some("ghcr.io/a/b:1".to_owned()),
        ..rig.order().await
    };
    let logins = || {
        rig.world
            .shelf(Vendor::Runpod, |shelf| shelf.keys().filter(|key| key.starts_with("registry/")).count())
    };
    // Refused: the login goes too.
    rig.fault("create", Fault::NoCapacity);
    let error = rig.provision(&order).await.unwrap_err();
    assert_eq!((error.kind, logins()), (ErrorKind::NoCapacity, 0));
    assert!(!format!("{error:?}{order:?}").contains("hush-hush"));
    let placed = rig.provision(&order).await.unwrap();
    assert_eq!(logins(), 1);
    let told = rig.world.tape();
    let create = told.iter().rev().find(|said| said.operation == "create").unwrap();
    assert!(!String::from_utf8_lossy(&create.body).contains("hush-hush"));
    // A server that was restarted meanwhile finds it by the order's name.
    rig.again().terminate(&order.name, &placed.id).await.unwrap();
    assert_eq!(logins(), 0);
    rig.end().await;
}

async fn the_account_tells_its_limits() {
    let rig = Rig::usual().await;
    let account = rig.connector.account().await.unwrap();
    assert_eq!(account.credit, None, "no call of version 2 tells it");
    assert!(
        account.limits.iter().any(|(name, value)| name == "ratelimit-policy" && value.contains("\"minute\""))
    );
    rig.end().await;
}

async fn a_pod_that_was_renamed_is_still_ours() {
    let rig = Rig::usual().await;
    let order = rig.order().await;
    let placed = rig.provision(&order).await.unwrap();
    rig.world
        .change(Vendor::Runpod, placed.id.as_str(), |name, _| *name = "my experiment".to_owned())
        .unwrap();
    let listed = rig.list().await;
    assert_eq!((listed.len(), &listed[0].order, &listed[0].id), (1, &order.name, &placed.id));
    rig.end().await;
}

async fn a_login_that_a_crash_left_is_told_and_removed() {
    let rig = Rig::usual().await;
    let mut order = rig.order().await;
    order.image = Some("example.org/private:1".to_owned());
    order.registry = Some(RegistryLogin {
        username: "me".to_owned(),
        password: SecretString::from("a-password".to_owned()),
    });
    rig.provision(&order).await.unwrap();
    let left = rig.connector.list_leftovers(&installation()).await.unwrap();
    assert_eq!((left.len(), left[0].order.as_ref()), (1, Some(&order.name)));
    assert!(rig.connector.list_leftovers(&"somebody".parse().unwrap()).await.unwrap().is_empty());
    for _ in 0..2 {
        rig.again().remove_leftover(&left[0]).await.unwrap();
    }
    assert!(rig.connector.list_leftovers(&installation()).await.unwrap().is_empty());
    rig.end().await;
}
