//! What there is to rent at the simulated Vast.ai: strangers' machines, good ones and others.

use serde_json::json;
use trainyard_connector::Arch;
use trainyard_domain::Money;

use crate::vendor::Vendor;
use crate::world::Offer;

/// The number of the first ask.
const FIRST_ASK: u64 = 24_100_000;
/// The number of the first machine.
const FIRST_MACHINE: u64 = 17_800;

/// A kind of machine, and how many there are of it.
struct Rig {
    gpu: &'static str,
    memory_mb: u32,
    gpus: u32,
    cents: u32,
    compute_cap: u32,
    places: &'static [&'static str],
    count: u32,
}

const RIGS: [Rig; 9] = [
    rig("RTX 3060", 12_288, 1, 7, 860, &["Quebec, CA", "Poland, PL"], 6),
    rig("RTX 3090", 24_576, 1, 18, 860, &["Texas, US", "Sweden, SE", ", US"], 12),
    rig("RTX 4090", 24_564, 1, 35, 890, &["Texas, US", "California, US", "Norway, NO", "Quebec, CA"], 24),
    rig("RTX 4090", 24_564, 2, 72, 890, &["Texas, US", "Germany, DE"], 6),
    rig("RTX 5090", 32_607, 1, 55, 1200, &["Washington, US"], 6),
    rig("L40S", 46_068, 1, 62, 890, &["Iceland, IS"], 4),
    rig("A100 SXM4", 81_920, 1, 95, 800, &["Virginia, US", "France, FR"], 8),
    rig("H100 SXM", 81_559, 1, 189, 900, &["Utah, US", "Finland, FI"], 6),
    rig("H100 SXM", 81_559, 8, 1590, 900, &["Utah, US"], 2),
];

const fn rig(
    gpu: &'static str,
    memory_mb: u32,
    gpus: u32,
    cents: u32,
    compute_cap: u32,
    places: &'static [&'static str],
    count: u32,
) -> Rig {
    Rig { gpu, memory_mb, gpus, cents, compute_cap, places, count }
}

/// What there is to rent: each offer is one machine. Those of every fifth host are not what a careful client takes.
pub(crate) fn catalogue() -> Vec<Offer> {
    let kinds = RIGS.iter().flat_map(|rig| (0..rig.count).map(move |nth| (rig, nth)));
    kinds.zip(0u32..).map(|((rig, nth), number)| offer(rig, nth, number)).collect()
}

fn offer(rig: &Rig, nth: u32, number: u32) -> Offer {
    // A cent dearer from one to the next, so that the order of the market is known.
    let cents = rig.cents + nth;
    let odd = nth % 5 == 4;
    let flaw = if odd { number % 4 } else { u32::MAX };
    Offer {
        vendor: Vendor::Vastai,
        id: (FIRST_ASK + u64::from(number)).to_string(),
        gpu: rig.gpu.to_owned(),
        gpu_memory_mb: rig.memory_mb,
        gpus: rig.gpus,
        price_per_hour: money(&format!("{}.{:02}", cents / 100, cents % 100)),
        disk_per_gb_month: money("0.15"),
        traffic_per_gb: money(if nth.is_multiple_of(3) { "0.02" } else { "0.004" }),
        region: rig
            .places
            .get(nth as usize % rig.places.len().max(1))
            .copied()
            .unwrap_or_default()
            .to_owned(),
        tier: "on-demand".to_owned(),
        arch: Arch::X86_64,
        disk_gb_max: 400 + 100 * (nth % 7),
        megabits: 600 + 50 * (nth % 9),
        left: 1,
        details: json!({
            "machine_id": FIRST_MACHINE + u64::from(number),
            "host_id": 90_000 + number / 3,
            "compute_cap": rig.compute_cap,
            "verification": if flaw == 0 { "unverified" } else { "verified" },
            "reliability2": if flaw == 1 { 0.87 } else { 0.99 },
            "direct_port_count": if flaw == 2 { 0 } else { 16 },
            "cuda_max_good": if flaw == 3 { 12.2 } else { 12.9 },
        }),
    }
}

fn money(text: &str) -> Money {
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::catalogue;

    #[test]
    fn every_offer_is_a_machine_of_its_own() {
        let offers = catalogue();
        let ids: BTreeSet<_> = offers.iter().map(|offer| offer.id.as_str()).collect();
        let machines: BTreeSet<_> = offers.iter().map(|offer| offer.details["machine_id"].as_u64()).collect();
        assert_eq!((ids.len(), machines.len()), (offers.len(), offers.len()));
        let verified = |word| offers.iter().filter(|offer| offer.details["verification"] == word).count();
        assert!(verified("verified") > 50 && verified("unverified") > 0);
    }
}
