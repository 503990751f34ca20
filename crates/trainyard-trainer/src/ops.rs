//! The operations of a Llama with a backward pass, and of its loss.
//!
//! candle's fused softmax, norm and rotary kernels have no backward pass, so these are the slow
//! forms. Promises: a frozen weight gets no gradient computed, which saves a third of the work.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

/// Matrix products of fewer multiplications than this stay on one thread: about 3 ms of work. Measured on two
/// cores: smaller ones gain nothing from a second thread, and lose tenfold where others want the cores too.
const ONE_THREAD_WORK: usize = 1 << 26;

/// Says from which size on a matrix product is shared among threads; for the whole process. The result is
/// the same bits for any number of threads.
pub(crate) fn keep_small_products_on_one_thread() {
    gemm::set_threading_threshold(ONE_THREAD_WORK);
}

/// `x @ weightᵀ` for `x: [rows, in]` and a weight `[out, in]` that does not learn.
pub(crate) fn frozen_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, FrozenLinear)
}

/// A matrix product that computes no gradient for its right side.
struct FrozenLinear;

impl CustomOp2 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inner) = xl.shape().dims2()?;
        let (out, _) = wl.shape().dims2()?;
        let product = x.matmul(w, (1, rows, out, inner), xl, &wl.transpose(0, 1)?)?;
        Ok((product, Shape::from((rows, out))))
    }

    fn bwd(
        &self,
        _: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.matmul(w)?), None))
    }
}

/// Root-mean-square norm over the last dimension.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    x.broadcast_mul(&inverse)?.broadcast_mul(weight)
}

/// Softmax over the last dimension.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let highest = x.max_keepdim(D::Minus1)?.detach();
    let exp = x.broadcast_sub(&highest)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Rotary embedding in the layout of Hugging Face (first half against second half), for
/// `x: [batch, heads, time, head_dim]` and `cos`, `sin: [time, head_dim / 2]`.
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (low, high) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (low.broadcast_mul(cos)? - high.broadcast_mul(sin)?)?;
    let second = (high.broadcast_mul(cos)? + low.broadcast_mul(sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// The sum over rows of the cross entropy of `logits: [rows, vocabulary]` with `targets: [rows]`.
pub(crate) fn cross_entropy_sum(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let highest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&highest)?;
    let normaliser = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?;
    (normaliser - chosen)?.sum_all()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn a_frozen_product_is_the_product_and_its_input_gets_the_same_gradient() {
        let x = Var::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
        let w = Tensor::new(&[[1f32, 0.5, -1.0], [2.0, -3.0, 0.25]], &Device::Cpu).unwrap();
        let frozen = frozen_linear(&x, &w).unwrap();
        let plain = x.matmul(&w.t().unwrap()).unwrap();
        assert_eq!(frozen.to_vec2::<f32>().unwrap(), plain.to_vec2::<f32>().unwrap());
        let gradient = |y: Tensor| {
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            grads.get(&x).unwrap().to_vec2::<f32>().unwrap()
        };
        assert_eq!(gradient(frozen), gradient(plain));
    }

    #[test]
    fn cross_entropy_of_even_logits_is_the_logarithm_of_the_vocabulary() {
        let logits = Tensor::zeros((3, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let targets = Tensor::new(&[0u32, 3, 7], &Device::Cpu).unwrap();
        let sum = cross_entropy_sum(&logits, &targets).unwrap().to_scalar::<f32>().unwrap();
        assert!((sum - 3.0 * 8f32.ln()).abs() < 1e-5, "{sum}");
    }
}
