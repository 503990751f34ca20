//! The guard of the sweep: whether this database is the one that our machines were ordered with.
//!
//! Every order is written down before it goes out, so a machine that bears our mark and that the ledger does not know is
//! an orphan, unless the ledger is not the one it was ordered with: a backup was put back, or the database is gone.
//! Two things tell that. Storage finds a database that is older than its directory. And an order's name tells when it
//! was made: one from after this database was last in use, and from before this process, was made with another. From
//! then on unknown machines are only reported, over restarts too, until `recover` has run.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::{OnceCell, watch};
use tokio::time::{MissedTickBehavior, interval};
use trainyard_domain::{OrderName, Timestamp};
use trainyard_storage::NOTE_BEHIND;

use crate::Error;
use crate::bells::lock;
use crate::core::Core;

/// The note of when this database was last in use, in milliseconds since 1970.
const NOTE_USED: &str = "used_at_ms";

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard {
    /// When this process began: what was ordered later was ordered by it, however late the database could be read.
    began: Timestamp,
    /// Read once, before anything is swept.
    used: OnceCell<Used>,
    /// Whether unknown machines are only reported.
    holds: watch::Sender<bool>,
    /// Orders that were reported in the log.
    told: Mutex<HashSet<OrderName>>,
    /// Held while machines are handed back or adopted, so that nothing is handed back that is being adopted.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Guard {
    /// The guard of a process that began at that moment.
    pub(crate) fn new(began: Timestamp) -> Guard {
        Guard {
            began,
            used: OnceCell::new(),
            holds: watch::channel(false).0,
            told: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

/// When this database was in use.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// Until when before this process; none where it never was.
    before: Option<Timestamp>,
    /// Since when by this process.
    since: Timestamp,
}

impl Guard {
    /// Reads what this database remembers, once.
    ///
    /// # Errors
    /// Where storage fails; it is read with the next call then.
    pub(crate) async fn open(&self, core: &Core) -> Result<(), Error> {
        let read = async || {
            if core.storage.note(NOTE_BEHIND).await? == Some(1) {
                self.holds.send_replace(true);
            }
            let before = core.storage.note(NOTE_USED).await?.and_then(Timestamp::from_timestamp_millis);
            Ok::<_, Error>(Used { before, since: self.began })
        };
        self.used.get_or_try_init(read).await.map(|_| ())
    }

    /// Whether unknown machines are only reported.
    pub(crate) fn holds(&self) -> bool {
        *self.holds.borrow()
    }

    /// Whether an order that the ledger does not know must be left alone. Where its name shows for the first time that
    /// another database was in use, that is remembered.
    ///
    /// # Errors
    /// Where storage fails; nothing may be handed back then.
    pub(crate) async fn spares(&self, core: &Core, order: &OrderName) -> Result<bool, Error> {
        self.open(core).await?;
        if !self.holds() {
            let Some(used) = self.used.get() else { return Ok(true) };
            if !is_beyond(order.made_at(), core.installation.made_at(), used) {
                return Ok(false);
            }
            core.storage.put_note(NOTE_BEHIND, 1).await?;
            self.holds.send_replace(true);
        }
        if lock(&self.told).insert(order.clone()) {
            tracing::warn!(
                %order,
                "a machine of ours is not in this database, which is older than it: run `trainyard recover`"
            );
        }
        Ok(true)
    }

    /// `recover` has run: what is unknown from now on is handed back again.
    ///
    /// # Errors
    /// Where storage fails.
    pub(crate) async fn lift(&self, core: &Core) -> Result<(), Error> {
        core.storage.put_note(NOTE_BEHIND, 0).await?;
        self.holds.send_replace(false);
        lock(&self.told).clear();
        Ok(())
    }
}

/// Whether an order of that moment was made by this installation, before this process and after this database was last
/// in use.
fn is_beyond(made: Option<Timestamp>, installed: Option<Timestamp>, used: &Used) -> bool {
    let Some(made) = made else { return false };
    let ours = installed.is_none_or(|installed| installed <= made);
    ours && made <= used.since && used.before.is_none_or(|before| before < made)
}

/// Notes again and again that this database is in use.
pub(crate) async fn keep(core: Arc<Core>) {
    let mut ticks = interval(core.policy.housekeeping_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = core.closed() => return,
        }
        // What was noted before is read first.
        let noted = match core.guard.open(&core).await {
            Ok(()) => {
                let now = core.clock.now().timestamp_millis();
                core.storage.put_note(NOTE_USED, now).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::warn!(error = %error, detail = %error.detail_text(), "the database's use was not noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn only_what_was_made_between_two_uses_is_beyond_a_database() {
        let used = Used { before: Some(at(100)), since: at(200) };
        let fresh = Used { before: None, since: at(200) };
        // Made, installed, used; beyond.
        let table = [
            (Some(99), Some(10), used, false),
            (Some(100), Some(10), used, false),
            (Some(150), Some(10), used, true),
            (Some(200), Some(10), used, true),
            (Some(201), Some(10), used, false),
            (Some(150), None, used, true),
            (None, Some(10), used, false),
            (Some(9), Some(10), fresh, false),
            (Some(10), Some(10), fresh, true),
            (Some(201), Some(10), fresh, false),
            (Some(9), None, fresh, true),
        ];
        for (made, installed, used, beyond) in table {
            assert_eq!(is_beyond(made.map(at), installed.map(at), &used), beyond, "{made:?} {installed:?}");
        }
    }
}
