//! The adapter: pairs of low-rank matrices beside frozen projections, as PEFT's LoRA.
//!
//! Promises: `A` starts as PEFT starts it (Kaiming, a = √5), `B` at zero, dropout masks depend only on
//! seed, step and place. Leaves files to [`crate::peft`].

use candle_core::{Device, Result, Tensor, Var};

use crate::config::LlamaConfig;
use crate::rng::{Purpose, Rng};
use crate::settings::{LoraSettings, PROJECTIONS};

/// Every pair of one adapter, in the order of the model.
#[derive(Debug)]
pub(crate) struct Adapter {
    pairs: Vec<LoraPair>,
}

/// The two matrices on one projection.
#[derive(Clone, Debug)]
pub(crate) struct LoraPair {
    layer: usize,
    module: &'static str,
    /// Counts places over the whole model, so that no two share a dropout mask.
    site: u64,
    down: Var,
    up: Var,
    scaling: f64,
    dropout: f64,
}

/// What a dropout mask depends on, beside the place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutKey {
    pub(crate) seed: u64,
    /// Micro-batches since the training's beginning.
    pub(crate) micro_step: u64,
}

/// One learning matrix and its name in the adapter's file.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) var: Var,
}

impl Adapter {
    /// A new adapter on every target of every layer.
    pub(crate) fn new(config: &LlamaConfig, settings: &LoraSettings, seed: u64) -> Result<Self> {
        let mut pairs = Vec::new();
        for layer in 0..config.layers {
            for &module in &settings.targets {
                let site = (layer * PROJECTIONS.len()) as u64
                    + PROJECTIONS.iter().position(|name| *name == module).unwrap_or_default() as u64;
                let (inputs, outputs) = shape(config, module);
                let bound = 1.0 / (inputs as f32).sqrt();
                let mut rng = Rng::keyed(seed, Purpose::Init, site, 0);
                let down: Vec<f32> =
                    (0..settings.r * inputs).map(|_| (2.0 * rng.unit() - 1.0) * bound).collect();
                let down = Tensor::from_vec(down, (settings.r, inputs), &Device::Cpu)?;
                let up = Tensor::zeros((outputs, settings.r), candle_core::DType::F32, &Device::Cpu)?;
                pairs.push(LoraPair {
                    layer,
                    module,
                    site,
                    down: Var::from_tensor(&down)?,
                    up: Var::from_tensor(&up)?,
                    scaling: settings.alpha / settings.r as f64,
                    dropout: settings.dropout,
                });
            }
        }
        Ok(Self { pairs })
    }

    /// The pair on this projection of this layer, sharing its matrices with the adapter.
    pub(crate) fn pair(&self, layer: usize, module: &str) -> Option<LoraPair> {
        self.pairs.iter().find(|pair| pair.layer == layer && pair.module == module).cloned()
    }

    /// All matrices with PEFT's names, always in the same order.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let named = |pair: &LoraPair| {
            let stem = format!("base_model.model.model.layers.{}.{}", pair.layer, path(pair.module));
            [
                Parameter { name: format!("{stem}.lora_A.weight"), var: pair.down.clone() },
                Parameter { name: format!("{stem}.lora_B.weight"), var: pair.up.clone() },
            ]
        };
        self.pairs.iter().flat_map(named).collect()
    }
}

impl LoraPair {
    /// What the adapter adds to the projection of `x: [rows, in]`.
    pub(crate) fn forward(&self, x: &Tensor, dropout: Option<&DropoutKey>) -> Result<Tensor> {
        let kept = match dropout {
            Some(key) if self.dropout > 0.0 => (x * self.mask(x, key)?)?,
            Some(_) | None => x.clone(),
        };
        kept.matmul(&self.down.t()?)?.matmul(&self.up.t()?)? * self.scaling
    }

    fn mask(&self, x: &Tensor, key: &DropoutKey) -> Result<Tensor> {
        let mut rng = Rng::keyed(key.seed, Purpose::Dropout, key.micro_step, self.site);
        let (drop, keep) = (self.dropout as f32, (1.0 / (1.0 - self.dropout)) as f32);
        let mask =
            (0..x.elem_count()).map(|_| if rng.unit() < drop { 0.0 } else { keep }).collect::<Vec<f32>>();
        Tensor::from_vec(mask, x.shape(), x.device())
    }
}

/// Where a projection lies within its layer, as Hugging Face names it.
pub(crate) fn path(module: &str) -> String {
    let block = if matches!(module, "gate_proj" | "up_proj" | "down_proj") { "mlp" } else { "self_attn" };
    format!("{block}.{module}")
}

/// Inputs and outputs of a projection.
pub(crate) fn shape(config: &LlamaConfig, module: &str) -> (usize, usize) {
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    match module {
        "q_proj" => (hidden, config.heads * config.head_dim),
        "k_proj" | "v_proj" => (hidden, config.kv_heads * config.head_dim),
        "o_proj" => (config.heads * config.head_dim, hidden),
        "down_proj" => (wide, hidden),
        _ => (hidden, wide),
    }
}
