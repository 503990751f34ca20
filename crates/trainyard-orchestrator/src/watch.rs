//! What this process knows of a rented machine beside its agent. All of it can be lost: it is found out again.

use std::time::Duration;

use tokio::time::Instant;
use trainyard_domain::Timestamp;

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
    /// Until when it was to be kept when that was last changed, by our clock, and by the one that cannot be set.
    pub(crate) kept: Option<(Timestamp, Instant)>,
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

    /// How long the machine is still kept, where our clock says that long. A clock that is set back keeps nothing longer
    /// than it was to be kept when this was last heard.
    pub(crate) fn still_kept(&mut self, until: Timestamp, left: Duration) -> Duration {
        let now = Instant::now();
        match self.kept {
            Some((known, at)) if known == until => at.saturating_duration_since(now).min(left),
            Some(_) | None => {
                self.kept = Some((until, now + left));
                left
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_longer() {
        let (mut watch, until) = (Watch::default(), Timestamp::UNIX_EPOCH);
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3660));
        assert_eq!(watch.still_kept(until, minute), minute);
        assert!(watch.still_kept(until, hour) <= minute, "the clock was set back");
        assert_eq!(watch.still_kept(until, Duration::ZERO), Duration::ZERO, "it was set ahead");
        assert_eq!(
            watch.still_kept(until + chrono::TimeDelta::hours(1), hour),
            hour,
            "it is to be kept longer"
        );
    }
}
