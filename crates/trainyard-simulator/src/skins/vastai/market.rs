//! The search for offers: filters at the body's top level, or in `q`.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value, json};

use super::answer::refused;
use super::filter::{passes, sorting};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Offer, World};

/// Rows of an answer, whatever limit was asked.
const ROWS_MAX: usize = 64;
/// The disk that prices are shown with where none is asked for, in GB.
const DISK_GB: f64 = 8.0;
/// Hours of a month, by which disk is billed.
const HOURS_A_MONTH: f64 = 730.0;
/// How long a machine can still be rented.
const DURATION_S: f64 = 40.0 * 86_400.0;
/// What is no filter.
const NO_FILTERS: [&str; 8] =
    ["order", "type", "limit", "allocated_storage", "select_cols", "q", "disable_bundling", "sort_option"];

/// Searches.
pub(super) fn search(request: &Request, world: &World) -> Response {
    match rows(request, world) {
        Ok(rows) => Response::json(200, &json!({"offers": rows})),
        Err(response) => response,
    }
}

/// The names of all cards.
pub(super) fn names(world: &World) -> Response {
    let offers = world.offers(Vendor::Vastai);
    let names: BTreeSet<String> = offers.into_iter().map(|offer| offer.gpu).collect();
    Response::json(200, &json!({"gpu_names": names}))
}

fn rows(request: &Request, world: &World) -> Result<Vec<Value>, Response> {
    let query = query_of(request).ok_or_else(|| {
        Response::json(400, &json!({"error": "invalid_request", "msg": "Invalid json body"}))
    })?;
    let bad = |text: String| refused(400, "bad_request", &text);
    let kind = query.get("type").and_then(Value::as_str).unwrap_or("on-demand");
    if !["on-demand", "ondemand", "bid", "reserved"].contains(&kind) {
        return Err(bad(format!("q.type: Input should be 'ondemand', 'bid' or 'reserved'; got {kind}")));
    }
    let disk = query.get("allocated_storage").and_then(Value::as_f64).unwrap_or(DISK_GB);
    let loose = request.call.drawn.own("unfiltered").is_some();
    // Another part of the market is missing each time.
    let turn = world.count(Vendor::Vastai, "offers").asked as usize;
    let mut found = Vec::new();
    for (nth, offer) in world.offers(Vendor::Vastai).iter().enumerate() {
        if request.call.drawn.own("sampled").is_some() && (nth + turn).is_multiple_of(4) {
            continue;
        }
        let row = row(offer, kind == "bid", disk, world);
        let mut passed = true;
        for (field, conditions) in query.iter().filter(|(field, _)| !NO_FILTERS.contains(&field.as_str())) {
            let there = field_of(&row, field)
                .ok_or_else(|| bad(format!("q.{field}: Extra inputs are not permitted")))?;
            let holds = passes(field, &there, conditions).map_err(bad)?;
            passed &= holds || (loose && ["dph_total", "verified"].contains(&field.as_str()));
        }
        if passed {
            found.push(row);
        }
    }
    sort(&mut found, query.get("order"));
    let limit = query.get("limit").and_then(Value::as_u64).map_or(ROWS_MAX, |limit| limit as usize);
    found.truncate(limit.min(ROWS_MAX));
    Ok(found)
}

fn query_of(request: &Request) -> Option<Map<String, Value>> {
    let from_query = || serde_json::from_str(&request.parameter("q")?).ok();
    let value: Value =
        if request.body.is_empty() { from_query().unwrap_or_else(|| json!({})) } else { request.json()? };
    let object = value.as_object()?.clone();
    // `PUT /search/asks/` has them one level down.
    match object.get("q") {
        Some(Value::Object(inner)) => Some(inner.clone()),
        _ => Some(object),
    }
}

/// A field as filters see it: some have other names than in the answer.
fn field_of(row: &Value, field: &str) -> Option<Value> {
    let at = |name: &str| row.get(name).cloned();
    match field {
        // It never finds anything.
        "id" => Some(Value::Null),
        "reliability" => at("reliability2"),
        "verified" => Some(json!(row.get("verification") == Some(&json!("verified")))),
        "datacenter" => Some(json!(row.get("hosting_type") == Some(&json!(1)))),
        "ubuntu_version" => at("os_version"),
        "geolocation" => {
            let text = row.get("geolocation").and_then(Value::as_str).unwrap_or_default();
            Some(json!(text.rsplit(',').next().unwrap_or_default().trim()))
        }
        other => at(other),
    }
}

