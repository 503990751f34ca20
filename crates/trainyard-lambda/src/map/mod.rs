//! Lambda's words in ours and back: the only place that speaks both. Pure.

mod offers;

use std::net::IpAddr;

use trainyard_connector::{Arch, MachineObservation, MachinePhase};
use trainyard_domain::{InstallationId, Money, OrderName, ProviderJobId, Timestamp};

use crate::wire::{ImageFamily, Instance, InstanceType, Launch, Tag};

pub(crate) use offers::{Choice, offers, price_now};

/// Whose machine it is.
const OWNER: &str = "trainyard:owner";
/// Which order's: the name may be changed in the console, tags may not.
const ORDER: &str = "trainyard:order";
/// When it was asked for, in seconds since 1970: Lambda shows no time of its own.
const LAUNCHED: &str = "trainyard:launched";
/// What was asked for, to see that it is what came.
const OFFER: &str = "trainyard:offer";

/// What a launch needs to know.
#[derive(Debug)]
pub(crate) struct LaunchOf<'a> {
    pub(crate) order: &'a OrderName,
    pub(crate) owner: &'a InstallationId,
    pub(crate) choice: &'a Choice,
    pub(crate) ssh_key: &'a str,
    pub(crate) image_family: &'a str,
    pub(crate) file_system: Option<&'a str>,
    pub(crate) user_data: String,
    pub(crate) now: Timestamp,
}

/// The order in Lambda's words.
pub(crate) fn launch(of: LaunchOf<'_>) -> Launch {
    let tag = |key: &str, value: String| Tag { key: key.to_owned(), value };
    Launch {
        region_name: of.choice.region.clone(),
        instance_type_name: of.choice.instance_type.clone(),
        ssh_key_names: [of.ssh_key.to_owned()],
        name: of.order.to_string(),
        hostname: of.order.to_string(),
        image: ImageFamily { family: of.image_family.to_owned() },
        user_data: of.user_data,
        tags: vec![
            tag(OWNER, of.owner.to_string()),
            tag(ORDER, of.order.to_string()),
            tag(LAUNCHED, of.now.timestamp().to_string()),
            tag(OFFER, of.choice.id()),
        ],
        file_system_names: of.file_system.map(|name| [name.to_owned()]),
    }
}

fn tag<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    instance.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
}

/// The order that a machine was made for, by its tag and else by its name; none where it is not one of that owner's. Only
/// an exact name counts.
pub(crate) fn order_of(instance: &Instance, owner: &InstallationId) -> Option<OrderName> {
    let by_tag = tag(instance, ORDER).map(str::parse::<OrderName>);
    let order = match by_tag {
        Some(order) => order.ok()?,
        None => instance.name.as_deref()?.parse().ok()?,
    };
    let marked = tag(instance, OWNER).is_none_or(|marked| marked == owner.as_str());
    (marked && order.installation() == owner.as_str()).then_some(order)
}

/// Where a machine is reached from outside, as soon as that is known.
pub(crate) fn address(instance: &Instance) -> Option<IpAddr> {
    instance.ip.as_deref()?.trim().parse().ok()
}

/// A machine's processor. What is not told is told by the GPU: the Grace CPU of GH200 and GB200 is an ARM.
pub(crate) fn arch(instance_type: &InstanceType) -> Option<Arch> {
    match instance_type.architecture.as_deref().map(str::trim).filter(|word| !word.is_empty()) {
        Some(word) => Arch::parse(&word.to_ascii_lowercase()),
        None => {
            let name =
                format!("{} {}", instance_type.name, instance_type.gpu_description).to_ascii_lowercase();
            let grace = ["gh200", "gb200", "gb300"].iter().any(|model| name.contains(model));
            Some(if grace { Arch::Aarch64 } else { Arch::X86_64 })
        }
    }
}

/// An amount in whole cents.
pub(crate) fn cents(amount: u64) -> Option<Money> {
    format!("{}.{:02}", amount / 100, amount % 100).parse().ok()
}

/// Whether a machine may be terminated now: not so in its first seconds.
pub(crate) fn can_be_terminated(instance: &Instance) -> bool {
    let action = instance.actions.as_ref().and_then(|actions| actions.terminate.as_ref());
    action.and_then(|action| action.available) != Some(false)
}

/// How a machine is. `reached`: SSH to it came about. Lambda calls machines `unhealthy` that never come up, and now and
/// then one that works.
pub(crate) fn phase(instance: &Instance, reached: bool) -> MachinePhase {
    let broken = |what: &str| MachinePhase::Broken { what: what.to_owned(), elsewhere: true };
    if let Some(other) = other_than_asked(instance) {
        return broken(&format!("Lambda gave {other}"));
    }
    match instance.status.as_deref().unwrap_or_default() {
        "booting" => MachinePhase::Booting,
        "active" => MachinePhase::Up,
        "unhealthy" if reached => MachinePhase::Up,
        "unhealthy" => broken("Lambda calls the machine unhealthy, and it does not answer by SSH"),
        "terminating" => broken("the machine is being terminated"),
        "preempted" => broken("Lambda took the machine away (preempted)"),
        "terminated" => MachinePhase::Gone,
        other => MachinePhase::Unknown(crate::error::tidy(other)),
    }
}

/// What came instead of what was asked for; none where it is the same or not told.
fn other_than_asked(instance: &Instance) -> Option<String> {
    let asked = tag(instance, OFFER)?;
    let came = Choice {
        instance_type: instance.instance_type.as_ref()?.name.clone(),
        region: instance.region.as_ref()?.name.clone(),
    };
    (came.id() != asked).then(|| format!("{} instead of {asked}", came.id()))
}

/// A machine of ours as one reading showed it; none for others' machines.
pub(crate) fn observation(
    instance: &Instance,
    owner: &InstallationId,
    reached: bool,
    at: Timestamp,
) -> Option<MachineObservation> {
    let order = order_of(instance, owner)?;
    let id: ProviderJobId = instance.id.parse().ok()?;
    let price = instance.instance_type.as_ref().and_then(|kind| cents(kind.price_cents_per_hour));
    let note = match instance.status.as_deref() {
        Some("unhealthy") => Some("Lambda calls the machine unhealthy".to_owned()),
        Some("booting") if address(instance).is_some() => Some("booting; it has an address".to_owned()),
        Some(_) | None => None,
    };
    Some(MachineObservation { order, id, phase: phase(instance, reached), price_per_hour: price, note, at })
}

#[cfg(test)]
mod tests;
