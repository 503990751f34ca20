//! The machine a job needs.

use serde::{Deserialize, Serialize};

use crate::Money;

/// What a machine must have. For `local` only `gpu_count` matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// GPU models, alternatives tried by price: a name with optional `-NNGB`, case ignored.
    pub gpu: Vec<String>,
    /// Least memory of each GPU, in GB.
    pub gpu_memory_gb: Option<u32>,
    /// GPUs per machine. For `local` it is met as far as the machine has GPUs.
    pub gpu_count: u32,
    /// Regions to choose from; empty is all.
    pub regions: Vec<String>,
    /// Whether the vendor may take the machine back at any time.
    pub spot: bool,
    /// Disk, in GB.
    pub disk_gb: u32,
    /// Most to pay per hour, in US dollars.
    pub max_price_per_hour: Option<Money>,
    /// How long the machine is kept for another attempt, in seconds.
    pub keep_warm_s: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Resources {
            gpu: Vec::new(),
            gpu_memory_gb: None,
            gpu_count: 1,
            regions: Vec::new(),
            spot: false,
            disk_gb: 80,
            max_price_per_hour: None,
            keep_warm_s: 0,
        }
    }
}
