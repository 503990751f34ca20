//! What this process knows of a rented machine beside its agent. All of it can be lost: it is found out again.

use std::time::Duration;

use tokio::time::Instant;

use crate::link::Silence;

/// One rented machine.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How long it could not be reached at all.
    pub(crate) unreached: Silence,
    /// When the vendor's log of it was last read.
    pub(crate) log_read: Option<Instant>,
    /// Lines of it that were taken, of a vendor that gives no cursor.
    pub(crate) log_lines: usize,
    /// By that log it will not come up: what is wrong, and whether another machine could help.
    pub(crate) broken: Option<(String, bool)>,
    /// Its removal was accepted by the vendor.
    pub(crate) release_asked: Option<Instant>,
    /// Why it cannot remove itself, as its agent told.
    pub(crate) not_removable: Option<String>,
    /// Its price was remarked on.
    pub(crate) price_told: bool,
}

impl Watch {
    /// Whether the vendor's log may be read again now; notes that it is.
    pub(crate) fn may_read_log(&mut self, every: Duration) -> bool {
        let due = self.log_read.is_none_or(|at| at.elapsed() >= every);
        if due {
            self.log_read = Some(Instant::now());
        }
        due
    }
}
