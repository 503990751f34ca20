//! What there is for rent, side by side.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::yard::{Yard, list};

#[test]
fn offers_of_all_clouds_stand_side_by_side() {
    let yard = Yard::new();
    let asked = |query: &str| -> Vec<Value> {
        let answer = yard.http.get(&format!("/api/training/offers{query}")).ok(200);
        let failed: Vec<&Value> =
            list(&answer["providers"]).iter().filter(|one| !one["error"].is_null()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        list(&answer["offers"]).clone()
    };
    let providers = |offers: &[Value]| -> BTreeSet<String> {
        offers.iter().map(|offer| offer["provider"].as_str().expect("a name").to_owned()).collect()
    };
    let (all, clouds) = (asked(""), ["lambda", "runpod", "vastai"].map(str::to_owned));
    assert_eq!(providers(&all), clouds.into());
    let prices: Vec<f64> =
        all.iter().filter_map(|offer| offer["price_per_hour"].as_str()?.parse().ok()).collect();
    assert_eq!(prices.len(), all.len());
    assert!(prices.is_sorted(), "{prices:?}");
    let kinds: BTreeSet<bool> = all.iter().filter_map(|offer| offer["spot"].as_bool()).collect();
    assert_eq!(kinds, [false, true].into(), "on demand and spot");
    let spot = asked("?spot=true");
    assert!(spot.iter().all(|offer| offer["spot"] == true));
    assert_eq!(providers(&spot), ["vastai".to_owned()].into(), "the one vendor here that has some");
    let on_demand = asked("?spot=false&gpu=H100");
    assert!(
        !on_demand.is_empty()
            && on_demand.iter().all(|offer| offer["gpu"] == "H100" && offer["spot"] == false)
    );
    assert!(providers(&on_demand).contains("runpod"));
}
