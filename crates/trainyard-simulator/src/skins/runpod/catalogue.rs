//! What there is to rent: types of GPUs in tiers and data centres, at prices as RunPod had them in August 2026.

use serde_json::json;
use trainyard_connector::Arch;
use trainyard_domain::Money;

use crate::vendor::Vendor;
use crate::world::Offer;

/// A type of GPU: id, name, serverless pool, GB, cents an hour in the secure and in the community cloud (0: not there),
/// cards of each data centre, the CUDA version of its hosts.
type Row = (&'static str, &'static str, Option<&'static str>, u32, u32, u32, u32, &'static str);

const TYPES: &[Row] = &[
    ("NVIDIA GeForce RTX 4090", "RTX 4090", Some("ADA_24"), 24, 74, 34, 64, "12.8"),
    ("NVIDIA GeForce RTX 5090", "RTX 5090", None, 32, 94, 69, 16, "13.0"),
    ("NVIDIA GeForce RTX 3090", "RTX 3090", Some("AMPERE_24"), 24, 46, 22, 16, "12.8"),
    ("NVIDIA RTX 2000 Ada Generation", "RTX 2000 Ada", None, 16, 24, 16, 16, "12.8"),
    ("NVIDIA RTX A4000", "RTX A4000", Some("AMPERE_16"), 16, 25, 17, 8, "12.4"),
    ("NVIDIA RTX A6000", "RTX A6000", Some("AMPERE_48"), 48, 49, 33, 16, "12.8"),
    ("NVIDIA L4", "L4", Some("ADA_24"), 24, 43, 0, 16, "12.8"),
    ("NVIDIA L40S", "L40S", Some("ADA_48_PRO"), 48, 86, 79, 16, "12.8"),
    ("NVIDIA RTX PRO 4500 Blackwell", "RTX PRO 4500", None, 32, 72, 34, 8, "13.0"),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", Some("AMPERE_80"), 80, 139, 119, 8, "12.8"),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM", Some("AMPERE_80"), 80, 149, 139, 16, "12.8"),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", Some("ADA_80_PRO"), 80, 299, 269, 16, "12.8"),
    ("NVIDIA H100 NVL", "H100 NVL", None, 94, 259, 139, 4, "12.8"),
    ("NVIDIA H200", "H200 SXM", Some("HOPPER_141"), 141, 359, 0, 8, "13.0"),
    ("NVIDIA B200", "B200", None, 180, 599, 0, 8, "13.0"),
    ("AMD Instinct MI300X OAM", "MI300X", None, 192, 249, 0, 8, ""),
];

/// Where: tier and data centre.
const PLACES: [(&str, &str); 4] =
    [("SECURE", "US-KS-2"), ("SECURE", "EU-RO-1"), ("SECURE", "US-TX-3"), ("COMMUNITY", "EU-SE-1")];

/// Every offer: a type in one place. Its id is `TIER/CENTRE/TYPE`.
pub(crate) fn catalogue() -> Vec<Offer> {
    let pairs = TYPES.iter().flat_map(|row| PLACES.iter().map(move |place| (row, *place)));
    pairs.filter_map(|(row, place)| offer(row, place)).collect()
}

fn offer(row: &Row, (tier, region): (&str, &str)) -> Option<Offer> {
    let (gpu, name, pool, memory, secure, community, left, cuda) = *row;
    let cents = if tier == "SECURE" { secure } else { community };
    let manufacturer = gpu.split(' ').next().unwrap_or("UNKNOWN");
    (cents > 0).then(|| Offer {
        vendor: Vendor::Runpod,
        id: format!("{tier}/{region}/{gpu}"),
        gpu: gpu.to_owned(),
        gpu_memory_mb: memory * 1000,
        gpus: 1,
        price_per_hour: dollars(cents),
        disk_per_gb_month: dollars(10),
        traffic_per_gb: Money::ZERO,
        region: region.to_owned(),
        tier: tier.to_owned(),
        arch: Arch::X86_64,
        disk_gb_max: 2000,
        megabits: 2000,
        left,
        details: json!({"name": name, "pool": pool, "manufacturer": manufacturer, "cuda": cuda, "max": 8}),
    })
}

fn dollars(cents: u32) -> Money {
    format!("{}.{:02}", cents / 100, cents % 100).parse().unwrap_or_default()
}
