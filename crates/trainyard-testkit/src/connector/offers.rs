//! What there is to rent.

use trainyard_connector::{Effect, ErrorKind, OFFERS_MAX, Offer, gpu};

use super::make::*;
use super::trial::{Can, Trial, cannot};

fn has_offers(trial: &dyn Trial) -> Can<()> {
    if trial.connector().info().capabilities.offers {
        Ok(())
    } else {
        cannot("there are no offers to choose from")
    }
}

async fn read(trial: &dyn Trial) -> Vec<Offer> {
    trial.connector().offers(&trial.resources()).await.expect("offers")
}

pub(super) async fn meet_the_need(trial: &dyn Trial) -> Can<()> {
    has_offers(trial)?;
    let offers = read(trial).await;
    assert!((1..=OFFERS_MAX).contains(&offers.len()), "{} offers", offers.len());
    assert!(offers.iter().all(|offer| offer.id.len() <= 200 && !offer.id.is_empty()));
    let mut need = trial.resources();
    need.gpu = vec![offers[0].gpu.clone()];
    need.gpu_memory_gb = Some(offers[0].gpu_memory_gb);
    need.max_price_per_hour = Some(offers[0].price_per_hour);
    let fitting = trial.connector().offers(&need).await.expect("offers");
    assert!(!fitting.is_empty(), "at least the one that the need was made of");
    let stranger = offers.iter().find(|offer| !gpu::meets(&trial.resources(), offer));
    assert_eq!(stranger, None, "it does not meet the need");
    let stranger = fitting.iter().find(|offer| !gpu::meets(&need, offer));
    assert_eq!(stranger, None, "it does not meet {need:?}");
    let prices: Vec<_> = offers.iter().map(|offer| offer.price_per_hour).collect();
    assert!(prices.is_sorted(), "{prices:?}");
    Ok(())
}

pub(super) async fn stable_ids(trial: &dyn Trial) -> Can<()> {
    has_offers(trial)?;
    let ids = |offers: Vec<Offer>| {
        let mut ids: Vec<_> = offers.into_iter().map(|offer| offer.id).collect();
        ids.sort();
        ids
    };
    let (first, second) = (ids(read(trial).await), ids(read(trial).await));
    assert_eq!(first, second);
    let mut once = first.clone();
    once.dedup();
    assert_eq!(first, once, "an id names one offer");
    Ok(())
}

pub(super) async fn nothing_fits(trial: &dyn Trial) -> Can<()> {
    has_offers(trial)?;
    let mut need = trial.resources();
    need.gpu = vec!["Quantum9000".to_owned()];
    match trial.connector().offers(&need).await {
        Ok(offers) => assert_eq!(offers, []),
        Err(error) => {
            assert_eq!((error.kind, error.effect), (ErrorKind::NoCapacity, Effect::None), "{error}")
        }
    }
    let mut order = new_order(trial).await;
    order.resources.max_price_per_hour = Some("0.0001".parse().expect("an amount"));
    let error = trial.connector().provision(&order).await.expect_err("it is dearer than that");
    assert_eq!(error.effect, Effect::None, "{error:?}");
    assert!(matches!(error.kind, ErrorKind::PriceChanged | ErrorKind::NoCapacity), "{error:?}");
    assert_eq!(listed(trial, &order.name).await, []);
    Ok(())
}
