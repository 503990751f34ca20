//! Chance that can be repeated.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Dice of a seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Of the seed that `TRAINYARD_KILLS_SEED` names, else of another one each time; says which.
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    pub(crate) fn new(what: &str) -> Dice {
        let named = std::env::var("TRAINYARD_KILLS_SEED").ok().and_then(|text| text.parse().ok());
        let seed = named.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish() >> 16);
        trainyard_tests::say(&format!("{what}: TRAINYARD_KILLS_SEED={seed}"));
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    /// Up to so many milliseconds.
    pub(crate) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }
}
