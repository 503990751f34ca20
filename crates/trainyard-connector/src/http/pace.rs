//! Whose turn it is: a token bucket per key and operation, for the whole process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{Auth, HttpConfig, Pace, WAIT_MAX};

/// The paces of one key. Turns are given in the order they are asked for; one that is not used is lost.
#[derive(Debug)]
pub(super) struct Pacer {
    paces: Vec<Pace>,
    /// When each pace would be at rest again, and until when each operation is to be left alone.
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    at: Vec<Option<Instant>>,
    held: HashMap<&'static str, Instant>,
}

impl Pacer {
    fn new(paces: Vec<Pace>) -> Pacer {
        let at = vec![None; paces.len()];
        Pacer { paces, rest: Mutex::new(Rest { at, held: HashMap::new() }) }
    }

    /// The pacer of that key: the same one for everybody in this process who speaks to the same address with it.
    pub(super) fn of(config: &HttpConfig) -> Arc<Pacer> {
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static ALL: LazyLock<Mutex<HashMap<u64, Weak<Pacer>>>> = LazyLock::new(Mutex::default);
        let key = match &config.auth {
            Auth::Bearer(key) | Auth::BasicUser(key) => key.expose_secret(),
            Auth::None => "",
        };
        // A number that nothing can be read from, in place of the key.
        let name = SEED.hash_one((config.provider.as_str(), &config.base_url, key, &config.paces));
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, pacer| pacer.strong_count() > 0);
        if let Some(pacer) = all.get(&name).and_then(Weak::upgrade) {
            return pacer;
        }
        let pacer = Arc::new(Pacer::new(config.paces.clone()));
        all.insert(name, Arc::downgrade(&pacer));
        pacer
    }

    /// Takes a turn of one bucket (an operation's own, or `*`) and tells how long until it comes. One that is further
    /// off than `at_most` is not taken; the error tells how far. A call takes its operation's turn, waits for it, and
    /// only then one of everybody's: else an order that waits would keep others from turns before its own.
    pub(super) fn turn(
        &self,
        bucket: &'static str,
        now: Instant,
        at_most: Duration,
    ) -> Result<Duration, Duration> {
        let mut rest = self.lock();
        let mut start = now.max(rest.held.get(bucket).copied().unwrap_or(now));
        let mine = |pace: &Pace| pace.op == bucket;
        for (pace, at) in self.paces.iter().zip(&rest.at).filter(|(pace, _)| mine(pace)) {
            if let Some(at) = at {
                let slack = pace.every * pace.burst.max(1).saturating_sub(1);
                start = start.max(at.checked_sub(slack).unwrap_or(now));
            }
        }
        let wait = start - now;
        if wait > at_most {
            return Err(wait);
        }
        for (pace, at) in self.paces.iter().zip(&mut rest.at).filter(|(pace, _)| mine(pace)) {
            *at = Some(at.map_or(start, |at| at.max(start)) + pace.every);
        }
        Ok(wait)
    }

    /// Leaves an operation alone for that long, at most [`WAIT_MAX`]: the vendor asked for it.
    pub(super) fn hold(&self, op: &'static str, now: Instant, wait: Duration) {
        let until = now + wait.min(WAIT_MAX);
        let mut rest = self.lock();
        let held = rest.held.entry(op).or_insert(until);
        *held = until.max(*held);
    }

    /// The longest time between two calls of an operation.
    pub(super) fn every(&self, op: &'static str) -> Duration {
        let touched = self.paces.iter().filter(|pace| pace.op == op || pace.op == "*");
        touched.map(|pace| pace.every).max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    fn pacer() -> Pacer {
        Pacer::new(vec![
            Pace { op: "*", every: SECOND, burst: 2 },
            Pace { op: "order", every: SECOND * 12, burst: 1 },
        ])
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_pace() {
        let (pacer, at) = (pacer(), Instant::now());
        let turns: Vec<_> = (0..5).map(|_| pacer.turn("*", at, WAIT_MAX).expect("a turn")).collect();
        assert_eq!(turns, [AT_ONCE, AT_ONCE, SECOND, SECOND * 2, SECOND * 3]);
        let rested = at + SECOND * 60;
        let turns: Vec<_> = (0..3).map(|_| pacer.turn("*", rested, WAIT_MAX).expect("a turn")).collect();
        assert_eq!(turns, [AT_ONCE, AT_ONCE, SECOND]);
    }

    #[test]
    fn an_order_that_waits_keeps_nobody_else() {
        let (pacer, at) = (pacer(), Instant::now());
        assert_eq!(pacer.turn("order", at, WAIT_MAX), Ok(AT_ONCE));
        assert_eq!(pacer.turn("order", at, WAIT_MAX), Ok(SECOND * 12));
        assert_eq!(pacer.turn("*", at, WAIT_MAX), Ok(AT_ONCE));
        assert_eq!(pacer.turn("list", at, WAIT_MAX), Ok(AT_ONCE), "it has no pace of its own");
        assert_eq!(pacer.every("order"), SECOND * 12);
        assert_eq!(pacer.every("list"), SECOND);
    }

    #[test]
    fn a_turn_too_far_off_is_refused_and_not_taken() {
        let (pacer, at) = (pacer(), Instant::now());
        for n in 0..6 {
            assert_eq!(pacer.turn("order", at, WAIT_MAX), Ok(SECOND * 12 * n));
        }
        assert_eq!(pacer.turn("order", at, WAIT_MAX), Err(SECOND * 72));
        assert_eq!(pacer.turn("order", at, WAIT_MAX), Err(SECOND * 72));
        assert_eq!(pacer.turn("order", at + SECOND * 12, WAIT_MAX), Ok(SECOND * 60));
    }

    #[test]
    fn an_operation_that_was_sent_away_waits_and_no_other() {
        let (pacer, at) = (pacer(), Instant::now());
        pacer.hold("list", at, SECOND * 5);
        pacer.hold("list", at, SECOND);
        assert_eq!(pacer.turn("list", at, WAIT_MAX), Ok(SECOND * 5));
        let pacer = self::pacer();
        pacer.hold("list", at, SECOND * 5);
        assert_eq!(pacer.turn("look", at, WAIT_MAX), Ok(AT_ONCE));
        pacer.hold("list", at, SECOND * 5000);
        assert_eq!(pacer.turn("list", at + SECOND * 60, WAIT_MAX), Ok(AT_ONCE), "at most a minute");
    }

    #[test]
    fn a_key_has_one_pacer_in_a_process() {
        let config = |key: &str| {
            let auth = Auth::Bearer(SecretString::from(key));
            HttpConfig::new("a-cloud".parse().expect("a name"), "http://127.0.0.1:9", auth)
        };
        let one = Pacer::of(&config("k1"));
        assert!(Arc::ptr_eq(&one, &Pacer::of(&config("k1"))));
        assert!(!Arc::ptr_eq(&one, &Pacer::of(&config("k2"))));
    }
}
