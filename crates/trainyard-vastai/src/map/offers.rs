//! Offers: what is asked of Vast's market, and which of its rows are offers for us.
//!
//! The search is filtered by Vast and looked through here once more: the market answers with a sample, rows above an
//! asked ceiling occur, and a host may publish an address that nobody reaches.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde_json::{Map, Value, json};
use trainyard_connector::{Arch, OFFERS_MAX, Offer, Stock, gpu};
use trainyard_domain::{Money, Resources};

use super::order::{Ask, DISK_GB_MIN};
use super::{DECIMALS, money};
use crate::config::{MarketRules, is_reachable};
use crate::wire::{AskRow, Num};

/// Hours of the month by which disk prices are turned into prices per hour: the shortest reading, so never too cheap.
const HOURS_PER_MONTH: u32 = 720;
/// How much more than the lowest accepted bid is bid, so that the next bidder does not take the machine at once.
const BID_MARGIN: Decimal = Decimal::from_parts(110, 0, 0, false, 2);
/// A card shows less memory than its name says (24564 MB, 46068 MB of 48 GB): up to this share is missing.
const MEMORY_SLACK: f64 = 0.07;
/// Sizes that cards are sold with, in GB.
const CARD_SIZES: [u32; 22] =
    [4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 192, 256, 288];
const MB_PER_GB: f64 = 1024.0;

/// The body of `POST /api/v0/bundles/`: filters at its top level. `names` are Vast's names of the cards asked for; empty
/// is any.
pub(crate) fn search_body(need: &Resources, names: &[String], rules: &MarketRules) -> Value {
    let disk = need.disk_gb.max(DISK_GB_MIN);
    let mut body = json!({
        "rentable": {"eq": true},
        "rented": {"eq": false},
        "external": {"eq": false},
        "gpu_arch": {"eq": "nvidia"},
        "num_gpus": if need.gpu_count == 0 { json!({"gte": 1}) } else { json!({"eq": need.gpu_count}) },
        "disk_space": {"gte": disk},
        "direct_port_count": {"gte": 1},
        "reliability": {"gte": rules.reliability_min},
        "inet_down": {"gte": rules.inet_down_mbps_min},
        "cuda_max_good": {"gte": rules.cuda_min},
        "compute_cap": {"gte": rules.compute_cap_min},
        "duration": {"gte": rules.rentable_for.as_secs()},
        "allocated_storage": disk,
        "limit": OFFERS_MAX,
        "type": if need.spot { "bid" } else { "on-demand" },
        "order": [[if need.spot { "min_bid" } else { "dph_total" }, "asc"]],
    });
    let mut more = Map::new();
    if !rules.unverified {
        more.insert("verified".to_owned(), json!({"eq": true}));
    }
    if !rules.arm {
        more.insert("cpu_arch".to_owned(), json!({"eq": "amd64"}));
    }
    if let Some(gb) = need.gpu_memory_gb {
        let mb = (f64::from(gb) * MB_PER_GB * (1.0 - MEMORY_SLACK)).floor();
        more.insert("gpu_ram".to_owned(), json!({"gte": mb}));
    }
    if !names.is_empty() {
        more.insert("gpu_name".to_owned(), json!({"in": names}));
    }
    // The ceiling of a spot offer is compared here: Vast would compare the price on demand.
    if let Some(max) = need.max_price_per_hour.filter(|_| !need.spot) {
        let max: Option<Value> = serde_json::from_str(&max.to_string()).ok();
        more.extend(max.map(|max| ("dph_total".to_owned(), json!({"lte": max}))));
    }
    if !need.regions.is_empty() && need.regions.iter().all(|region| is_country(region)) {
        let countries: Vec<String> = need.regions.iter().map(|region| region.to_ascii_uppercase()).collect();
        more.insert("geolocation".to_owned(), json!({"in": countries}));
    }
    if let Some(body) = body.as_object_mut() {
        body.append(&mut more);
    }
    body
}

