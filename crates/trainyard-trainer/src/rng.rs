//! Random numbers that depend on nothing but their key.
//!
//! Promises: the same key gives the same numbers on every machine and after every resumption, since
//! no state is carried from step to step. Not for secrets.

/// What a stream of random numbers is for; two purposes never share numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Initial weights.
    Init = 1,
    /// The order of the records in one epoch.
    Shuffle = 2,
    /// Which inputs of an adapter are dropped.
    Dropout = 3,
    /// Which records are held out.
    HoldOut = 4,
    /// Which windows of text the bundled base is trained on.
    Window = 5,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and passes BigCrush.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// A stream for one purpose; `a` and `b` are what it is counted by (step, layer, epoch).
    pub(crate) fn keyed(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut state = 0x7472_6169_6e79_6172_u64;
        for word in [seed, purpose as u64, a, b] {
            state = mix(state ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(word);
        }
        Self { state }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Even over `[0, 1)`, 24 bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Even over `0..bound`; `bound` is at least one.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.word()) * bound as u128) >> 64) as usize
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.unit());
        (radius * angle.cos()) as f32
    }

    /// The numbers `0..len` in random order (Fisher and Yates).
    pub(crate) fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_every_part_of_the_key() {
        let first = |s, p, a, b| Rng::keyed(s, p, a, b).word();
        let base = first(1, Purpose::Dropout, 2, 3);
        assert_eq!(base, first(1, Purpose::Dropout, 2, 3));
        for other in [
            first(2, Purpose::Dropout, 2, 3),
            first(1, Purpose::Shuffle, 2, 3),
            first(1, Purpose::Dropout, 3, 2),
            first(1, Purpose::Dropout, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn numbers_are_even_and_orders_complete() {
        let mut rng = Rng::keyed(7, Purpose::Init, 0, 0);
        let mean = (0..10_000).map(|_| f64::from(rng.unit())).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let spread = (0..10_000).map(|_| f64::from(rng.normal()).powi(2)).sum::<f64>() / 10_000.0;
        assert!((spread - 1.0).abs() < 0.1, "{spread}");
        let mut order = rng.permutation(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
