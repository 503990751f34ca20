//! Warm machines: what an ended job keeps for the next one.
//!
//! A job that asks for it (`resources.keep_warm_s`) ends and goes on holding its machine for a while: its claim stays
//! with it, so the sweep, the ledger, the budgets and the lease see a machine like any other, paid by the job that
//! keeps it. Another job's attempt takes the machine over in three commits, each of which can be the last before a
//! crash (`reconcile/adopt.rs`): it writes down the intent under the name of the machine's order; the job that keeps
//! it lets go, and the ledger names the new attempt, in one transaction that only one of several askers wins; the
//! new attempt notes the machine as its own. The order's name stays the mark on the machine.

use std::time::Duration;

use trainyard_connector::{Arch, Offer, Stock, gpu};
use trainyard_domain::{Attempt, FieldError, Job, JobSpec, Machine, OrderName, Timestamp};
use trainyard_storage::StoredJob;

use crate::core::Core;
use crate::sightings::OPEN_ENTRIES;
use crate::{Error, choice};

/// The refusal of a machine that nobody keeps warm (any more).
pub(crate) const NOT_WARM: &str = "machine_not_warm";

/// Whether the ledger says that an ended job keeps the machine for another one: no stray, though no job trains on it.
pub(crate) fn claims(machine: &Machine, now: Timestamp) -> bool {
    machine.is_warm(now)
}

/// Until when a job that ended at `at` keeps its machine: as long as it asked for and its money lasts. None where it
/// did not ask, nothing is paid for the machine, or its training did not end by itself.
pub(crate) fn until(job: &Job, at: Timestamp, money_lasts: Option<Duration>) -> Option<Timestamp> {
    let attempt = job.attempt()?;
    let exit = attempt.exit.as_ref()?;
    let asked = Duration::from_secs(job.spec().resources.keep_warm_s);
    let kept = money_lasts.map_or(asked, |lasts| lasts.min(asked));
    let keeps = attempt.price_per_hour.is_some() && !exit.asked && !exit.machine_fault && !kept.is_zero();
    keeps.then(|| chrono::TimeDelta::from_std(kept).ok().and_then(|kept| at.checked_add_signed(kept)))?
}

/// The ledger's entry of a warm machine by the name of its order or the provider's id, for a job that wants to train
/// on it.
///
/// # Errors
/// 400 where there is none, or it is not warm and not promised to that very job.
pub(crate) async fn find(core: &Core, job: Option<&Job>, text: &str) -> Result<Machine, Error> {
    let named = match text.parse::<OrderName>() {
        Ok(order) => core.storage.machine(&order).await?,
        Err(_) => None,
    };
    let found = match named {
        Some(machine) => Some(machine),
        None => {
            let open = core.storage.machines(true, OPEN_ENTRIES).await?;
            open.into_iter()
                .find(|machine| machine.provider_job_id.as_ref().is_some_and(|id| id.as_str() == text))
        }
    };
    let Some(machine) = found else {
        let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Error::bad_request(
            "unknown_machine",
            format!("there is no machine `{shown}` on the ledger"),
        )
        .detail("`trainyard resources` shows the machines; a warm one has a time under WARM UNTIL"));
    };
    let under_way = job.is_some_and(|job| job.body().on_machine.as_ref() == Some(&machine.order));
    if !under_way && !claims(&machine, core.clock.now()) {
        return Err(not_kept(&machine));
    }
    Ok(machine)
}

/// The 400 of a machine that no job can take over.
pub(crate) fn not_kept(machine: &Machine) -> Error {
    let message = format!("the machine `{}` is not kept warm", machine.order);
    Error::bad_request(NOT_WARM, message).detail(
        "only a machine that an ended job keeps (`resources.keep_warm_s`), and that no other job took, can be submitted \
         to; submit without `machine` to rent one",
    )
}

/// The ended job that keeps a machine, where one does.
pub(crate) async fn keeper(core: &Core, machine: &Machine) -> Result<Option<StoredJob>, Error> {
    let Some((id, attempt)) = machine.attempts.last() else { return Ok(None) };
    let stored = core.storage.load(id).await?;
    Ok(stored.filter(|stored| {
        let state = stored.job.state();
        state.name().is_end() && state.rental().is_some_and(|rental| rental.attempt == *attempt)
    }))
}

