//! Instance types, regions and images: prices and sizes as they were on Lambda's list in August 2026, as samples.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trainyard_connector::Arch;
use trainyard_domain::Money;

use super::LAMBDA;
use super::answers::data;
use crate::http::Response;
use crate::world::{Offer, World};

/// Families of system images.
pub(super) const FAMILIES: &[&str] = &[
    "lambda-stack-24-04",
    "lambda-stack-22-04",
    "gpu-base-24-04",
    "gpu-base-22-04",
    "ubuntu-24-04",
    "ubuntu-22-04",
];

/// A region's name and what is said of it.
const REGIONS: &[(&str, &str)] = &[
    ("us-east-1", "Virginia, USA"),
    ("us-east-3", "Washington DC, USA"),
    ("us-west-1", "California, USA"),
    ("us-south-1", "Texas, USA"),
    ("us-midwest-1", "Illinois, USA"),
    ("europe-central-1", "Germany"),
    ("asia-south-1", "India"),
];

/// One row of the list.
struct Row {
    name: &'static str,
    gpu: &'static str,
    memory_gb: u32,
    gpus: u32,
    cents: u32,
    vcpus: u32,
    memory_gib: u32,
    storage_gib: u32,
    /// Where it is to be had at first; a `-` in front: it is sold out there.
    regions: &'static [&'static str],
}

const fn row(
    name: &'static str,
    gpu: &'static str,
    (memory_gb, gpus, cents): (u32, u32, u32),
    (vcpus, memory_gib, storage_gib): (u32, u32, u32),
    regions: &'static [&'static str],
) -> Row {
    Row { name, gpu, memory_gb, gpus, cents, vcpus, memory_gib, storage_gib, regions }
}

const ROWS: &[Row] = &[
    row("gpu_1x_rtx6000", "RTX 6000 (24 GB)", (24, 1, 69), (14, 46, 512), &["us-south-1", "us-west-1"]),
    row("gpu_1x_a6000", "A6000 (48 GB)", (48, 1, 109), (14, 100, 512), &["us-south-1"]),
    row("gpu_1x_a10", "A10 (24 GB PCIe)", (24, 1, 129), (30, 200, 1400), &["us-east-1", "us-west-1"]),
    row("gpu_1x_a100", "A100 (40 GB PCIe)", (40, 1, 199), (30, 200, 512), &["-us-west-1"]),
    row(
        "gpu_1x_a100_sxm4",
        "A100 (40 GB SXM4)",
        (40, 1, 199),
        (30, 220, 512),
        &["us-east-1", "asia-south-1"],
    ),
    row("gpu_1x_gh200", "GH200 (96 GB)", (96, 1, 229), (64, 432, 4096), &["us-east-3"]),
    row("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", (80, 1, 329), (26, 225, 1024), &["us-west-1"]),
    row("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", (80, 1, 429), (26, 225, 2816), &["us-south-1"]),
    row("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", (180, 1, 699), (26, 360, 2816), &["-us-south-1"]),
    row("gpu_2x_a6000", "A6000 (48 GB)", (48, 2, 218), (28, 200, 1024), &["us-south-1"]),
    row("gpu_4x_a6000", "A6000 (48 GB)", (48, 4, 436), (56, 400, 1024), &["-us-south-1"]),
    row("gpu_8x_v100", "Tesla V100 (16 GB)", (16, 8, 632), (92, 448, 6041), &["us-south-1"]),
    row("gpu_8x_a100", "A100 (40 GB SXM4)", (40, 8, 1592), (124, 1800, 6144), &["us-east-1"]),
    row("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", (80, 8, 2232), (240, 1800, 20480), &["us-midwest-1"]),
    row("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", (80, 8, 3192), (208, 1800, 22528), &["-us-east-3"]),
];

/// Units of an offer that is there.
const LEFT: u32 = 40;

/// What there is to rent: a type in a region, with the id `gpu_1x_a10@us-east-1`.
pub(crate) fn catalogue() -> Vec<Offer> {
    let of_row = |row: &'static Row| row.regions.iter().map(|region| offer(row, region));
    ROWS.iter().flat_map(of_row).collect()
}