fn is_country(region: &str) -> bool {
    region.len() == 2 && region.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Vast's names of the cards that are asked for; empty where no card is asked for or one of them has no name there, so
/// that the search is not narrowed wrongly. Too many names are harmless: rows are compared with the need once more.
pub(crate) fn names_like(asked: &[String], names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for word in asked {
        let model = plain(model_of(word));
        let before = found.len();
        let is = |name: &&String| {
            let word = gpu::canonical(name, 0);
            plain(name).contains(&model) || plain(model_of(&word)) == model
        };
        found.extend(names.iter().filter(is).cloned());
        if found.len() == before {
            return Vec::new();
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A word without the memory that it may name.
fn model_of(word: &str) -> &str {
    word.split_once('-').map_or(word, |(model, _)| model)
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// The rows that are offers for that need, cheapest first.
pub(crate) fn offers_of(rows: &[Value], need: &Resources, rules: &MarketRules) -> Vec<Offer> {
    let rows = rows.iter().filter_map(|row| serde_json::from_value::<AskRow>(row.clone()).ok());
    let offers = rows.filter(|row| is_sound(row, rules)).filter_map(|row| offer_of(&row, need));
    let mut offers: Vec<Offer> = offers.filter(|offer| gpu::meets(need, offer)).collect();
    offers.sort_by(|a, b| a.price_per_hour.cmp(&b.price_per_hour).then_with(|| a.id.cmp(&b.id)));
    offers.dedup_by(|a, b| a.id == b.id);
    offers.truncate(OFFERS_MAX);
    offers
}

/// What a row must not lack, looked at here because the market does not keep to its filters.
fn is_sound(row: &AskRow, rules: &MarketRules) -> bool {
    let at_least = |number: Option<Num>, least: f64| number.is_none_or(|number| number.0 >= least);
    let verified = rules.unverified || row.verification.as_deref().is_none_or(|word| word == "verified");
    let x86 = rules.arm || arch(row.cpu_arch.as_deref()) == Some(Arch::X86_64);
    let reachable = row.public_ipaddr.as_deref().is_none_or(|text| {
        text.trim().parse().is_ok_and(|address| is_reachable(address, rules.private_addresses))
    });
    row.rentable != Some(false)
        && verified
        && x86
        && reachable
        && at_least(row.direct_port_count, 1.0)
        && at_least(row.reliability2, rules.reliability_min)
        && at_least(row.cuda_max_good, rules.cuda_min)
        && at_least(row.duration, rules.rentable_for.as_secs() as f64)
}

fn offer_of(row: &AskRow, need: &Resources) -> Option<Offer> {
    let storage_cost = decimal(row.storage_cost.unwrap_or(Num(0.0)))?;
    let memory = memory_gb(row.gpu_ram);
    let ask = Ask { machine: row.machine_id.whole()?, ask: row.id.whole()?, storage_cost };
    let dearer = [row.inet_up_cost, row.inet_down_cost].into_iter().flatten().filter_map(money).max();
    Some(Offer {
        id: ask.id(),
        gpu: gpu::canonical(&row.gpu_name, memory),
        gpu_memory_gb: memory,
        gpu_count: u32::try_from(row.num_gpus.whole()?).ok()?,
        price_per_hour: if need.spot { spot_price(row, storage_cost, need)? } else { money(row.dph_total)? },
        traffic_per_gb: dearer.unwrap_or(Money::ZERO),
        region: region_of(row.geolocation.as_deref().unwrap_or_default()),
        spot: need.spot,
        // Each row is one machine.
        stock: Stock::Low,
        arch: arch(row.cpu_arch.as_deref())?,
        disk_gb_max: row.disk_space.map(|gb| gb.0.clamp(0.0, f64::from(u32::MAX)) as u32),
    })
}

/// A bid with its margin, and the disk that is charged beside it. Never above the price on demand, at which a bid has no
/// sense.
fn spot_price(row: &AskRow, storage_cost: Decimal, need: &Resources) -> Option<Money> {
    let lowest = decimal(row.min_bid?)?;
    let disk = disk_per_hour(storage_cost, need.disk_gb.max(DISK_GB_MIN));
    let with_margin = (lowest * BID_MARGIN + disk).round_dp(DECIMALS);
    let on_demand = decimal(row.dph_total)?;
    with_margin.min(on_demand.max(lowest + disk)).normalize().to_string().parse().ok()
}

/// What a disk costs per hour.
pub(super) fn disk_per_hour(storage_cost: Decimal, disk_gb: u32) -> Decimal {
    storage_cost * Decimal::from(disk_gb) / Decimal::from(HOURS_PER_MONTH)
}

fn decimal(number: Num) -> Option<Decimal> {
    Decimal::from_f64(number.0).map(|decimal| decimal.round_dp(DECIMALS).normalize())
}

/// A card's memory in GB as it is sold.
fn memory_gb(mb: Num) -> u32 {
    let gb = mb.0 / MB_PER_GB;
    let sold = CARD_SIZES.into_iter().find(|size| f64::from(*size) >= gb - 0.5);
    match sold.filter(|size| gb >= f64::from(*size) * (1.0 - MEMORY_SLACK)) {
        Some(size) => size,
        None => gb.round().clamp(0.0, f64::from(u32::MAX)) as u32,
    }
}

fn arch(word: Option<&str>) -> Option<Arch> {
    word.map_or(Some(Arch::X86_64), Arch::parse)
}

/// `Texas, US` as it is; `, US`, where the city is not told, without its comma.
fn region_of(geolocation: &str) -> String {
    geolocation.trim_matches([',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trainyard_domain::Resources;

    use super::{memory_gb, names_like, offers_of, region_of, search_body};
    use crate::config::MarketRules;
    use crate::wire::Num;

    fn row(more: &Value) -> Value {
        let mut row = json!({
            "id": 4242, "ask_contract_id": 4242, "machine_id": 178, "host_id": 2, "gpu_name": "RTX 4090",
            "num_gpus": 1, "gpu_ram": 24564, "dph_total": 0.4021, "dph_base": 0.38, "min_bid": 0.2,
            "storage_cost": 0.15, "inet_up_cost": 0.01, "inet_down_cost": 0.005, "verification": "verified",
            "rentable": true, "direct_port_count": 12, "geolocation": "Texas, US",
            "public_ipaddr": "63.135.50.11 \n", "disk_space": 500.7, "reliability2": 0.99,
            "cuda_max_good": 12.8, "duration": 864_000.0, "cpu_cores": null,
        });
        for (key, value) in more.as_object().expect("an object") {
            row[key] = value.clone();
        }
        row
    }

    fn need() -> Resources {
        Resources { gpu: vec!["RTX4090".to_owned()], disk_gb: 20, ..Resources::default() }
    }

    #[test]
    fn a_row_becomes_an_offer() {
        let offers = offers_of(&[row(&json!({}))], &need(), &MarketRules::default());
        let [offer] = offers.as_slice() else { panic!("{offers:?}") };
        assert_eq!(offer.id, "machine:178/ask:4242/disk:0.15");
        assert_eq!((offer.gpu.as_str(), offer.gpu_memory_gb, offer.gpu_count), ("RTX4090", 24, 1));
        assert_eq!(offer.price_per_hour.to_string(), "0.4021");
        assert_eq!(offer.traffic_per_gb.to_string(), "0.01");
        assert_eq!((offer.region.as_str(), offer.disk_gb_max, offer.spot), ("Texas, US", Some(500), false));
    }

    #[test]
    fn a_spot_offer_costs_the_lowest_bid_and_a_tenth_and_the_disk() {
        let spot = Resources { spot: true, ..need() };
        let price = |more| {
            let offers = offers_of(&[row(&more)], &spot, &MarketRules::default());
            offers.first().map(|offer| offer.price_per_hour.to_string())
        };
        // 0.2 × 1.1 and 20 GB × 0.15 / 720.
        assert_eq!(price(json!({})).as_deref(), Some("0.224167"));
        // Never more than on demand, where that is enough.
        assert_eq!(price(json!({"min_bid": 0.38})).as_deref(), Some("0.4021"));
        assert_eq!(price(json!({"min_bid": null})), None);
    }

    #[test]
    fn rows_that_do_not_hold_what_was_asked_are_left_out() {
        let rules = MarketRules::default();
        let dear = Resources { max_price_per_hour: Some("0.40".parse().expect("money")), ..need() };
        assert!(offers_of(&[row(&json!({}))], &dear, &rules).is_empty(), "above the ceiling");
        for more in [
            json!({"rentable": false}),
            json!({"verification": "unverified"}),
            json!({"verification": "deverified"}),
            json!({"direct_port_count": 0}),
            json!({"public_ipaddr": "192.168.1.7"}),
            json!({"public_ipaddr": "nowhere"}),
            json!({"gpu_name": "RTX 3090"}),
            json!({"num_gpus": 2}),
            json!({"disk_space": 10}),
            json!({"reliability2": 0.5}),
            json!({"cuda_max_good": 12.2}),
            json!({"duration": 600}),
            json!({"cpu_arch": "arm64"}),
            json!({"id": null}),
            json!({"dph_total": -1}),
            json!({"gpu_ram": {}}),
        ] {
            let offers = offers_of(&[row(&more)], &need(), &rules);
            assert!(offers.is_empty(), "{more}: {offers:?}");
        }
    }

    #[test]
    fn numbers_may_be_strings_and_the_cheapest_comes_first() {
        let rows = [
            row(&json!({"id": "9", "machine_id": "3", "dph_total": "0.50", "num_gpus": "1"})),
            json!("not a row"),
            row(&json!({"id": 8, "machine_id": 4, "dph_total": 0.3})),
            row(&json!({"id": 8, "machine_id": 4, "dph_total": 0.3})),
        ];
        let offers = offers_of(&rows, &need(), &MarketRules::default());
        let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
        assert_eq!(ids, ["machine:4/ask:8/disk:0.15", "machine:3/ask:9/disk:0.15"]);
    }

    #[test]
    fn the_search_says_what_is_needed() {
        let need = Resources {
            gpu_memory_gb: Some(24),
            regions: vec!["us".to_owned(), "CA".to_owned()],
            max_price_per_hour: Some("0.5".parse().expect("money")),
            ..need()
        };
        let body = search_body(&need, &["RTX 4090".to_owned()], &MarketRules::default());
        for (key, want) in [
            ("gpu_name", json!({"in": ["RTX 4090"]})),
            ("gpu_ram", json!({"gte": 22_855.0})),
            ("geolocation", json!({"in": ["US", "CA"]})),
            ("dph_total", json!({"lte": 0.5})),
            ("allocated_storage", json!(20)),
            ("num_gpus", json!({"eq": 1})),
            ("type", json!("on-demand")),
            ("verified", json!({"eq": true})),
            ("cpu_arch", json!({"eq": "amd64"})),
        ] {
            assert_eq!(body[key], want, "{key}");
        }
        let spot = Resources { spot: true, regions: vec!["Texas".to_owned()], ..need };
        let body = search_body(&spot, &[], &MarketRules::default());
        assert_eq!((body["type"].as_str(), body["order"][0][0].as_str()), (Some("bid"), Some("min_bid")));
        assert!(["dph_total", "geolocation", "gpu_name"].iter().all(|key| body.get(key).is_none()), "{body}");
    }

    #[test]
    fn cards_are_found_under_the_names_of_vast() {
        let names =
            ["RTX 4090", "RTX 4090D", "A100 SXM4", "A100 PCIE", "H100 SXM", "Tesla V100", "RTX 4080S"]
                .map(str::to_owned);
        let like = |asked: &[&str]| {
            names_like(&asked.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), &names)
        };
        assert_eq!(like(&["rtx4090"]), ["RTX 4090", "RTX 4090D"]);
        assert_eq!(like(&["A100-80GB", "h100"]), ["A100 PCIE", "A100 SXM4", "H100 SXM"]);
        assert_eq!(like(&["RTX4080SUPER"]), ["RTX 4080S"]);
        assert!(like(&["V100", "B300"]).is_empty(), "a card without a name there: no narrowing");
        assert!(like(&[]).is_empty());
    }

    #[test]
    fn memory_is_told_as_cards_are_sold() {
        for (mb, gb) in [
            (24_564.0, 24),
            (24_576.0, 24),
            (46_068.0, 48),
            (81_559.0, 80),
            (95_830.0, 94),
            (97_887.0, 96),
            (143_771.0, 141),
            (183_359.0, 180),
            (22_528.0, 22),
            (15_360.0, 16),
            (11_264.0, 11),
            (12_288.0, 12),
            (0.0, 0),
        ] {
            assert_eq!(memory_gb(Num(mb)), gb, "{mb}");
        }
    }

    #[test]
    fn a_region_is_the_vendors_word() {
        for (told, region) in [("Texas, US", "Texas, US"), (", US", "US"), ("", ""), ("Sweden", "Sweden")] {
            assert_eq!(region_of(told), region);
        }
    }
}