fn sort(rows: &mut [Value], order: Option<&Value>) {
    let fields: Vec<(String, bool)> = order
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()? == "desc")))
        .collect();
    let fields = if fields.is_empty() { vec![("score".to_owned(), true)] } else { fields };
    rows.sort_by(|one, other| {
        let by = fields.iter().map(|(field, falling)| {
            let order = sorting(&one[field], &other[field]);
            if *falling { order.reverse() } else { order }
        });
        by.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
}

/// The lowest bid that gets a machine: half its price.
pub(super) fn min_bid(offer: &Offer) -> Decimal {
    (offer.price_per_hour.decimal() / Decimal::TWO).round_dp(4)
}

/// What a disk costs per hour.
fn disk_per_hour(offer: &Offer, disk_gb: f64) -> f64 {
    float(offer.disk_per_gb_month.decimal()) * disk_gb / HOURS_A_MONTH
}

pub(super) fn float(decimal: Decimal) -> f64 {
    decimal.to_f64().unwrap_or_default()
}

/// An offer as the market shows it.
fn row(offer: &Offer, bid: bool, disk_gb: f64, world: &World) -> Value {
    let mut row = prices(offer, bid, disk_gb);
    if let Some(row) = row.as_object_mut() {
        let parts = [machine(offer, world), offer.details.clone()];
        row.extend(parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten());
        if let Some(reliability) = row.get("reliability2").cloned() {
            row.insert("reliability".to_owned(), reliability);
        }
    }
    row
}

fn prices(offer: &Offer, bid: bool, disk_gb: f64) -> Value {
    let (price, lowest) = (float(offer.price_per_hour.decimal()), float(min_bid(offer)));
    let (disk, traffic) = (disk_per_hour(offer, disk_gb), float(offer.traffic_per_gb.decimal()));
    let total = price + disk;
    let id: u64 = offer.id.parse().unwrap_or_default();
    json!({
        "id": id, "ask_contract_id": id, "bundle_id": id + 1_000_000, "is_bid": bid,
        "dph_total": total, "dph_base": if bid { lowest } else { price }, "min_bid": lowest,
        "storage_cost": float(offer.disk_per_gb_month.decimal()), "storage_total_cost": disk,
        "inet_up_cost": traffic, "inet_down_cost": traffic,
        "rentable": offer.left > 0, "rented": offer.left == 0, "external": false,
        "dlperf": 80.0, "dlperf_per_dphtotal": 80.0 / total, "total_flops": 82.6,
        "flops_per_dphtotal": 82.6 / total, "score": 300.0 / total,
        "search": {"gpuCostPerHour": price, "diskHour": disk, "totalHour": total,
                   "discountTotalHour": 0, "discountedTotalPerHour": total},
    })
}

fn machine(offer: &Offer, world: &World) -> Value {
    let now = world.now().timestamp_millis() as f64 / 1000.0;
    let ram = u64::from(offer.gpu_memory_mb);
    json!({
        "gpu_name": offer.gpu, "num_gpus": offer.gpus, "gpu_frac": 1.0, "gpu_arch": "nvidia",
        "gpu_ram": ram, "gpu_total_ram": ram * u64::from(offer.gpus), "cpu_arch": "amd64",
        "cpu_ram": 128_000, "cpu_cores": null, "cpu_cores_effective": 16.0, "cpu_name": "AMD EPYC 7543",
        "cpu_ghz": 2.8, "has_avx": 1, "disk_space": offer.disk_gb_max, "disk_bw": 2400.0, "disk_name": "NVMe",
        "inet_up": f64::from(offer.megabits) / 2.0, "inet_down": f64::from(offer.megabits),
        "static_ip": true, "vms_enabled": false, "driver_version": "570.86.10", "driver_vers": 570_086_010,
        "duration": DURATION_S, "start_date": now - 1e6, "end_date": now + DURATION_S,
        "geolocation": offer.region, "geolocode": 1, "public_ipaddr": "127.0.0.1 \n",
        "pcie_bw": 24.0, "gpu_mem_bw": 900.0, "pci_gen": 4.0, "bw_nvlink": 0.0, "gpu_lanes": 16,
        "hosting_type": 0, "os_version": "22.04", "mobo_name": "H12SSL-i",
        "gpu_display_active": false, "gpu_max_power": 450.0, "gpu_max_temp": 60.0,
    })
}
