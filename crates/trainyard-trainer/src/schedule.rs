//! The learning rate over the steps, as Hugging Face's schedulers of the same names give it.

use serde::Deserialize;

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Schedule {
    /// Falls in a straight line to zero.
    Linear,
    /// Falls along half a cosine to zero.
    Cosine,
    /// Never moves and has no warm-up.
    Constant,
    /// Never moves once it is warm.
    ConstantWithWarmup,
}

impl Schedule {
    /// The factor of the learning rate for a step counted from one, of `total` steps.
    ///
    /// The first step of a warm-up has factor 0, as in Transformers.
    pub(crate) fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        let done = step.saturating_sub(1);
        if self != Self::Constant && done < warmup {
            return done as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let progress = (done.saturating_sub(warmup) as f64 / span).min(1.0);
        match self {
            Self::Linear => 1.0 - progress,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Self::Constant | Self::ConstantWithWarmup => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_transformers() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(Schedule::Linear.factor(1, 0, 10), 1.0);
        near(Schedule::Linear.factor(10, 0, 10), 0.1);
        near(Schedule::Linear.factor(3, 4, 10), 0.5);
        near(Schedule::Linear.factor(8, 4, 10), 0.5);
        near(Schedule::Cosine.factor(6, 0, 10), 0.5);
        near(Schedule::Constant.factor(1, 4, 10), 1.0);
        near(Schedule::ConstantWithWarmup.factor(2, 4, 10), 0.25);
        near(Schedule::ConstantWithWarmup.factor(9, 4, 10), 1.0);
    }

    #[test]
    fn a_warmup_longer_than_the_training_only_rises() {
        let factors: Vec<f64> = (1..=5).map(|s| Schedule::Linear.factor(s, 100, 5)).collect();
        assert!(factors.is_sorted() && factors[4] < 0.05);
    }
}
