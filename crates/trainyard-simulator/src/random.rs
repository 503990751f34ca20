//! Chance by seed: the same seed gives the same world.

/// A small generator (splitmix64): good enough for names and dice, of no use for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True with that probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds.
        let drawn = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        drawn < probability
    }

    /// A word of `length` signs of an alphabet of ASCII.
    pub(crate) fn word(&mut self, alphabet: &[u8], length: usize) -> String {
        let signs = alphabet.len().max(1) as u64;
        let sign = |number: u64| alphabet.get((number % signs) as usize).copied().unwrap_or(b'x');
        (0..length).map(|_| char::from(sign(self.next()))).collect()
    }
}
