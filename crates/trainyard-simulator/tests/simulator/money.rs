//! Credit, quota, prices.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use trainyard_simulator::faults::Fault;
use trainyard_simulator::world::{Access, Account, AccountOrder, Cause, KeyState, OfferOrder};
use trainyard_simulator::{Options, Order, Phase, Refused, Vendor};

use super::rig::{create, options, order, place, remove, start, until};

fn with_credit(credit: &str) -> Options {
    let account = |vendor| Account { credit: credit.parse().ok(), ..Account::usual(vendor) };
    Options { accounts: Vendor::ALL.map(|vendor| (vendor, account(vendor))).into(), speed: 0.0, ..options() }
}

#[tokio::test]
async fn without_credit_nothing_is_placed() {
    let (simulator, world) = start(with_credit("0.5")).await;
    let refused = world.place(&create(Vendor::Runpod, &[]), order(Vendor::Runpod, "true"));
    assert_eq!(refused.unwrap_err(), Refused::NoCredit, "less than an hour of it");
    let machine = place(&world, Vendor::Vastai, "sleep 1020");
    remove(&world, &machine).await;
    let refused = world.place(&create(Vendor::Vastai, &[Fault::NoCredit]), order(Vendor::Vastai, "true"));
    assert_eq!(refused.unwrap_err(), Refused::NoCredit);
    simulator.stop().await;
}

#[tokio::test]
async fn where_the_credit_ends_pods_go_and_instances_stop() {
    let (simulator, world) = start(with_credit("10")).await;
    let (pod, instance) =
        (place(&world, Vendor::Runpod, "sleep 1021"), place(&world, Vendor::Vastai, "sleep 1022"));
    for machine in [&pod, &instance] {
        until(&world, machine, |it| it.phase == Phase::Running).await;
    }
    world.clock().step(Duration::from_secs(5 * 3600));
    assert_eq!(world.credit_left(Vendor::Runpod), Some(Decimal::new(495, 2)));
    world.clock().step(Duration::from_secs(6 * 3600));
    let gone = until(&world, &pod, |it| it.phase == Phase::Gone).await;
    let stopped = until(&world, &instance, |it| it.phase == Phase::Stopped).await;
    assert_eq!((gone.cause, stopped.cause), (Cause::NoCredit, Cause::NoCredit));
    assert!(world.credit_left(Vendor::Vastai).unwrap() < Decimal::ZERO);
    remove(&world, &instance).await;
    simulator.stop().await;
}

#[tokio::test]
async fn stock_quota_and_price_are_as_they_were_set() {
    let (simulator, world) = start(options()).await;
    world.set_account(Vendor::Lambda, AccountOrder { quota: Some(1), ..AccountOrder::default() });
    let first = place(&world, Vendor::Lambda, "sleep 1023");
    let refused = world.place(&create(Vendor::Lambda, &[]), order(Vendor::Lambda, ""));
    assert_eq!(refused.unwrap_err(), Refused::Quota);
    assert_eq!(world.offers(Vendor::Lambda)[0].left, 9);
    remove(&world, &first).await;
    assert_eq!(world.offers(Vendor::Lambda)[0].left, 10);

    let four = Order { units: 4, ..order(Vendor::Runpod, "sleep 1024") };
    let placed =
        world.place(&create(Vendor::Runpod, &[Fault::PriceJump { factor: 3 }]), four.clone()).unwrap();
    assert_eq!(placed.price_per_hour, "12".parse().unwrap(), "four cards, three times the price");
    let changed = OfferOrder { left: Some(3), price_per_hour: "9".parse().ok() };
    assert!(world.set_offer(Vendor::Runpod, "the-offer", changed));
    assert_eq!(world.place(&create(Vendor::Runpod, &[]), four).unwrap_err(), Refused::NoCapacity);
    let unknown = Order { offer: "no-such".to_owned(), ..order(Vendor::Runpod, "") };
    assert_eq!(world.place(&create(Vendor::Runpod, &[]), unknown).unwrap_err(), Refused::UnknownOffer);
    let frozen = world.machines_of(Vendor::Runpod).remove(0);
    assert_eq!(frozen.price_per_hour, placed.price_per_hour, "a price is frozen at the purchase");
    let other = Fault::OtherSize { gpus: Some(2), region: Some("elsewhere".to_owned()) };
    let altered =
        world.place(&create(Vendor::Runpod, &[other]), order(Vendor::Runpod, "sleep 1025")).unwrap();
    assert_eq!((altered.units, altered.offer.region.as_str()), (2, "elsewhere"));
    for machine in [&placed, &altered] {
        remove(&world, machine).await;
    }
    assert_eq!(world.offers(Vendor::Runpod)[0].left, 7, "three and four again");
    simulator.stop().await;
}

#[tokio::test]
async fn keys_open_what_they_open() {
    let (simulator, world) = start(options()).await;
    let key = Account::usual_key(Vendor::Runpod);
    let access = |key: Option<&str>| world.access(Vendor::Runpod, key);
    assert_eq!(access(Some(&key)), Access::Owner);
    assert_eq!(
        (access(None), access(Some("")), access(Some("x"))),
        (Access::Missing, Access::Missing, Access::Unknown)
    );
    assert_eq!(world.access(Vendor::Lambda, Some(&key)), Access::Unknown, "another vendor's");
    let machine = place(&world, Vendor::Runpod, "sleep 1026");
    assert_eq!(access(Some(&machine.key)), Access::Machine(machine.id.clone()));
    remove(&world, &machine).await;
    assert_eq!(access(Some(&machine.key)), Access::Unknown, "it went with its machine");
    world.set_key(Vendor::Runpod, &key, KeyState::Revoked);
    assert_eq!(access(Some(&key)), Access::Revoked);
    let keys = Some(BTreeMap::from([("reader".to_owned(), KeyState::ReadOnly)]));
    world.set_account(Vendor::Runpod, AccountOrder { keys, ..AccountOrder::default() });
    assert_eq!(access(Some("reader")), Access::Reader);
    simulator.stop().await;
}

#[tokio::test]
async fn limits_on_the_rate_hold_where_they_are_on() {
    let every = Duration::from_secs(12);
    let (simulator, world) = start(options()).await;
    assert_eq!(world.too_early(Vendor::Lambda, "launch", every), None);
    assert_eq!(world.too_early(Vendor::Lambda, "launch", every), None, "off");
    simulator.stop().await;
    let (simulator, world) = start(Options { rate_limits: true, speed: 0.0, ..options() }).await;
    assert_eq!(world.too_early(Vendor::Lambda, "launch", every), None);
    assert_eq!(world.too_early(Vendor::Lambda, "launch", every), Some(every));
    assert_eq!(world.too_early(Vendor::Lambda, "list", every), None, "another limit");
    world.clock().step(every);
    assert_eq!(world.too_early(Vendor::Lambda, "launch", every), None);
    simulator.stop().await;
}
