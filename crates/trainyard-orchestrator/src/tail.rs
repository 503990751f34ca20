//! Following an agent: its numbered events become the job's telemetry, each exactly once.
//!
//! The agent's number is stored in the transaction that stores what it told, so a crash anywhere repeats a read,
//! never a record. Log bytes are written to the log file before the event that speaks of them is stored.

use std::sync::{Arc, Weak};
use std::time::Duration;

use trainyard_connector::{AgentEvent, AgentEventBody, ErrorKind as Kind, EventBatch};
use trainyard_domain::{AttemptNumber, EventBody, JobId, LogSpan, MetricPoint, Progress};
use trainyard_storage::{Telemetry, TelemetryItem};

use crate::core::Core;
use crate::link::Link;
use crate::{Error, ErrorKind};

/// Bytes of a log that are fetched at once.
const LOG_CHUNK_BYTES: u32 = 1 << 20;
/// What a log that has reached `log_bytes_max` ends with.
const LAST_LINE: &str = "\n[the log has reached its limit; what follows is not kept]\n";

/// Follows one attempt until its last event, or until the link is dropped.
pub(crate) async fn tail(core: Arc<Core>, id: JobId, attempt: AttemptNumber, link: Weak<Link>) {
    let mut pause = Duration::from_millis(50);
    loop {
        let Some(link) = link.upgrade() else { return };
        match follow_once(&core, &id, attempt, &link).await {
            Ok(Followed::More) => pause = Duration::from_millis(50),
            Ok(Followed::Ended) => {
                core.queue.ring(&id);
                return;
            }
            Err(error) => {
                tracing::debug!(job_id = %id, error = %error, "following the agent broke off");
                // The reconciler judges silence; it looks at once and then at its own pace.
                core.queue.ring(&id);
                if error.code == "agent_restarted" {
                    return;
                }
                drop(link);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = core.closed() => return,
                }
                pause = (pause * 2).min(core.policy.look_every);
            }
        }
        if *core.closing.borrow() {
            return;
        }
    }
}

enum Followed {
    More,
    Ended,
}

/// The agent's number that was read last, and where the job's log ends; none where the job is gone or a newer attempt is
/// followed. The job itself is not held for as long as its agent is followed.
async fn read_so_far(core: &Core, id: &JobId, attempt: AttemptNumber) -> Result<Option<(u64, u64)>, Error> {
    let Some(stored) = core.storage.load(id).await? else { return Ok(None) };
    Ok(match stored.cursor {
        Some((newest, _)) if newest > attempt => None,
        Some((newest, at)) if newest == attempt => Some((at, stored.log_bytes)),
        Some(_) | None => Some((0, stored.log_bytes)),
    })
}

async fn follow_once(
    core: &Arc<Core>,
    id: &JobId,
    attempt: AttemptNumber,
    link: &Link,
) -> Result<Followed, Error> {
    let Some((mut cursor, mut log_end)) = read_so_far(core, id, attempt).await? else {
        return Ok(Followed::Ended);
    };
    let mut quarter = 0;
    // What earlier attempts trained already is marked where it is trained again.
    let highest = match attempt == AttemptNumber::FIRST {
        true => None,
        false => core.storage.highest_step(id, attempt).await?,
    };
    loop {
        let (wait, gather) = (core.policy.events_wait, gather(core, id));
        let mut batch = tokio::select! {
            batch = link.workload.events_gathered(cursor, wait, gather) => batch.map_err(unheard)?,
            () = core.closed() => return Ok(Followed::More),
        };
        link.hear();
        let Some(last) = batch.events.last() else {
            if *core.closing.borrow() {
                return Ok(Followed::More);
            }
            continue;
        };
        let reached = last.n;
        let ended = matches!(last.body, AgentEventBody::Exited(_));
        let passed = batch.events.iter().filter_map(quarters).max().unwrap_or(0);
        let notable = passed > quarter || batch.events.iter().any(|event| event.body.is_urgent());
        quarter = quarter.max(passed);
        if batch.events.iter().any(|event| matches!(event.body, AgentEventBody::Checkpoint(_))) {
            link.tell_checkpoint();
        }
        let full = log_end >= core.policy.log_bytes_max;
        if full {
            batch.events.retain(|event| !matches!(event.body, AgentEventBody::Log(_)));
        }
        let mut grown = fetch_logs(core, id, link, &batch, log_end).await?;
        let mut items = items(batch, log_end, highest);
        if !full && grown >= core.policy.log_bytes_max {
            grown += end_log(core, id, &mut items, grown).await?;
        }
        let telemetry = Telemetry { job_id: id.clone(), attempt, after: cursor, cursor: reached, items };
        let offered = telemetry.items.len();
        if core.storage.append(telemetry).await?.taken < offered {
            // Another follower was quicker, as of a process that this one took over from: it goes on from there.
            return Ok(Followed::More);
        }
        metrics::counter!("trainyard_telemetry_batches_total").increment(1);
        (cursor, log_end) = (reached, grown);
        core.bells.ring(id);
        if ended {
            return Ok(Followed::Ended);
        }
        if notable {
            core.queue.ring(id);
        }
        rest(core, id).await;
    }
}

