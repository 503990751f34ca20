//! Chance that can be thrown again: everything random in a scenario comes from its seed.

use std::time::Duration;

/// A generator (SplitMix64): small, quick, the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed. Different purposes take different salts, so that one does not shift the other.
    pub fn of(seed: u64, salt: u64) -> Dice {
        let mut dice = Dice(seed ^ salt.wrapping_mul(0xd605_1d2f_93a4_07c5));
        dice.next();
        dice
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number from `least` to `most`, both included.
    pub fn from_to(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so many times in a thousand.
    pub fn hits(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }

    /// A time of so many milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.from_to(least, most))
    }

    /// One of those.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(at).copied()
    }
}
