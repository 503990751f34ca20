//! AdamW with moments that can be saved, and the clipping of gradients, as PyTorch does both.
//!
//! Plain loops over `f32`: the adapter is small, and the order of the sums never changes.

/// First and second moment of every parameter, and how many updates they have seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdamW {
    pub(crate) updates: u64,
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
}

const BETA_FIRST: f64 = 0.9;
const BETA_SECOND: f64 = 0.999;
const EPSILON: f64 = 1e-8;

impl AdamW {
    /// Moments of zero for parameters with so many numbers each.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let zeros = |sizes: &[usize]| sizes.iter().map(|&n| vec![0.0; n]).collect::<Vec<Vec<f32>>>();
        Self { updates: 0, first: zeros(sizes), second: zeros(sizes) }
    }

    /// To be called once before the parameters of a step are moved.
    pub(crate) fn begin(&mut self) {
        self.updates += 1;
    }

    /// Moves the parameter with this index by its gradient.
    pub(crate) fn apply(
        &mut self,
        index: usize,
        values: &mut [f32],
        gradient: &[f32],
        rate: f64,
        decay: f64,
    ) {
        let keep = (1.0 - rate * decay) as f32;
        let step = (rate / (1.0 - BETA_FIRST.powf(self.updates as f64))) as f32;
        let root = (1.0 - BETA_SECOND.powf(self.updates as f64)).sqrt() as f32;
        let (b1, b2, eps) = (BETA_FIRST as f32, BETA_SECOND as f32, EPSILON as f32);
        let moments = self.first[index].iter_mut().zip(self.second[index].iter_mut());
        for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *value = *value * keep - step * *m / (v.sqrt() / root + eps);
        }
    }
}

/// The norm of all gradients together before they are scaled down to `limit`; no limit when it is 0.
pub(crate) fn clip(gradients: &mut [Vec<f32>], limit: f64) -> f64 {
    let squares: f64 = gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum();
    let norm = squares.sqrt();
    if limit > 0.0 && norm > limit {
        let scale = (limit / (norm + 1e-6)) as f32;
        gradients.iter_mut().flatten().for_each(|g| *g *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by `torch.optim.AdamW([1.0], lr=0.1, weight_decay=0.01)`, gradients 0.5 and then -0.25.
    #[test]
    fn two_updates_agree_with_pytorch() {
        let mut adam = AdamW::new(&[1]);
        let mut value = [1.0f32];
        adam.begin();
        adam.apply(0, &mut value, &[0.5], 0.1, 0.01);
        assert!((value[0] - 0.899).abs() < 1e-6, "{}", value[0]);
        adam.begin();
        adam.apply(0, &mut value, &[-0.25], 0.1, 0.01);
        // m = 0.9*0.05 - 0.025 = 0.02; v = 0.999*0.00025 + 0.0000625 = 0.00031225
        let expected = 0.899 * 0.999 - 0.1 * (0.02 / 0.19) / ((0.000_312_25f64 / 0.001_999).sqrt() + 1e-8);
        assert!((f64::from(value[0]) - expected).abs() < 1e-6, "{} {expected}", value[0]);
    }

    #[test]
    fn clipping_keeps_the_direction_and_says_the_norm_before() {
        let mut gradients = vec![vec![3.0f32], vec![4.0]];
        assert!((clip(&mut gradients, 1.0) - 5.0).abs() < 1e-9);
        assert!((gradients[0][0] - 0.6).abs() < 1e-5 && (gradients[1][0] - 0.8).abs() < 1e-5);
        let mut small = vec![vec![0.3f32]];
        clip(&mut small, 1.0);
        clip(&mut small, 0.0);
        assert_eq!(small[0][0], 0.3);
    }
}