/// Agents that are followed, as far as they count here.
fn followed(core: &Core) -> u32 {
    const MOST: usize = 1000;
    crate::bells::lock(&core.links).len().min(MOST) as u32
}

/// How long an agent gathers points before it answers: a millisecond for each that is followed. Together with the moment
/// between two questions a thousand agents are asked two hundred questions a second, each for five points. Nothing
/// where somebody watches the job.
fn gather(core: &Core, id: &JobId) -> Duration {
    const EACH: Duration = Duration::from_millis(1);
    match followed(core) {
        0 | 1 => Duration::ZERO,
        _ if core.feeds.has(id) => Duration::ZERO,
        followed => EACH * followed,
    }
}

/// A moment between two questions, so that many agents that talk at once are heard in larger pieces, and few of them hold
/// a connection, which takes 33 kB: four milliseconds for each that is followed, one where somebody watches the job.
async fn rest(core: &Core, id: &JobId) {
    const EACH: Duration = Duration::from_millis(1);
    let followed = followed(core);
    if followed > 1 {
        let each = if core.feeds.has(id) { EACH } else { EACH * 4 };
        tokio::select! {
            () = tokio::time::sleep(each * followed) => {}
            () = core.closed() => {}
        }
    }
}

/// Ends a log that has reached its limit. What it says stands in the log itself, as the end of the range that filled it,
/// so that it is stored with that and said once. Says how many bytes it added.
async fn end_log(core: &Core, id: &JobId, items: &mut [TelemetryItem], end: u64) -> Result<u64, Error> {
    let last = items.iter_mut().rev().find_map(|item| match &mut item.body {
        EventBody::Log(span) => Some(span),
        _ => None,
    });
    let Some(span) = last else { return Ok(0) };
    core.logs.write_at(id, end, LAST_LINE.as_bytes().into()).await?;
    span.len += LAST_LINE.len() as u32;
    Ok(LAST_LINE.len() as u64)
}

/// Brings the bytes of the batch's log events home, and says where the log then ends.
async fn fetch_logs(
    core: &Core,
    id: &JobId,
    link: &Link,
    batch: &EventBatch,
    log_end: u64,
) -> Result<u64, Error> {
    let mut spans = batch.events.iter().filter_map(|event| match &event.body {
        AgentEventBody::Log(span) => Some(*span),
        _ => None,
    });
    let Some(first) = spans.next() else { return Ok(log_end) };
    let until = spans
        .next_back()
        .map_or(first.offset + u64::from(first.len), |last| last.offset + u64::from(last.len));
    let (mut from, mut end) = (first.offset, log_end);
    while from < until {
        let wanted = u32::try_from(until - from).unwrap_or(LOG_CHUNK_BYTES).min(LOG_CHUNK_BYTES);
        let bytes = link.workload.log(from, wanted).await.map_err(unheard)?;
        if bytes.is_empty() || bytes.len() > wanted as usize {
            return Err(Error::new(
                ErrorKind::Provider,
                "agent_log",
                "the agent's log is not as long as it said",
            ));
        }
        let grown = bytes.len() as u64;
        core.logs.write_at(id, end, bytes).await?;
        (from, end) = (from + grown, end + grown);
    }
    Ok(end)
}

/// What of a batch is telemetry, in its order; the log spans as they lie in the job's own log.
fn items(batch: EventBatch, mut log_end: u64, highest: Option<u64>) -> Vec<TelemetryItem> {
    let mut items = Vec::with_capacity(batch.events.len());
    for AgentEvent { at, body, .. } in batch.events {
        let body = match body {
            AgentEventBody::Metrics(point) => {
                let repeated = point.step.is_some_and(|step| highest.is_some_and(|highest| step <= highest));
                EventBody::Metrics(MetricPoint { repeated, ..point })
            }
            AgentEventBody::Progress(progress) => EventBody::Progress(progress),
            AgentEventBody::Log(span) => {
                let offset = log_end;
                log_end += u64::from(span.len);
                EventBody::Log(LogSpan { offset, len: span.len })
            }
            // Facts are read from the agent's state by the reconciler.
            AgentEventBody::Started
            | AgentEventBody::Phase(_)
            | AgentEventBody::Checkpoint(_)
            | AgentEventBody::Exited(_) => continue,
        };
        items.push(TelemetryItem { at, body });
    }
    items
}

/// Quarters of the training that are done by an event's word: each is a milestone that the reconciler tells.
fn quarters(event: &AgentEvent) -> Option<u32> {
    match &event.body {
        AgentEventBody::Progress(Progress { fraction: Some(fraction), .. }) => Some((fraction * 4.0) as u32),
        _ => None,
    }
}

fn unheard(error: trainyard_connector::ConnectorError) -> Error {
    let code = if error.kind == Kind::Restarted { "agent_restarted" } else { "agent_silent" };
    Error::new(ErrorKind::Provider, code, "the agent did not answer as it should").because(error)
}
