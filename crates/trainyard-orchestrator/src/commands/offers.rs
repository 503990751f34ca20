//! Machines for rent, and what a specification would cost. Both from the cache that the background fills.

use futures_util::future::join_all;
use trainyard_connector::{Offer, gpu};
use trainyard_domain::{JobSpec, Money, ProviderName, Reason, Resources};

use crate::core::{Core, Provider};
use crate::offers::{Known, everything};
use crate::{
    Error, Estimate, Expected, OfferFilter, OfferView, OffersOf, OffersView, Orchestrator, choice, money,
};

impl Orchestrator {
    /// Machines for rent over all configured providers that have offers, sorted by price. At most a minute old where
    /// the provider answers (`as_of` and `error` tell); waits a few seconds for a first reading, no longer.
    pub async fn offers(&self, filter: &OfferFilter) -> OffersView {
        let need = asked(filter);
        let core = &self.core;
        let rents =
            core.providers.iter().filter(|(_, provider)| provider.connector.info().capabilities.offers);
        let known = join_all(rents.map(|(name, provider)| {
            let needs = kinds(provider, filter.spot).map(|spot| Resources { spot, ..need.clone() });
            async move {
                let known = needs.map(|need| async move { (recent(core, provider, &need).await, need) });
                (name, join_all(known).await)
            }
        }));
        let (mut offers, mut providers) = (Vec::new(), Vec::new());
        for (name, known) in known.await {
            for (known, need) in &known {
                let all = known.reading.iter().flat_map(|reading| reading.offers.iter());
                let meets = |offer: &&Offer| offer.spot == need.spot && gpu::meets(need, offer);
                offers.extend(all.filter(meets).map(|offer| offer_view(name, offer)));
            }
            providers.push(OffersOf {
                provider: name.to_string(),
                as_of: known.iter().filter_map(|(known, _)| Some(known.reading.as_ref()?.as_of)).min(),
                error: known.into_iter().find_map(|(known, _)| Some(known.error?.message)),
            });
        }
        offers.sort_by(|a, b| {
            a.price_per_hour.cmp(&b.price_per_hour).then_with(|| a.provider.cmp(&b.provider))
        });
        OffersView { offers, providers }
    }

    /// What a specification would cost and take at each configured provider; with the length of its training, in seconds,
    /// also what it is expected to be billed.
    ///
    /// # Errors
    /// `invalid_spec`.
    pub async fn estimate(&self, spec: &JobSpec, training_s: Option<u64>) -> Result<Vec<Estimate>, Error> {
        spec.validate().map_err(super::create::invalid)?;
        let core = &self.core;
        let each =
            core.providers.iter().map(|(name, provider)| estimate(core, name, provider, spec, training_s));
        Ok(join_all(each).await)
    }
}

/// On demand, spot, or both: what a filter asks for and the provider has.
fn kinds(provider: &Provider, spot: Option<bool>) -> impl Iterator<Item = bool> {
    let has = provider.connector.info().capabilities.spot;
    [false, true].into_iter().filter(move |kind| spot.is_none_or(|spot| spot == *kind) && (has || !kind))
}

/// A filter as a need.
fn asked(filter: &OfferFilter) -> Resources {
    Resources {
        gpu: filter.gpu.iter().flat_map(|all| all.split(',')).map(|gpu| gpu.trim().to_owned()).collect(),
        gpu_memory_gb: filter.gpu_memory_gb,
        gpu_count: filter.gpu_count.unwrap_or(0),
        regions: filter.region.iter().cloned().collect(),
        max_price_per_hour: filter.max_price,
        ..everything()
    }
}

/// Offers young enough to be shown.
pub(super) async fn recent(core: &Core, provider: &Provider, need: &Resources) -> Known {
    provider.offers.recent(need, core.policy.offers_age, core.policy.offers_wait).await
}

pub(super) fn offer_view(provider: &ProviderName, offer: &Offer) -> OfferView {
    OfferView {
        provider: provider.to_string(),
        gpu: offer.gpu.clone(),
        gpu_memory_gb: offer.gpu_memory_gb,
        gpu_count: offer.gpu_count,
        region: offer.region.clone(),
        spot: offer.spot,
        price_per_hour: offer.price_per_hour,
        traffic_per_gb: offer.traffic_per_gb,
        stock: match offer.stock {
            trainyard_connector::Stock::High => "high",
            trainyard_connector::Stock::Medium => "medium",
            trainyard_connector::Stock::Low => "low",
            trainyard_connector::Stock::Unknown => "unknown",
        },
        arch: offer.arch.as_str(),
    }
}

async fn estimate(
    core: &Core,
    name: &ProviderName,
    provider: &Provider,
    spec: &JobSpec,
    training_s: Option<u64>,
) -> Estimate {
    let mut estimate = Estimate {
        provider: name.to_string(),
        offer: None,
        max_cost: Money::ZERO,
        max_traffic: Money::ZERO,
        expected: None,
        max_duration_s: spec.limits.max_duration_s,
        least_gpu_memory_gb: spec.least_gpu_memory_gb(),
        refused: super::validate::unavailable(spec)
            .map(|(field, message)| Reason::new("not_yet_available", format!("`{field}` {message}"))),
    };
    if !provider.connector.info().capabilities.offers {
        return estimate;
    }
    match cheapest(core, name, provider, spec).await {
        Ok(offer) => {
            estimate.max_cost = offer.price_per_hour.per_hour_for(spec.limits.max_duration_s);
            estimate.max_traffic = money::traffic_allowance(spec, offer.traffic_per_gb);
            estimate.expected = training_s.map(|training_s| {
                let (price, per_gb) = (offer.price_per_hour, offer.traffic_per_gb);
                let (billed_s, cost) = money::expected(provider, spec, training_s, price, per_gb);
                Expected { billed_s, cost }
            });
            estimate.offer = Some(offer_view(name, &offer));
        }
        Err(reason) => {
            estimate.refused.get_or_insert(reason);
        }
    }
    estimate
}

/// The cheapest offer that fits a specification and all ceilings, or why there is none.
pub(super) async fn cheapest(
    core: &Core,
    name: &ProviderName,
    provider: &Provider,
    spec: &JobSpec,
) -> Result<Offer, Reason> {
    let need = choice::need_within(spec, &core.policy);
    let known = recent(core, provider, &need).await;
    let Some(reading) = known.reading else {
        let unread = || Reason::new("offers_unread", "the provider's offers were not read yet; try again");
        return Err(known.error.unwrap_or_else(unread));
    };
    let fitting = reading.offers.iter().filter(|offer| gpu::meets(&need, offer));
    match fitting.min_by_key(|offer| offer.price_per_hour) {
        Some(offer) => Ok(offer.clone()),
        None => Err(choice::none_fits(spec, &need, name, &reading.offers)),
    }
}
