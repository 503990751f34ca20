//! What the last readings showed of each instance, so that nothing is asked twice and no single flicker is believed.
//!
//! One listing serves every job: it brings the addresses of all agents too. Lost with the process; the next reading
//! brings it back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trainyard_connector::{Arch, MachinePhase};

use crate::map::Reading;

/// How long a reading that showed no address yet is believed, so that many callers do not each ask.
const FRESH: Duration = Duration::from_secs(3);
/// Readings in a row that must say the same where one is not enough.
const READINGS: u32 = 2;

/// Where an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) arch: Arch,
}

/// Whether an address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// There.
    At(SocketAddr, Arch),
    /// It was looked for a moment ago and had none.
    NotYet,
    /// Nobody looked lately.
    Unknown,
}

#[derive(Debug)]
struct Known {
    place: Place,
    read: Instant,
    /// The agent did not answer there: it may have moved.
    doubted: bool,
    /// Readings in a row that said, unsurely, that it is broken.
    broken: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    known: Mutex<HashMap<u64, Known>>,
    listed: Mutex<Option<Instant>>,
}

impl Seen {
    /// Notes a reading of an instance, and says what to make of it after those before.
    pub(crate) fn note(
        &self,
        id: u64,
        place: Place,
        reading: Reading,
        word: &str,
        now: Instant,
    ) -> MachinePhase {
        let mut known = lock(&self.known);
        let before = known.get(&id).map_or(0, |known| known.broken);
        let broken = if reading.sure { 0 } else { before.saturating_add(1) };
        known.insert(id, Known { place, read: now, doubted: false, broken });
        if reading.sure || broken >= READINGS {
            reading.phase
        } else {
            MachinePhase::Unknown(word.to_owned())
        }
    }

    /// A whole listing that began at `began` is noted: what it did not show is forgotten, unless it was read since.
    pub(crate) fn listed(&self, ids: &[u64], began: Instant, now: Instant) {
        lock(&self.known).retain(|id, known| ids.contains(id) || known.read > began);
        *lock(&self.listed) = Some(now);
    }

    /// Where the agent of an instance is.
    pub(crate) fn whereabouts(&self, id: u64, now: Instant) -> Whereabouts {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < FRESH;
        let known = lock(&self.known);
        match known.get(&id) {
            Some(Known { place: Place { address: Some(address), arch }, doubted, read, .. })
                if !doubted || fresh(read) =>
            {
                Whereabouts::At(*address, *arch)
            }
            Some(known) if known.place.address.is_none() && fresh(&known.read) => Whereabouts::NotYet,
            None if lock(&self.listed).as_ref().is_some_and(fresh) => Whereabouts::NotYet,
            _ => Whereabouts::Unknown,
        }
    }

    /// The agent did not answer where it was seen: ports and addresses change when a container is stopped and started.
    pub(crate) fn doubt(&self, id: u64) {
        if let Some(known) = lock(&self.known).get_mut(&id) {
            known.doubted = true;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};
    use trainyard_connector::{Arch, MachinePhase};

    use super::{Place, Seen, Whereabouts};
    use crate::map::Reading;

    fn place(address: Option<&str>) -> Place {
        Place { address: address.map(|text| text.parse().expect("an address")), arch: Arch::X86_64 }
    }

    fn up() -> Reading {
        Reading { phase: MachinePhase::Up, sure: true }
    }

    fn stopped() -> Reading {
        let phase = MachinePhase::Broken { what: "stopped".to_owned(), elsewhere: true };
        Reading { phase, sure: false }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_flicker_is_not_believed_and_two_are() {
        let seen = Seen::default();
        let note = |reading| seen.note(1, place(None), reading, "exited", Instant::now());
        assert_eq!(note(stopped()), MachinePhase::Unknown("exited".to_owned()));
        assert_eq!(note(up()), MachinePhase::Up);
        assert_eq!(note(stopped()), MachinePhase::Unknown("exited".to_owned()));
        assert!(matches!(note(stopped()), MachinePhase::Broken { .. }));
    }

    #[test]
    fn an_address_is_kept_until_nobody_answers_there() {
        let (seen, start) = (Seen::default(), Instant::now());
        assert_eq!(seen.whereabouts(1, start), Whereabouts::Unknown);
        seen.note(1, place(None), up(), "", start);
        assert_eq!(seen.whereabouts(1, start), Whereabouts::NotYet);
        let later = start + seconds(4);
        assert_eq!(seen.whereabouts(1, later), Whereabouts::Unknown, "an old reading is made anew");
        seen.note(1, place(Some("1.2.3.4:5")), up(), "", later);
        let there = Whereabouts::At("1.2.3.4:5".parse().expect("an address"), Arch::X86_64);
        let later = later + seconds(4);
        assert_eq!(seen.whereabouts(1, later), there);
        seen.doubt(1);
        assert_eq!(seen.whereabouts(1, later), Whereabouts::Unknown);
        seen.note(1, place(Some("1.2.3.4:5")), up(), "", later);
        assert_eq!(seen.whereabouts(1, later), there);
    }

    #[test]
    fn what_a_listing_does_not_show_is_forgotten() {
        let (seen, start) = (Seen::default(), Instant::now());
        seen.note(1, place(Some("1.2.3.4:5")), up(), "", start);
        let began = start + seconds(1);
        seen.note(2, place(Some("1.2.3.4:6")), up(), "", start + seconds(2));
        seen.listed(&[], began, start + seconds(3));
        assert_eq!(seen.whereabouts(1, start + seconds(3)), Whereabouts::NotYet, "just looked for");
        assert!(matches!(seen.whereabouts(2, start + seconds(3)), Whereabouts::At(..)), "ordered meanwhile");
    }
}
