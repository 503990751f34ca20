//! Types of GPUs to offers, and an offer's id back to what is ordered.

use std::fmt;
use std::str::FromStr;

use trainyard_connector::{Arch, OFFERS_MAX, Offer, Stock, gpu};
use trainyard_domain::{Money, Resources};

use super::hourly;
use crate::config::CloudTier;
use crate::wire::{GpuList, GpuType, Number};

/// The region of an offer that RunPod may place anywhere.
const ANYWHERE: &str = "anywhere";

/// What is ordered: `SECURE/EU-RO-1/NVIDIA L4`, with `*` for any data centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfferId {
    pub(crate) cloud: CloudTier,
    pub(crate) data_center: Option<String>,
    pub(crate) gpu: String,
}

/// RunPod's word for a tier.
pub(crate) fn cloud_word(cloud: CloudTier) -> &'static str {
    match cloud {
        CloudTier::Secure => "SECURE",
        CloudTier::Community => "COMMUNITY",
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.data_center.as_deref().unwrap_or("*");
        write!(f, "{}/{place}/{}", cloud_word(self.cloud), self.gpu)
    }
}

impl FromStr for OfferId {
    type Err = ();

    fn from_str(text: &str) -> Result<OfferId, ()> {
        let mut parts = text.splitn(3, '/');
        let cloud = match parts.next() {
            Some("SECURE") => CloudTier::Secure,
            Some("COMMUNITY") => CloudTier::Community,
            _ => return Err(()),
        };
        let (place, gpu) = (parts.next().ok_or(())?, parts.next().ok_or(())?);
        if place.is_empty() || gpu.is_empty() {
            return Err(());
        }
        let data_center = (place != "*").then(|| place.to_owned());
        Ok(OfferId { cloud, data_center, gpu: gpu.to_owned() })
    }
}

/// The offers of one tier that meet the need: one for each type of GPU, or one for each data centre that has it where
/// regions are asked for, or the one of `center` where machines can stand in no other. Prices are those of the whole
/// machine, with its disk.
pub(crate) fn offers_of(
    list: &GpuList,
    cloud: CloudTier,
    need: &Resources,
    center: Option<&str>,
) -> Vec<Offer> {
    if need.spot {
        // Version 2 of the API has no spot machines.
        return Vec::new();
    }
    let offered = list.gpus.iter().filter(|gpu| is_offered(gpu, cloud, need));
    let all = offered.flat_map(|gpu| places(gpu, cloud, need, center));
    all.filter(|offer| gpu::meets(need, offer)).take(OFFERS_MAX).collect()
}

/// Whether the tier has that type at all. Cards of other makers run other images than CUDA's: only where they are asked
/// for by name.
fn is_offered(gpu: &GpuType, cloud: CloudTier, need: &Resources) -> bool {
    let (flag, most) = match cloud {
        CloudTier::Secure => (gpu.secure, gpu.max_count.secure),
        CloudTier::Community => (gpu.community, gpu.max_count.community),
    };
    let named = !gpu.id.0.is_empty() && gpu.id.0 != "unknown";
    let can_so_many = most.0.is_none_or(|most| most >= f64::from(need.gpu_count.max(1)));
    let cuda = matches!(gpu.manufacturer.0.as_str(), "NVIDIA" | "") || !need.gpu.is_empty();
    named && flag.0 != Some(false) && can_so_many && cuda
}

fn places(gpu: &GpuType, cloud: CloudTier, need: &Resources, only: Option<&str>) -> Vec<Offer> {
    let centers = gpu.data_centers.as_deref().unwrap_or_default();
    if need.regions.is_empty() && only.is_none() {
        return offer(gpu, cloud, need, None, &gpu.availability.0).into_iter().collect();
    }
    let centers = centers.iter().filter(|center| !center.id.0.is_empty());
    let centers = centers.filter(|center| only.is_none_or(|only| center.id.0 == only));
    centers.filter_map(|center| offer(gpu, cloud, need, Some(&center.id.0), &center.availability.0)).collect()
}

fn offer(
    gpu_type: &GpuType,
    cloud: CloudTier,
    need: &Resources,
    center: Option<&str>,
    stock: &str,
) -> Option<Offer> {
    let stock = match stock {
        "HIGH" => Stock::High,
        "MEDIUM" => Stock::Medium,
        "LOW" => Stock::Low,
        "NONE" => return None,
        _ => Stock::Unknown,
    };
    let each = match cloud {
        CloudTier::Secure => gpu_type.price.secure,
        CloudTier::Community => gpu_type.price.community,
    };
    let count = need.gpu_count.max(1);
    let memory = gpu_type.memory.0.filter(|gb| *gb >= 1.0)? as u32;
    let id = OfferId { cloud, data_center: center.map(str::to_owned), gpu: gpu_type.id.0.clone() };
    Some(Offer {
        id: id.to_string(),
        gpu: gpu::canonical(&gpu_type.id.0, memory),
        gpu_memory_gb: memory,
        gpu_count: count,
        price_per_hour: hourly(Number(each.0.map(|each| each * f64::from(count))), need.disk_gb)?,
        traffic_per_gb: Money::ZERO,
        region: center.unwrap_or(ANYWHERE).to_owned(),
        spot: false,
        stock,
        arch: Arch::X86_64,
        disk_gb_max: None,
    })
}
