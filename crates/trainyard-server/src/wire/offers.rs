//! Machines for rent.

use serde::Serialize;
use trainyard_orchestrator::{OfferView, OffersView};
use utoipa::ToSchema;

use super::Time;

/// Offers of all configured providers, sorted by price.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffersAnswer {
    pub(crate) offers: Vec<OfferWire>,
    /// How fresh each provider's part is.
    pub(crate) providers: Vec<OffersOf>,
}

/// One machine for rent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OfferWire {
    pub(crate) provider: String,
    /// In the words of `resources.gpu`.
    pub(crate) gpu: String,
    pub(crate) gpu_memory_gb: u32,
    pub(crate) gpu_count: u32,
    pub(crate) region: String,
    pub(crate) spot: bool,
    /// The whole machine.
    pub(crate) price_per_hour: String,
    /// A GB of traffic on top.
    pub(crate) traffic_per_gb: String,
    pub(crate) currency: &'static str,
    /// How likely it is to be had: `high`, `medium`, `low`, `unknown`.
    pub(crate) stock: &'static str,
    /// Its processor.
    pub(crate) arch: &'static str,
}

impl From<OfferView> for OfferWire {
    fn from(offer: OfferView) -> Self {
        OfferWire {
            provider: offer.provider,
            gpu: offer.gpu,
            gpu_memory_gb: offer.gpu_memory_gb,
            gpu_count: offer.gpu_count,
            region: offer.region,
            spot: offer.spot,
            price_per_hour: offer.price_per_hour.to_string(),
            traffic_per_gb: offer.traffic_per_gb.to_string(),
            currency: "USD",
            stock: offer.stock,
            arch: offer.arch,
        }
    }
}

impl From<OffersView> for OffersAnswer {
    fn from(view: OffersView) -> Self {
        let part = |of: trainyard_orchestrator::OffersOf| OffersOf {
            provider: of.provider,
            as_of: of.as_of.map(Time),
            error: of.error,
        };
        OffersAnswer {
            offers: view.offers.into_iter().map(OfferWire::from).collect(),
            providers: view.providers.into_iter().map(part).collect(),
        }
    }
}

/// One provider's part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffersOf {
    pub(crate) provider: String,
    /// When its offers were read.
    pub(crate) as_of: Option<Time>,
    /// Why they could not be read.
    pub(crate) error: Option<String>,
}
