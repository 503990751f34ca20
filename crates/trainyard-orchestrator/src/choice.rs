//! The choice of a machine, pure: what a job's machine must have, which offers fit it, in which order they are tried,
//! and why none is left.

use std::cmp::Reverse;
use std::time::Duration;

use trainyard_connector::{Offer, Stock, gpu};
use trainyard_domain::{
    Attempt, Job, JobSpec, Money, OfferTaken, ProviderName, Reason, Resources, Timestamp, TrainerKind,
};

use crate::Policy;

/// Why an attempt ended whose order never reached the provider.
pub(crate) const ORDER_LOST: &str = "order_lost";
/// Ends of an attempt after which no other offer of the same provider is of use.
const PROVIDER_OUT: [&str; 5] =
    ["no_credit", "provider_unauthorized", "provider_unreachable", "rate_limited", "unsupported"];
/// Those of them that may pass by themselves: an unanswered call, a turn too far off, a key that is being exchanged.
const MAY_PASS: [&str; 3] = ["provider_unauthorized", "provider_unreachable", "rate_limited"];
/// After so long such a provider is asked again.
const PASSES_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(2);
/// An offer that keeps being refused is avoided this many times as long as at first, at most.
const AVOIDED_TIMES_MAX: u32 = 16;

/// A provider with what was read of its offers; none where it has none to choose from.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) provider: ProviderName,
    pub(crate) offers: Option<Vec<Offer>>,
    /// Who finds no room there waits in line, and is not sent away.
    pub(crate) queues: bool,
}

/// What is ordered next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) provider: ProviderName,
    pub(crate) offer: Option<Offer>,
}

/// What a job's machine must have: what it asks for; where it asks for no GPU at all, the least memory that its model
/// and method need; and the lowest of all ceilings of the price.
pub(crate) fn need(spec: &JobSpec, policy: &Policy) -> Resources {
    let mut need = spec.resources.clone();
    if need.gpu.is_empty() && need.gpu_memory_gb.is_none() && need.gpu_count > 0 {
        need.gpu_memory_gb = spec.least_gpu_memory_gb();
    }
    need.max_price_per_hour = lower(need.max_price_per_hour, policy.max_price_per_hour);
    need
}

/// The same within the specification's own budget.
pub(crate) fn need_within(spec: &JobSpec, policy: &Policy) -> Resources {
    let mut need = need(spec, policy);
    let affordable = spec.limits.max_cost_usd.map(|budget| budget.hourly_over(spec.limits.max_duration_s));
    need.max_price_per_hour = lower(need.max_price_per_hour, affordable);
    need
}

/// The same for a job under way: what is left of its budget bounds the price too.
pub(crate) fn need_of(job: &Job, policy: &Policy, now: Timestamp) -> Resources {
    let mut need = need(job.spec(), policy);
    if let Some(budget) = job.limits().max_cost_usd {
        let left_s = job.limits().max_duration_s.saturating_sub(job.ran_for_s(now));
        let affordable = budget.minus(job.cost(now)).hourly_over(left_s);
        need.max_price_per_hour = lower(need.max_price_per_hour, Some(affordable));
    }
    need
}

fn lower(one: Option<Money>, other: Option<Money>) -> Option<Money> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether a job for any provider is at home where nothing is paid: it needs no GPU, so this machine does.
pub(crate) fn needs_no_gpu(spec: &JobSpec) -> bool {
    let asks = !spec.resources.gpu.is_empty() || spec.resources.gpu_memory_gb.is_some();
    !asks && (spec.resources.gpu_count == 0 || spec.trainer_kind() == TrainerKind::Builtin)
}