/// Why a job cannot train on a machine that another one ordered; empty: nothing speaks against it.
pub(crate) fn unfit(core: &Core, job: &Job, machine: &Machine, keeper: &Job) -> Vec<FieldError> {
    let mut found = Vec::new();
    let mut wrong = |field: &str, message: String| {
        found.push(FieldError { field: field.to_owned(), message });
    };
    let (spec, before): (&JobSpec, &JobSpec) = (job.spec(), keeper.spec());
    if spec.environment.image != before.environment.image {
        let runs = before.environment.image.as_deref().unwrap_or("the provider's default");
        wrong("environment.image", format!("is another one than the machine runs ({runs})"));
    }
    let (wants, has) = (spec.resources.disk_gb, before.resources.disk_gb);
    if wants > has {
        wrong("resources.disk_gb", format!("is {wants}, and the machine was ordered with {has} GB"));
    }
    let need = choice::need_of(job, &core.policy, core.clock.now());
    if let Some(offer) = keeper.attempt().and_then(|attempt| offer(machine, attempt))
        && !gpu::meets(&need, &offer)
    {
        let price = offer.price_per_hour;
        let shown =
            format!("{} × {} ({} GB) for ${price} per hour", offer.gpu_count, offer.gpu, offer.gpu_memory_gb);
        wrong("resources", format!("does not fit the machine: {shown} in {}", offer.region));
    }
    found
}

/// What was ordered, as an offer again; none where the provider had none to choose from.
fn offer(machine: &Machine, attempt: &Attempt) -> Option<Offer> {
    let taken = attempt.offer.as_ref()?;
    Some(Offer {
        id: taken.id.clone(),
        gpu: taken.gpu.clone(),
        gpu_memory_gb: taken.gpu_memory_gb,
        gpu_count: taken.gpu_count,
        region: taken.region.clone(),
        spot: taken.spot,
        price_per_hour: machine.price_per_hour?,
        traffic_per_gb: taken.traffic_per_gb.unwrap_or_default(),
        stock: Stock::Unknown,
        arch: Arch::X86_64,
        disk_gb_max: None,
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use trainyard_domain::{Command, Exit, Fact, Rental};

    use super::*;

    fn ended(keep_warm_s: u64, priced: bool, exit: Exit) -> Job {
        let mut spec = JobSpec::new("trainyard-tiny");
        spec.resources.keep_warm_s = keep_warm_s;
        let (now, cloud) = (DateTime::UNIX_EPOCH, || "cloud".parse().unwrap());
        let mut job = Job::new("job".parse().unwrap(), spec, None, now);
        job.command(&Command::Submit(cloud())).unwrap();
        let order = format!("ty-abcdefgh-{:026}", 1).parse().unwrap();
        let attempt = job.intend(order, cloud(), now).unwrap();
        job.set_price(attempt, priced.then(|| "1".parse().unwrap()));
        job.apply(&Fact::Placed(Rental { attempt, machine: "m".parse().unwrap(), can_pause: false }), now)
            .unwrap();
        job.apply(&Fact::Started { attempt, at: now }, now).unwrap();
        job.set_exit(attempt, exit);
        job.apply(&Fact::Failed { at: now }, now).unwrap();
        job
    }

    fn kept(keep_warm_s: u64, priced: bool, exit: Exit, lasts_s: Option<u64>) -> Option<i64> {
        let job = ended(keep_warm_s, priced, exit);
        let until = until(&job, DateTime::UNIX_EPOCH, lasts_s.map(Duration::from_secs))?;
        Some(until.timestamp())
    }

    #[test]
    fn a_machine_is_kept_as_long_as_was_asked_and_can_be_paid() {
        let failed = || Exit::with_code(1, DateTime::UNIX_EPOCH);
        assert_eq!(kept(600, true, failed(), None), Some(600));
        assert_eq!(kept(600, true, Exit::with_code(0, DateTime::UNIX_EPOCH), None), Some(600));
        assert_eq!(kept(600, true, failed(), Some(90)), Some(90), "no longer than the money lasts");
        assert_eq!(kept(600, true, failed(), Some(0)), None);
        assert_eq!(kept(0, true, failed(), None), None, "nobody asked");
        assert_eq!(kept(600, false, failed(), None), None, "nothing is rented");
        assert_eq!(kept(600, true, Exit { asked: true, ..failed() }, None), None, "it was stopped");
        assert_eq!(kept(600, true, Exit { machine_fault: true, ..failed() }, None), None);
    }
}
