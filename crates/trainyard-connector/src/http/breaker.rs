//! An operation that keeps failing is left alone for a while: it costs neither the vendor nor our callers anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = super::retry::TRIES_MAX;
/// How long it stays open before one call may look.
const OPEN_FOR: Duration = Duration::from_secs(10);

/// One breaker per operation.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    operations: Mutex<HashMap<&'static str, State>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    failures: u32,
    /// Open until then; afterwards one call at a time looks whether it is better.
    until: Option<Instant>,
    looking: bool,
}

/// The right to make one try. Dropped without a verdict, as by a cancelled call, it changes nothing.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breakers: &'a Breakers,
    op: &'static str,
    looks: bool,
}

impl Breakers {
    /// The right to try; or how long it stays open.
    pub(super) fn enter(&self, op: &'static str, now: Instant) -> Result<Permit<'_>, Duration> {
        let mut operations = self.lock();
        let state = operations.entry(op).or_default();
        let looks = match state.until {
            None => false,
            Some(until) if now < until => return Err(until - now),
            Some(_) if state.looking => return Err(OPEN_FOR),
            Some(_) => true,
        };
        state.looking |= looks;
        Ok(Permit { breakers: self, op, looks })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, State>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// What the try showed.
    pub(super) fn verdict(self, alive: bool, now: Instant) {
        let mut operations = self.breakers.lock();
        let state = operations.entry(self.op).or_default();
        if alive {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.until = Some(now + OPEN_FOR);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.looks {
            self.breakers.lock().entry(self.op).or_default().looking = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breakers: &Breakers, times: u32, at: Instant) {
        for _ in 0..times {
            breakers.enter("list", at).expect("closed").verdict(false, at);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_ten_seconds() {
        let (breakers, at) = (Breakers::default(), Instant::now());
        fail(&breakers, 4, at);
        breakers.enter("list", at).expect("closed").verdict(true, at);
        fail(&breakers, 5, at);
        assert_eq!(breakers.enter("list", at).expect_err("open"), Duration::from_secs(10));
        assert!(breakers.enter("order", at).is_ok(), "another operation is not touched");
        let later = at + Duration::from_secs(9);
        assert_eq!(breakers.enter("list", later).expect_err("open"), Duration::from_secs(1));
    }

    #[test]
    fn then_one_call_at_a_time_looks() {
        let (breakers, at) = (Breakers::default(), Instant::now());
        fail(&breakers, 5, at);
        let later = at + Duration::from_secs(10);
        let first = breakers.enter("list", later).expect("half open");
        breakers.enter("list", later).expect_err("one looks already");
        drop(first);
        breakers.enter("list", later).expect("the first one was dropped").verdict(false, later);
        breakers.enter("list", later).expect_err("open again");
        let at = later + Duration::from_secs(10);
        breakers.enter("list", at).expect("half open").verdict(true, at);
        fail(&breakers, 4, at);
        assert!(breakers.enter("list", at).is_ok(), "failures are counted anew");
    }
}