/// What may be ordered now, the best first: by price, but an offer whose machine was just lost comes last.
pub(crate) fn candidates(
    job: &Job,
    need: &Resources,
    shelves: &[Shelf],
    policy: &Policy,
    now: Timestamp,
) -> Vec<Candidate> {
    let mut found: Vec<(bool, Candidate)> = Vec::new();
    for shelf in shelves.iter().filter(|shelf| !is_out(job, &shelf.provider, now)) {
        let offers: Vec<Option<&Offer>> = match &shelf.offers {
            Some(offers) => offers.iter().filter(|offer| gpu::meets(need, offer)).map(Some).collect(),
            None => vec![None],
        };
        for offer in offers {
            let past = match shelf.queues {
                true => Past::None,
                false => past(job, &shelf.provider, offer, policy.offer_avoided, now),
            };
            if past != Past::Refused {
                let candidate = Candidate { provider: shelf.provider.clone(), offer: offer.cloned() };
                found.push((past == Past::Lost, candidate));
            }
        }
    }
    let price = |candidate: &Candidate| candidate.offer.as_ref().map(|offer| offer.price_per_hour);
    let stock = |candidate: &Candidate| candidate.offer.as_ref().map(|offer| rank(offer.stock));
    found.sort_by_cached_key(|(lost, c)| {
        (*lost, price(c), Reverse(stock(c)), c.offer.as_ref().map(|offer| offer.id.clone()))
    });
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// What is likelier to be had comes first among equals.
fn rank(stock: Stock) -> u8 {
    match stock {
        Stock::High => 3,
        Stock::Medium => 2,
        Stock::Unknown => 1,
        Stock::Low => 0,
    }
}

/// Why nothing can be ordered, though the providers answered.
pub(crate) fn why_none(job: &Job, need: &Resources, shelves: &[Shelf]) -> Reason {
    // What the last order met says more than that nothing is left now.
    if let Some(end) =
        job.round().find_map(|attempt| attempt.end.clone().filter(|end| end.code != ORDER_LOST))
    {
        return end;
    }
    let reasons = shelves.iter().map(|shelf| {
        let offers = shelf.offers.as_deref().unwrap_or_default();
        none_fits(job.spec(), need, &shelf.provider, offers)
    });
    // Too dear says more than that there is none.
    let worst_first = reasons.max_by_key(|reason| reason.code != "no_capacity");
    worst_first.unwrap_or_else(|| Reason::new("no_capacity", "no provider is left to ask"))
}

/// Why none of a provider's offers fits.
pub(crate) fn none_fits(
    spec: &JobSpec,
    need: &Resources,
    provider: &ProviderName,
    offers: &[Offer],
) -> Reason {
    let open = Resources { max_price_per_hour: None, ..need.clone() };
    let fitting = offers.iter().filter(|offer| gpu::meets(&open, offer));
    match fitting.min_by_key(|offer| offer.price_per_hour) {
        Some(offer) => too_dear(spec, need, provider, offer),
        None => Reason::new("no_capacity", format!("no machine for rent at `{provider}` has {}", words(need))).suggest(
            "ask for less (`trainyard offers` shows what there is), try another provider, or set `retry.wait_for_capacity_s`",
        ),
    }
}

/// The cheapest machine that fits costs more than is allowed.
fn too_dear(spec: &JobSpec, need: &Resources, provider: &ProviderName, offer: &Offer) -> Reason {
    let most = need.max_price_per_hour.unwrap_or_default();
    let (price, own) = (offer.price_per_hour, spec.resources.max_price_per_hour);
    let what =
        format!("the cheapest machine that fits ({} at `{provider}`) costs ${price} per hour", offer.gpu);
    if own == Some(most) {
        return Reason::new("price_ceiling", format!("{what}, and the job allows ${most}"))
            .suggest("raise `resources.max_price_per_hour`, or ask for less");
    }
    if spec.limits.max_cost_usd.is_some_and(|budget| budget.hourly_over(spec.limits.max_duration_s) <= most) {
        return Reason::new(
            "budget",
            format!("{what}; for as long as the job may run that is over its budget"),
        )
        .suggest("raise `limits.max_cost_usd`, or lower `limits.max_duration_s`");
    }
    Reason::new("price_ceiling", format!("{what}, and no machine may cost more than ${most} here"))
        .suggest("raise the installation's ceiling of the price per hour, or ask for less")
}

/// What is asked for, in words.
fn words(need: &Resources) -> String {
    let mut parts = Vec::new();
    match (need.gpu_count, need.gpu.is_empty()) {
        (0, _) => {}
        (count, true) => parts.push(format!("{count} GPU(s)")),
        (count, false) => parts.push(format!("{count} × {}", need.gpu.join(" or "))),
    }
    parts.extend(need.gpu_memory_gb.map(|memory| format!("at least {memory} GB of GPU memory")));
    if !need.regions.is_empty() {
        parts.push(format!("in {}", need.regions.join(" or ")));
    }
    parts.push(format!("{} GB of disk", need.disk_gb));
    parts.join(", ")
}

/// Whether that provider refused in this round in a way that no other offer of it mends. Trouble that may pass counts
/// for a moment only.
fn is_out(job: &Job, provider: &ProviderName, now: Timestamp) -> bool {
    let is_past = |attempt: &Attempt| attempt.ended_at.is_some_and(|at| now - at >= PASSES_AFTER);
    job.round().filter(|attempt| attempt.provider == *provider).any(|attempt| {
        let code = attempt.end.as_ref().map_or("", |end| end.code.as_str());
        PROVIDER_OUT.contains(&code) && !(MAY_PASS.contains(&code) && is_past(attempt))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    None,
    /// A machine of that offer was lost, or never came up, just now.
    Lost,
    /// It was refused just now.
    Refused,
}

fn past(
    job: &Job,
    provider: &ProviderName,
    offer: Option<&Offer>,
    avoided: Duration,
    now: Timestamp,
) -> Past {
    let id = offer.map(|offer| offer.id.as_str());
    let of_it = |attempt: &&Attempt| {
        attempt.provider == *provider && attempt.offer.as_ref().map(|taken| taken.id.as_str()) == id
    };
    let within = |attempt: &Attempt, how_long: Duration| {
        let since = |at: Timestamp| (now - at).to_std().unwrap_or_default();
        // One with a reason and no time ends in this moment.
        attempt.ended_at.map_or(attempt.end.is_some(), |at| since(at) < how_long)
    };
    let refused: Vec<&Attempt> = job
        .round()
        .filter(of_it)
        .filter(|attempt| {
            // What was the provider's trouble is not held against the offer.
            let is_its_own = |code: &str| code != ORDER_LOST && !MAY_PASS.contains(&code);
            attempt.end.as_ref().is_some_and(|end| is_its_own(&end.code))
        })
        .collect();
    let times = u32::try_from(refused.len()).unwrap_or(u32::MAX).saturating_sub(1).min(4);
    let how_long = avoided * 2u32.pow(times).min(AVOIDED_TIMES_MAX);
    if refused.first().is_some_and(|last| within(last, how_long)) {
        return Past::Refused;
    }
    let lost = |attempt: &Attempt| attempt.was_rented() && within(attempt, avoided);
    if job.attempts().iter().filter(of_it).any(lost) { Past::Lost } else { Past::None }
}

/// An offer in the words of the history.
pub(crate) fn taken(offer: &Offer) -> OfferTaken {
    OfferTaken {
        id: offer.id.clone(),
        gpu: offer.gpu.clone(),
        gpu_memory_gb: offer.gpu_memory_gb,
        gpu_count: offer.gpu_count,
        region: offer.region.clone(),
        spot: offer.spot,
        traffic_per_gb: Some(offer.traffic_per_gb).filter(|price| *price > Money::ZERO),
    }
}

#[cfg(test)]
mod tests;
