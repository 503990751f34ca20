//! Records put side by side, and the order in which an epoch visits them.
//!
//! Promises: the order depends on seed and epoch alone, and every record comes once an epoch.

use crate::data::Sample;
use crate::rng::{Purpose, Rng};

/// Records padded to one length, ready for a forward pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) rows: usize,
    pub(crate) time: usize,
    /// `rows * time` tokens.
    pub(crate) inputs: Vec<u32>,
    /// The places in `inputs` after which a token that counts comes …
    pub(crate) labelled_rows: Vec<u32>,
    /// … and that token.
    pub(crate) targets: Vec<u32>,
    /// Tokens without padding.
    pub(crate) tokens: usize,
}

impl Batch {
    /// Pads on the right, where the causal mask keeps the padding from being seen.
    pub(crate) fn new(samples: &[&Sample]) -> Self {
        let time = samples.iter().map(|sample| sample.ids.len().saturating_sub(1)).max().unwrap_or(0).max(1);
        let mut batch = Self {
            rows: samples.len(),
            time,
            inputs: vec![0; samples.len() * time],
            labelled_rows: Vec::new(),
            targets: Vec::new(),
            tokens: 0,
        };
        for (row, sample) in samples.iter().enumerate() {
            batch.tokens += sample.ids.len();
            for (at, pair) in sample.ids.windows(2).enumerate() {
                batch.inputs[row * time + at] = pair[0];
                if sample.counts[at + 1] {
                    batch.labelled_rows.push((row * time + at) as u32);
                    batch.targets.push(pair[1]);
                }
            }
        }
        batch
    }
}

/// Where a step stands in the epochs, for steps counted from one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    samples: usize,
    per_step: usize,
    seed: u64,
}

impl Rounds {
    /// `samples` and `per_step` (batch × accumulation) are at least one.
    pub(crate) fn new(samples: usize, per_step: usize, seed: u64) -> Self {
        Self { samples, per_step, seed }
    }

    /// Steps of one epoch; the last one may have fewer records.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.per_step) as u64
    }

    /// The records that a step learns from.
    pub(crate) fn records(&self, step: u64) -> Vec<usize> {
        let done = step.saturating_sub(1);
        let (epoch, within) = (done / self.steps_per_epoch(), done % self.steps_per_epoch());
        let order = Rng::keyed(self.seed, Purpose::Shuffle, epoch, 0).permutation(self.samples);
        order.into_iter().skip(within as usize * self.per_step).take(self.per_step).collect()
    }
}

/// Cuts records, joined end to end, into pieces of exactly `length` tokens; the last may be shorter.
pub(crate) fn pack(samples: &[Sample], length: usize) -> Vec<Sample> {
    let ids: Vec<u32> = samples.iter().flat_map(|sample| sample.ids.iter().copied()).collect();
    let counts: Vec<bool> = samples.iter().flat_map(|sample| sample.counts.iter().copied()).collect();
    ids.chunks(length)
        .zip(counts.chunks(length))
        .map(|(ids, counts)| Sample { ids: ids.to_vec(), counts: counts.to_vec() })
        .filter(|sample| sample.counts.iter().skip(1).any(|counts| *counts))
        .collect()
}

/// Splits off a part for evaluation: at least one record, none where there are fewer than ten.
pub(crate) fn hold_out(samples: Vec<Sample>, part: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let count = (samples.len() as f64 * part).round() as usize;
    if samples.len() < 10 || part == 0.0 {
        return (samples, Vec::new());
    }
    let mut held = vec![false; samples.len()];
    let order = Rng::keyed(seed, Purpose::HoldOut, 0, 0).permutation(samples.len());
    order.iter().take(count.max(1)).for_each(|index| held[*index] = true);
    let (out, kept): (Vec<_>, Vec<_>) = samples.into_iter().zip(held).partition(|(_, held)| *held);
    let bare = |pairs: Vec<(Sample, bool)>| pairs.into_iter().map(|(sample, _)| sample).collect();
    (bare(kept), bare(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ids: &[u32], counts: &[bool]) -> Sample {
        Sample { ids: ids.to_vec(), counts: counts.to_vec() }
    }

    #[test]
    fn targets_are_the_next_tokens_that_count() {
        let (a, b) = (sample(&[1, 2, 3], &[false, false, true]), sample(&[4, 5], &[true, true]));
        let batch = Batch::new(&[&a, &b]);
        assert_eq!((batch.rows, batch.time, batch.tokens), (2, 2, 5));
        assert_eq!(batch.inputs, [1, 2, 4, 0]);
        assert_eq!((batch.labelled_rows, batch.targets), (vec![1, 2], vec![3, 5]));
    }

    #[test]
    fn every_record_comes_once_an_epoch_in_a_new_order() {
        let rounds = Rounds::new(10, 4, 1);
        assert_eq!(rounds.steps_per_epoch(), 3);
        let epoch = |first: u64| (first..first + 3).flat_map(|step| rounds.records(step)).collect::<Vec<_>>();
        let (one, two) = (epoch(1), epoch(4));
        assert_ne!(one, two);
        for mut order in [one, two] {
            order.sort_unstable();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn packing_loses_no_token() {
        let samples: Vec<_> = (0..5).map(|n| sample(&[n, n + 10, n + 20], &[false, true, true])).collect();
        let packed = pack(&samples, 4);
        assert_eq!(packed.len(), 4);
        let joined: Vec<u32> = packed.iter().flat_map(|sample| sample.ids.clone()).collect();
        assert_eq!(joined, samples.iter().flat_map(|sample| sample.ids.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn a_tenth_is_held_out_and_nothing_of_few_records() {
        let many: Vec<_> = (0..40).map(|n| sample(&[n], &[true])).collect();
        let (kept, out) = hold_out(many.clone(), 0.1, 3);
        assert_eq!((kept.len(), out.len()), (36, 4));
        assert_eq!(hold_out(many.clone(), 0.1, 3).1, out);
        assert!(hold_out(many[..9].to_vec(), 0.1, 3).1.is_empty());
    }
}
