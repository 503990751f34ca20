//! `GET /v2/catalog/…`: what could be rented, with stock only where it is asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer;
use super::check::version;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Offer, World};

/// What a query asks for.
struct Asked {
    stock: bool,
    count: u32,
    tier: String,
    countries: Vec<String>,
    exact: Vec<(u32, u32)>,
    least: Option<(u32, u32)>,
}

/// Every type of GPU, and one that RunPod itself does not know.
pub(super) fn gpus(request: &Request, world: &World) -> Response {
    let asked = match Asked::read(request) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let mut all: Vec<Value> = types(world).iter().map(|(id, offers)| shown(id, offers, &asked)).collect();
    all.push(
        json!({"id": "unknown", "name": "unknown", "pool": null, "manufacturer": "UNKNOWN", "memory": 0,
        "secure": false, "community": false, "price": {"secure": 0, "community": 0},
        "maxCount": {"secure": 0, "community": 0}}),
    );
    Response::json(200, &json!({ "gpus": all }))
}

/// One type.
pub(super) fn gpu(request: &Request, id: &str, world: &World) -> Response {
    let asked = match Asked::read(request) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    match types(world).get(id) {
        Some(offers) => Response::json(200, &shown(id, offers, &asked)),
        None => answer::not_found(),
    }
}

/// Every data centre.
pub(super) fn data_centers(world: &World) -> Response {
    let offers = world.offers(Vendor::Runpod);
    let regions: BTreeMap<&str, ()> = offers.iter().map(|offer| (offer.region.as_str(), ())).collect();
    let region = |id: &str| match id.get(..2) {
        Some("US" | "CA") => "NORTH_AMERICA",
        Some("EU") => "EUROPE",
        _ => "UNKNOWN",
    };
    let all: Vec<Value> = regions
        .into_keys()
        .map(|id| {
            json!({"id": id, "name": id, "region": region(id), "globalNetwork": false,
                "networkVolumeTypes": ["STANDARD"], "compliance": []})
        })
        .collect();
    Response::json(200, &json!({ "dataCenters": all }))
}

fn types(world: &World) -> BTreeMap<String, Vec<Offer>> {
    let mut types: BTreeMap<String, Vec<Offer>> = BTreeMap::new();
    for offer in world.offers(Vendor::Runpod) {
        types.entry(offer.gpu.clone()).or_default().push(offer);
    }
    types
}

impl Asked {
    fn read(request: &Request) -> Result<Asked, Box<Response>> {
        let list = |name: &str| -> Vec<String> {
            let text = request.parameter(name).unwrap_or_default();
            text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()
        };
        let (include, product) = (request.parameter("include"), request.parameter("product"));
        if include.is_some() != product.is_some() {
            return Err(answer::bad_request("include=AVAILABILITY and product require each other").into());
        }
        let wrong =
            |name: &str| Box::new(answer::unprocessable(&[format!("query.{name}: value is malformed")]));
        if include.as_deref().is_some_and(|word| word != "AVAILABILITY") {
            return Err(wrong("include"));
        }
        if list("product").iter().any(|word| !["POD", "CLUSTER", "SERVERLESS"].contains(&word.as_str())) {
            return Err(wrong("product"));
        }
        let count = request.parameter("count").unwrap_or_else(|| "1".to_owned());
        let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(|| wrong("count"))?;
        let tier = request.parameter("cloud").unwrap_or_else(|| "SECURE".to_owned());
        if !["SECURE", "COMMUNITY"].contains(&tier.as_str()) {
            return Err(wrong("cloud"));
        }
        let countries = list("countryCodes");
        if countries.iter().any(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            return Err(wrong("countryCodes"));
        }
        let exact: Option<Vec<_>> = list("cudaVersions").iter().map(|text| version(text)).collect();
        let exact = exact.ok_or_else(|| wrong("cudaVersions"))?;
        let least = request.parameter("minCudaVersion");
        // Here, and only here, a major version alone is fine.
        let parsed = least.as_deref().map(|text| version(text).or_else(|| Some((text.parse().ok()?, 0))));
        let least = match parsed {
            Some(None) => return Err(wrong("minCudaVersion")),
            Some(some) => some,
            None => None,
        };
        if !exact.is_empty() && least.is_some() {
            return Err(answer::bad_request("cudaVersions and minCudaVersion exclude each other").into());
        }
        Ok(Asked { stock: include.is_some(), count, tier, countries, exact, least })
    }

    fn fits(&self, offer: &Offer) -> bool {
        let cuda = offer.details["cuda"].as_str().and_then(version);
        offer.tier == self.tier
            && (self.countries.is_empty() || self.countries.iter().any(|code| offer.region.starts_with(code)))
            && (self.exact.is_empty() || cuda.is_some_and(|cuda| self.exact.contains(&cuda)))
            && self.least.is_none_or(|least| cuda.is_some_and(|cuda| cuda >= least))
    }
}

fn shown(id: &str, offers: &[Offer], asked: &Asked) -> Value {
    let first = offers.first().map(|offer| offer.details.clone()).unwrap_or_default();
    let of = |tier: &'static str| offers.iter().filter(move |offer| offer.tier == tier);
    let price = |tier| {
        of(tier).map(|offer| super::pod::number(offer.price_per_hour)).next().unwrap_or_else(|| json!(0))
    };
    let most = |tier| of(tier).filter_map(|offer| offer.details["max"].as_u64()).max().unwrap_or(0);
    let memory = offers.first().map_or(0, |offer| offer.gpu_memory_mb / 1000);
    let mut shown = json!({"id": id, "name": first["name"], "pool": first["pool"],
        "manufacturer": first["manufacturer"], "memory": memory,
        "secure": of("SECURE").next().is_some(), "community": of("COMMUNITY").next().is_some(),
        "price": {"secure": price("SECURE"), "community": price("COMMUNITY")},
        "maxCount": {"secure": most("SECURE"), "community": most("COMMUNITY")}});
    if let (true, Some(fields)) = (asked.stock, shown.as_object_mut()) {
        stock(fields, offers, asked);
    }
    shown
}

fn stock(fields: &mut Map<String, Value>, offers: &[Offer], asked: &Asked) {
    let fitting: Vec<&Offer> = offers.iter().filter(|offer| asked.fits(offer)).collect();
    let best = fitting.iter().map(|offer| offer.left).max().unwrap_or(0);
    fields.insert("availability".to_owned(), json!(level(best, asked.count)));
    let there = fitting.iter().filter(|offer| offer.left >= asked.count);
    let centers: Vec<Value> = there
        .clone()
        .map(|offer| json!({"id": offer.region, "name": offer.region, "availability": level(offer.left, asked.count)}))
        .collect();
    if !centers.is_empty() {
        fields.insert("dataCenters".to_owned(), json!(centers));
    }
    let versions: BTreeMap<&str, bool> = fitting
        .iter()
        .filter_map(|offer| Some((offer.details["cuda"].as_str()?, offer.left >= asked.count)))
        .filter(|(version, _)| !version.is_empty())
        .collect();
    if !versions.is_empty() {
        let all: Vec<Value> =
            versions.iter().map(|(version, there)| json!({"version": version, "available": there})).collect();
        fields.insert("cudaVersions".to_owned(), json!(all));
    }
}

/// A hint, as RunPod's is.
fn level(left: u32, count: u32) -> &'static str {
    match left / count.max(1) {
        0 => "NONE",
        1..=3 => "LOW",
        4..=9 => "MEDIUM",
        _ => "HIGH",
    }
}
