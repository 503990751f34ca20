//! What is noted of a rented machine beside its agent: the vendor's own log until the agent answers, remarks of the
//! connector, a price that moved, and a provider in trouble. None of it decides anything by itself.

use std::sync::Arc;

use trainyard_connector::MachineLog;
use trainyard_domain::{Attempt, EventBody, Job, LogSpan, Money, NotificationKind, Reason, Rental};
use trainyard_storage::{StoredJob, TelemetryItem};

use super::commit::Draft;
use crate::Error;
use crate::core::{Core, Provider};

/// What a line of the vendor's log begins with in the job's log.
const PREFIX: &str = "[machine] ";
/// Lines of it that the reason of a failed boot repeats, and how long each may be, in characters.
const LAST_LINES: usize = 5;
const LAST_LINE_CHARS: usize = 300;
/// How far back in a log they are looked for, in lines.
const LOOKED_BACK: usize = 50;
/// Most bytes that a connector remembers of a machine.
const MEMORY_BYTES_MAX: usize = 4 << 10;
/// Codes of a provider in trouble: noted as a job's reason while they last.
const TROUBLE: [&str; 5] =
    ["provider_unreachable", "provider_unauthorized", "rate_limited", "provider_failed", "no_credit"];

/// Notes what there is to note. Says whether the job was written.
pub(super) async fn note(core: &Arc<Core>, stored: &StoredJob) -> Result<bool, Error> {
    let job = &stored.job;
    let (Some(provider), Some(attempt)) = (core.provider_of(job), job.attempt()) else { return Ok(false) };
    if !provider.costs() || job.state().name().is_end() {
        return Ok(false);
    }
    if let Some(rental) = job.state().rental().filter(|_| attempt.started_at.is_none())
        && read_log(core, stored, provider, attempt, rental).await?
    {
        return Ok(true);
    }
    let mut draft = Draft::of(stored, core.clock.now());
    let remarks = provider.connector.remarks(&attempt.order);
    for remark in &remarks {
        draft.tell_again(NotificationKind::MachineRemark, "About the machine", remark.clone());
    }
    let price = price_moved(core, provider, job, attempt);
    if let Some(remark) = &price {
        draft.tell_again(NotificationKind::MachineRemark, "About the machine", remark.clone());
    }
    let removal = core.watching(&attempt.order, |watch| watch.not_removable.clone());
    let mut cannot_go = false;
    if let Some(why) = &removal
        && draft.job.tell_of(&format!("self removal {}", attempt.order))
    {
        cannot_go = true;
        let text = format!("The machine cannot remove itself when nobody speaks to it any more: {why}.");
        draft.tell_again(NotificationKind::MachineRemark, "About the machine", text);
    }
    let trouble = trouble(provider, job);
    if let Some(reason) = &trouble {
        draft.job.set_reason(reason.clone());
    }
    let memory = provider.connector.memory(&attempt.order).filter(|memory| memory.len() <= MEMORY_BYTES_MAX);
    let learnt = memory.is_some() && memory != attempt.memory;
    if learnt {
        draft.job.set_memory(attempt.number, memory);
    }
    if remarks.is_empty() && price.is_none() && trouble.is_none() && !cannot_go && !learnt {
        return Ok(false);
    }
    draft.commit(core).await?;
    Ok(true)
}

/// The reason a job gets, or loses, because its provider does not answer, or answers again.
fn trouble(provider: &Provider, job: &Job) -> Option<Option<Reason>> {
    let known = job.body().reason.as_ref();
    let noted = known.is_some_and(|reason| TROUBLE.contains(&reason.code.as_str()));
    match provider.sightings.trouble() {
        Some(reason) if known.is_none() && TROUBLE.contains(&reason.code.as_str()) => Some(Some(
            reason.suggest("nothing is forgotten: the job goes on once the provider answers as before"),
        )),
        Some(_) => None,
        None if noted && provider.sightings.is_fresh(std::time::Duration::MAX) => Some(None),
        None => None,
    }
}

