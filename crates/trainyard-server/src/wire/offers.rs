//! Machines for rent.

use serde::Serialize;
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
    pub(crate) gpu: String,
    pub(crate) gpu_memory_gb: u32,
    pub(crate) gpu_count: u32,
    pub(crate) region: String,
    pub(crate) spot: bool,
    pub(crate) price_per_hour: String,
    pub(crate) currency: &'static str,
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
