//! What is done on a clock: rings for due jobs and free slots, and retention.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use trainyard_domain::ProviderName;

use crate::core::Core;
use crate::retention::retain;

/// Rounds from one look through the files that are kept to the next.
const FILES_EVERY: u64 = 10;
/// Jobs rung for at once.
const DUE_JOBS: usize = 1000;
/// Jobs that are taken up at once after a start, in their order; more come when they are due.
const TAKEN_UP_MAX: usize = 100_000;

/// Rings for jobs whose time has come. Bells are faster; this finds what a crash or a lost bell left.
pub(crate) async fn ring_due(core: Arc<Core>) {
    let mut ticks = interval(core.policy.due_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = core.closed() => return,
        }
        match core.storage.due(core.clock.now(), DUE_JOBS).await {
            Ok((due, _)) => due.iter().for_each(|id| core.queue.ring(id)),
            Err(error) => tracing::warn!(error = %error, "due jobs could not be read"),
        }
    }
}

/// Takes up what was under way before the start, at once: makes the lines as they were, in the order the jobs were
/// submitted, and rings for every job that is not at rest. To be called before the first look at a job.
pub(crate) async fn take_up(core: &Core) {
    for (name, provider) in &core.providers {
        if !provider.connector.info().capabilities.queue {
            continue;
        }
        match core.storage.waiting(name, TAKEN_UP_MAX).await {
            Ok(waiting) => {
                waiting.iter().for_each(|id| core.queue.ring(id));
                provider.line.restore(waiting);
            }
            Err(error) => tracing::warn!(error = %error, "waiting jobs could not be read"),
        }
    }
    // What a job was to be looked at next says nothing any more: whoever would have rung for it is gone.
    match core.storage.due(core.clock.now() + chrono::TimeDelta::days(366), TAKEN_UP_MAX).await {
        Ok((due, _)) => due.iter().for_each(|id| core.queue.ring(id)),
        Err(error) => tracing::warn!(error = %error, "the jobs under way could not be read"),
    }
}

/// Wakes the first in line when a provider has room.
pub(crate) async fn ring_free(core: Arc<Core>, name: ProviderName) {
    let Some(provider) = core.providers.get(&name) else { return };
    loop {
        tokio::select! {
            () = provider.connector.capacity_bell() => {}
            () = core.closed() => return,
        }
        if let Some(first) = provider.line.first() {
            core.queue.ring(&first);
        }
    }
}

/// Retention.
pub(crate) async fn keep_house(core: Arc<Core>) {
    let mut round: u64 = 0;
    let mut ticks = interval(core.policy.housekeeping_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = core.closed() => return,
        }
        let files = round.is_multiple_of(FILES_EVERY);
        round = round.wrapping_add(1);
        if let Err(error) = retain(&core, files).await {
            tracing::warn!(error = %error, detail = %error.detail_text(), "retention failed; it is tried again");
        }
    }
}
