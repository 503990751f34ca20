//! What there is to rent, and the choice that was made of it.

use trainyard_connector::{Arch, ConnectorError, ErrorKind, Offer, ProvisionOrder, Stock, gpu};
use trainyard_domain::Money;

use super::{arch, cents};
use crate::wire::{InstanceType, InstanceTypeEntry, InstanceTypes};

/// Bytes of a GiB over bytes of a GB.
const GIB: f64 = 1.073_741_824;

/// A type in a region: what an offer of Lambda's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) instance_type: String,
    pub(crate) region: String,
}

impl Choice {
    /// As an offer's id: `gpu_1x_a10@us-east-1`.
    pub(crate) fn id(&self) -> String {
        format!("{}@{}", self.instance_type, self.region)
    }

    /// The choice that an order made.
    pub(crate) fn of(order: &ProvisionOrder) -> Result<Choice, ConnectorError> {
        let refused = |text: &str| ConnectorError::refused(ErrorKind::Invalid, text);
        let offer = order.offer.as_ref().ok_or_else(|| refused("an order at Lambda names an offer"))?;
        let parts = offer.id.split_once('@').filter(|(kind, region)| !kind.is_empty() && !region.is_empty());
        let (kind, region) = parts.ok_or_else(|| refused("the offer is none of Lambda's"))?;
        Ok(Choice { instance_type: kind.to_owned(), region: region.to_owned() })
    }
}

/// Everything that can be had now on a processor there is an agent for, cheapest first.
pub(crate) fn offers(types: &InstanceTypes, arches: &[Arch]) -> Vec<Offer> {
    let mut offers: Vec<Offer> = types.0.values().flat_map(|entry| of_type(entry, arches)).collect();
    offers.sort_by(|one, other| (one.price_per_hour, &one.id).cmp(&(other.price_per_hour, &other.id)));
    offers
}

fn of_type(entry: &InstanceTypeEntry, arches: &[Arch]) -> Vec<Offer> {
    let Some(model) = model(&entry.instance_type, arches) else { return Vec::new() };
    let regions = entry.regions_with_capacity_available.iter();
    let offer = |region: &crate::wire::Region| {
        let choice = Choice { instance_type: entry.instance_type.name.clone(), region: region.name.clone() };
        Offer { id: choice.id(), region: region.name.clone(), ..model.clone() }
    };
    regions.map(offer).collect()
}

/// The offer of a type but for its region; none for one that cannot be used: without GPU, of unknown memory or of a
/// processor without an agent.
fn model(kind: &InstanceType, arches: &[Arch]) -> Option<Offer> {
    let arch = arch(kind).filter(|arch| arches.contains(arch))?;
    let count = u32::try_from(kind.specs.gpus).ok().filter(|count| *count > 0)?;
    let (card, memory) = card(kind)?;
    Some(Offer {
        id: String::new(),
        gpu: gpu::canonical(&card, memory),
        gpu_memory_gb: memory,
        gpu_count: count,
        price_per_hour: cents(kind.price_cents_per_hour)?,
        traffic_per_gb: Money::ZERO,
        region: String::new(),
        spot: false,
        // A region is listed where there is some; three of eleven launches were refused all the same.
        stock: Stock::Medium,
        arch,
        disk_gb_max: Some((kind.specs.storage_gib as f64 * GIB) as u32),
    })
}

/// The card's name and memory: `A10 (24 GB PCIe)`. Lambda has no field for the memory.
fn card(kind: &InstanceType) -> Option<(String, u32)> {
    [&kind.gpu_description, &kind.description].into_iter().find_map(|text| {
        let (name, rest) = text.split_once('(')?;
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        let unit = rest.trim_start()[digits.len()..].trim_start();
        let memory = digits.parse().ok().filter(|_| unit.to_ascii_uppercase().starts_with("GB"))?;
        // The longer description begins with the count: `8x A100`.
        let name = name.trim();
        let counted = name.split_once(' ').filter(|(count, _)| {
            count.strip_suffix(['x', 'X']).is_some_and(|digits| digits.parse::<u32>().is_ok())
        });
        Some((counted.map_or(name, |(_, rest)| rest).trim().to_owned(), memory))
    })
}

/// What the chosen machine costs now.
///
/// # Errors
/// `NoCapacity` where it is not to be had in that region any more; `PriceChanged` where it is dearer than the order allows.
pub(crate) fn price_now(
    types: &InstanceTypes,
    choice: &Choice,
    most: Option<Money>,
) -> Result<Money, ConnectorError> {
    let here = |entry: &&InstanceTypeEntry| {
        entry.regions_with_capacity_available.iter().any(|region| region.name == choice.region)
    };
    let price = types
        .0
        .get(&choice.instance_type)
        .filter(here)
        .and_then(|entry| cents(entry.instance_type.price_cents_per_hour));
    let Some(price) = price else {
        let text = format!("Lambda has no {} in {} now", choice.instance_type, choice.region);
        return Err(ConnectorError::refused(ErrorKind::NoCapacity, text));
    };
    match most.filter(|most| price > *most) {
        None => Ok(price),
        Some(most) => {
            let text = format!("{} costs {price} $/h now, more than {most}", choice.id());
            Err(ConnectorError::refused(ErrorKind::PriceChanged, text))
        }
    }
}