/// A price that moved since the purchase, told once.
fn price_moved(core: &Core, provider: &Provider, job: &Job, attempt: &Attempt) -> Option<String> {
    let rental = job.state().rental()?;
    let bought = attempt.price_per_hour?;
    let seen = provider.sightings.latest(&attempt.order, Some(&rental.machine))?.price_per_hour?;
    // A rounding of the vendor is no change.
    let slack = Money::per_hour_for(bought, 180);
    let moved = seen > bought.plus(slack);
    let first =
        moved && core.watching(&attempt.order, |watch| !std::mem::replace(&mut watch.price_told, true));
    first.then(|| format!("The machine was bought at ${bought} per hour; the provider now says ${seen}."))
}

/// Appends what the vendor noted of a machine whose agent does not answer yet. Says whether the job was written.
async fn read_log(
    core: &Arc<Core>,
    stored: &StoredJob,
    provider: &Provider,
    attempt: &Attempt,
    rental: &Rental,
) -> Result<bool, Error> {
    let every = core.policy.machine_log_every;
    let heard = crate::bells::lock(&core.links).get(&attempt.order).is_some_and(|link| link.was_heard());
    let may = provider.connector.info().capabilities.machine_log && !heard;
    if !may || !core.watching(&attempt.order, |watch| watch.may_read_log(every)) {
        return Ok(false);
    }
    let after = attempt.log_cursor.as_deref();
    let log = match provider.connector.machine_log(&attempt.order, &rental.machine, after).await {
        Ok(log) => log,
        Err(error) => {
            tracing::debug!(job_id = %stored.job.id(), error = %error, "the vendor's log could not be read");
            return Ok(false);
        }
    };
    if let Some(broken) = &log.broken {
        core.watching(&attempt.order, |watch| watch.broken = Some(broken.clone()));
    }
    append(core, stored, attempt, log).await
}

async fn append(
    core: &Arc<Core>,
    stored: &StoredJob,
    attempt: &Attempt,
    log: MachineLog,
) -> Result<bool, Error> {
    let full = stored.log_bytes >= core.policy.log_bytes_max;
    // Without a cursor the vendor tells everything again.
    let skipped = core.watching(&attempt.order, |watch| match log.cursor {
        Some(_) => 0,
        None => std::mem::replace(&mut watch.log_lines, log.lines.len()),
    });
    let text: String = log.lines.iter().skip(skipped).map(|line| format!("{PREFIX}{line}\n")).collect();
    if !text.is_empty() && !full {
        let span = LogSpan { offset: stored.log_bytes, len: u32::try_from(text.len()).unwrap_or(u32::MAX) };
        core.logs.write_at(stored.job.id(), span.offset, text.into()).await?;
        let item = TelemetryItem { at: core.clock.now(), body: EventBody::Log(span) };
        core.storage.append_aside(stored.job.id(), attempt.number, vec![item]).await?;
        core.bells.ring(stored.job.id());
    }
    if log.cursor == attempt.log_cursor {
        return Ok(false);
    }
    let mut draft = Draft::of(stored, core.clock.now());
    draft.job.set_log_cursor(attempt.number, log.cursor);
    draft.commit(core).await?;
    Ok(true)
}

/// The reason of a failed boot with the last lines that the vendor noted.
pub(super) async fn explain(core: &Core, stored: &StoredJob, reason: Reason) -> Reason {
    let lines = last_lines(core, stored).await.unwrap_or_default();
    if reason.code != "boot_failed" || lines.is_empty() {
        return reason;
    }
    Reason { message: format!("{}; the machine's log ends: {}", reason.message, lines.join(" / ")), ..reason }
}

async fn last_lines(core: &Core, stored: &StoredJob) -> Result<Vec<String>, Error> {
    let (id, end) = (stored.job.id(), stored.log_bytes);
    let from = core.logs.tail_offset(id, LOOKED_BACK, end).await?;
    let bytes = core.logs.read(id, from, usize::try_from(end - from).unwrap_or(usize::MAX)).await?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().rev().filter_map(|line| line.strip_prefix(PREFIX)).take(LAST_LINES);
    let mut lines: Vec<String> = lines.map(|line| line.chars().take(LAST_LINE_CHARS).collect()).collect();
    lines.reverse();
    Ok(lines)
}
