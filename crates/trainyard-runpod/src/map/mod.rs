//! The only place that speaks both languages: RunPod's words and ours. Pure.
//!
//! - `offers`: types of GPUs to offers and back to an order.
//! - `logs`: the stream of a pod's log, and what in it proves that a container will not come up.
//! - here: pods, prices, bills.

mod logs;
mod offers;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use trainyard_connector::{
    ConnectorError, Effect, ErrorKind, HttpCall, MachineObservation, MachinePhase, SelfRemoval,
};
use trainyard_domain::{Money, OrderName, ProviderJobId, Timestamp};

pub(crate) use logs::{Cursor, log_of};
pub(crate) use offers::{OfferId, cloud_word, offers_of};

use crate::error::tidy;
use crate::wire::{Billing, Number, Pod};

/// What a GB of a container's disk costs in a month, in cents, as RunPod's price list says; `cost` does not hold it.
const DISK_CENTS_PER_GB_MONTH: u32 = 10;
/// Hours of a month: a year's twelfth.
const HOURS_PER_MONTH: u32 = 730;
/// Digits after the point that a price of RunPod's has: more is the noise of a float.
const PRICE_DIGITS: u32 = 6;

/// An amount that RunPod wrote as a number; none where it is none, or negative.
pub(crate) fn money(number: Number) -> Option<Money> {
    let amount = Decimal::from_f64(number.0?)?.round_dp(PRICE_DIGITS).normalize();
    amount.to_string().parse().ok()
}

/// What a pod costs per hour with its disk, from what its GPUs cost; none where that is zero or not told.
pub(crate) fn hourly(cost: Number, disk_gb: u32) -> Option<Money> {
    let gpus = money(cost).filter(|cost| *cost > Money::ZERO)?;
    let disk = Decimal::from(disk_gb) * Decimal::from(DISK_CENTS_PER_GB_MONTH)
        / Decimal::from(100 * HOURS_PER_MONTH);
    let disk = disk.round_dp(PRICE_DIGITS).normalize().to_string().parse().ok()?;
    Some(gpus.plus(disk))
}

/// A pod's size of disk, in GB.
pub(crate) fn disk_gb(pod: &Pod) -> u32 {
    pod.disk.0.map_or(0, |gb| gb as u32)
}

/// How a pod reads and removes itself. RunPod puts a key into every pod that opens that pod alone, as its documentation of
/// a pod's environment says; `url` is the API's.
///
/// # Errors
/// `Invalid` for an address with signs that no order may carry.
pub(crate) fn self_removal(url: &str) -> Result<SelfRemoval, ConnectorError> {
    let url = url.trim_end_matches('/');
    let own = format!("{}/v2/pods/%RUNPOD_POD_ID%", url.strip_suffix("/v2").unwrap_or(url));
    let call = |method| {
        HttpCall::new(method, &own, "RUNPOD_API_KEY").map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "a pod cannot be told RunPod's address")
                .because(error)
        })
    };
    Ok(SelfRemoval { probe: call("GET")?, remove: call("DELETE")? })
}

/// The pod as one reading showed it.
///
/// # Errors
/// `Unreachable` where the pod bears no id that can be one.
pub(crate) fn observation(
    order: &OrderName,
    pod: &Pod,
    at: Timestamp,
) -> Result<MachineObservation, ConnectorError> {
    Ok(MachineObservation {
        order: order.clone(),
        id: id_of(pod)?,
        phase: phase(pod),
        price_per_hour: hourly(pod.cost, disk_gb(pod)),
        note: None,
        at,
    })
}

/// What is seen where RunPod says that there is no such pod. One such reading proves nothing for good: only listings do.
pub(crate) fn vanished(order: &OrderName, id: &ProviderJobId, at: Timestamp) -> MachineObservation {
    let note = Some("RunPod answers that there is no such pod".to_owned());
    MachineObservation {
        order: order.clone(),
        id: id.clone(),
        phase: MachinePhase::Gone,
        price_per_hour: None,
        note,
        at,
    }
}

/// The pod's id.
///
/// # Errors
/// `Unreachable`: an answer without one is not usable, and what it answers may have happened.
pub(crate) fn id_of(pod: &Pod) -> Result<ProviderJobId, ConnectorError> {
    pod.id.0.parse().map_err(|error| ConnectorError {
        kind: ErrorKind::Unreachable,
        effect: Effect::Unknown,
        message: "RunPod told of a pod without a usable id".to_owned(),
        source: Some(Box::new(error)),
    })
}

/// How a pod is. `RUNNING` alone says nothing: it is there before the image is.
fn phase(pod: &Pod) -> MachinePhase {
    let runs = pod.runtime.as_ref().is_some_and(|runtime| {
        let ports = runtime.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        ports || runtime.uptime.0.is_some_and(|seconds| seconds > 0.0)
    });
    match pod.status.0.as_str() {
        "PROVISIONING" | "STARTING" => MachinePhase::Booting,
        "RUNNING" if runs => MachinePhase::Up,
        "RUNNING" => MachinePhase::Booting,
        "EXITED" => MachinePhase::Broken {
            what: "RunPod stopped the pod (EXITED): somebody stopped it, or the account's balance ran out"
                .to_owned(),
            elsewhere: true,
        },
        "ERROR" => MachinePhase::Broken {
            what: "RunPod says that the container cannot recover (ERROR)".to_owned(),
            elsewhere: true,
        },
        "TERMINATED" => MachinePhase::Gone,
        other => MachinePhase::Unknown(tidy(other)),
    }
}

/// What RunPod billed for a pod so far; none where its books do not show it.
pub(crate) fn billed(billing: &Billing, pod: &str) -> Option<Money> {
    let mut of_pod = billing.records.iter().filter(|record| record.pod_id.0 == pod).peekable();
    of_pod.peek()?;
    Some(of_pod.filter_map(|record| money(record.total_amount)).fold(Money::ZERO, Money::plus))
}

/// Why a pod is not what was ordered; none where it is.
pub(crate) fn differs(pod: &Pod, order: &OrderName, gpu: &str, count: u32) -> Option<String> {
    if pod.name.0 != order.as_str() {
        return Some(format!("it bears the name `{}`", tidy(&pod.name.0)));
    }
    let had = pod.gpu.as_ref()?;
    if had.id.0 != gpu && !had.id.0.is_empty() {
        return Some(format!("its GPU is `{}`, not `{gpu}`", tidy(&had.id.0)));
    }
    let fewer = had.count.0.filter(|had| *had < f64::from(count))?;
    Some(format!("it has {fewer} GPUs, not {count}"))
}

#[cfg(test)]
mod tests;