fn offer(row: &Row, region: &str) -> Offer {
    let left = if region.starts_with('-') { 0 } else { LEFT };
    let region = region.trim_start_matches('-');
    let cents = format!("{}.{:02}", row.cents / 100, row.cents % 100);
    Offer {
        vendor: LAMBDA,
        id: format!("{}@{region}", row.name),
        gpu: row.gpu.to_owned(),
        gpu_memory_mb: row.memory_gb * 1024,
        gpus: row.gpus,
        price_per_hour: cents.parse().unwrap_or_default(),
        disk_per_gb_month: Money::ZERO,
        traffic_per_gb: Money::ZERO,
        region: region.to_owned(),
        tier: String::new(),
        arch: if row.name.contains("gh200") { Arch::Aarch64 } else { Arch::X86_64 },
        disk_gb_max: row.storage_gib,
        megabits: 10_000,
        left,
        details: json!({
            "type": row.name, "vcpus": row.vcpus, "memory_gib": row.memory_gib, "storage_gib": row.storage_gib,
        }),
    }
}

/// The name of an offer's type.
pub(super) fn type_name(offer: &Offer) -> &str {
    offer.details["type"].as_str().unwrap_or_else(|| offer.id.split('@').next().unwrap_or_default())
}

/// A type as Lambda shows it.
pub(super) fn shown(offer: &Offer, price: Money) -> Value {
    let number = |name: &str| offer.details[name].as_u64().unwrap_or_default();
    let cents = (price.decimal() * rust_decimal::Decimal::ONE_HUNDRED).round();
    json!({
        "name": type_name(offer),
        "description": format!("{}x {}", offer.gpus, offer.gpu),
        "gpu_description": offer.gpu,
        "price_cents_per_hour": cents.to_string().parse::<u64>().unwrap_or_default(),
        "specs": {
            "vcpus": number("vcpus"), "memory_gib": number("memory_gib"), "storage_gib": number("storage_gib"),
            "gpus": offer.gpus,
        },
        // Seen live, and not in the document.
        "architecture": match offer.arch { Arch::X86_64 => "x86_64", Arch::Aarch64 => "arm64" },
    })
}

/// A region as Lambda shows it.
pub(super) fn region(name: &str) -> Value {
    let found = REGIONS.iter().find(|(known, _)| *known == name);
    json!({ "name": name, "description": found.map_or("somewhere", |(_, text)| *text) })
}

/// `GET /instance-types`: a map, with those that are sold out.
pub(super) fn types(world: &World) -> Response {
    let mut types: BTreeMap<String, Value> = BTreeMap::new();
    for offer in world.offers(LAMBDA) {
        let entry = types.entry(type_name(&offer).to_owned()).or_insert_with(|| {
            json!({ "instance_type": shown(&offer, offer.price_per_hour), "regions_with_capacity_available": [] })
        });
        if let (true, Some(regions)) =
            (offer.left > 0, entry["regions_with_capacity_available"].as_array_mut())
        {
            regions.push(region(&offer.region));
        }
    }
    data(&json!(types))
}

/// Every region that anything is offered in, and the usual ones.
pub(super) fn region_names(world: &World) -> BTreeSet<String> {
    let usual = REGIONS.iter().map(|(name, _)| (*name).to_owned());
    usual.chain(world.offers(LAMBDA).into_iter().map(|offer| offer.region)).collect()
}

/// `GET /regions`.
pub(super) fn regions(world: &World) -> Response {
    let regions: Vec<Value> = region_names(world).iter().map(|name| region(name)).collect();
    data(&json!(regions))
}

/// `GET /images`: one row per image, architecture and region.
pub(super) fn images(world: &World) -> Response {
    let mut rows = Vec::new();
    for (number, family) in FAMILIES.iter().enumerate() {
        for (place, name) in region_names(world).iter().enumerate() {
            rows.push(json!({
                "id": format!("{:032x}", 0xa000 + number * 256 + place), "created_time": "2026-06-01T00:00:00+00:00",
                "updated_time": "2026-06-01T00:00:00+00:00", "name": family, "description": family,
                "family": family, "version": "2026.6.1", "architecture": "x86_64", "region": region(name),
            }));
        }
    }
    data(&json!(rows))
}

/// What is open from outside where nobody said otherwise.
pub(super) fn firewall() -> Value {
    let anywhere = "0.0.0.0/0";
    json!([
        { "protocol": "tcp", "port_range": [22, 22], "source_network": anywhere, "description": "SSH" },
        { "protocol": "icmp", "source_network": anywhere, "description": "ping" },
    ])
}
