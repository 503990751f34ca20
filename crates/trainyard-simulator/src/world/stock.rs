//! What there is to rent.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trainyard_connector::Arch;
use trainyard_domain::Money;

use crate::vendor::Vendor;

/// Something to rent: at RunPod a GPU type in one tier and data centre, at Lambda an instance type in one region, at
/// Vast.ai one offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Whose.
    pub vendor: Vendor,
    /// Unique within the vendor. The skins say how theirs are made.
    pub id: String,
    /// The GPU in the vendor's own words.
    pub gpu: String,
    /// Memory of one card in MB.
    pub gpu_memory_mb: u32,
    /// Cards of one unit.
    pub gpus: u32,
    /// What one unit costs per hour, without disk.
    pub price_per_hour: Money,
    /// What a GB of disk costs per month.
    pub disk_per_gb_month: Money,
    /// What a GB of traffic costs, either way.
    pub traffic_per_gb: Money,
    /// The vendor's word for where it stands.
    pub region: String,
    /// The vendor's word for its tier; empty where it has none.
    pub tier: String,
    /// Its processor.
    pub arch: Arch,
    /// Most disk in GB.
    pub disk_gb_max: u32,
    /// Download in megabits a second: image pulls and modelled downloads.
    pub megabits: u32,
    /// Units left.
    pub left: u32,
    /// What else the skin shows of it.
    pub details: Value,
}

/// What `PUT /world/offers/VENDOR/ID` changes. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferOrder {
    /// Units left.
    pub left: Option<u32>,
    /// Another price from now on.
    pub price_per_hour: Option<Money>,
}
