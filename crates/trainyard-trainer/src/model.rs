//! A Llama with LoRA adapters: forward pass and loss.
//!
//! Promises: the arithmetic of Transformers' `LlamaForCausalLM` with PEFT's LoRA layers, in `f32`.
//! Leaves loading weights to [`crate::base`] and moving parameters to [`crate::train`].

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};

use crate::batch::Batch;
use crate::config::{LlamaConfig, Rope};
use crate::lora::{Adapter, DropoutKey, LoraPair};
use crate::ops;

/// Weights by their Hugging Face names, all `f32`.
pub(crate) type Weights = HashMap<String, Tensor>;

/// A base model and, on some of its projections, an adapter.
#[derive(Debug)]
pub(crate) struct Llama {
    config: LlamaConfig,
    embed: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
    /// Whether the base itself learns (only when the bundled base is made).
    learns: bool,
}

#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    post_norm: Tensor,
    q: Projection,
    k: Projection,
    v: Projection,
    o: Projection,
    gate: Projection,
    up: Projection,
    down: Projection,
}

#[derive(Debug)]
struct Projection {
    weight: Tensor,
    adapter: Option<LoraPair>,
}

/// What a forward pass needs beside its batch.
struct Pass<'a> {
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    dropout: Option<&'a DropoutKey>,
    learns: bool,
}

impl Llama {
    /// Puts the weights together; `adapter` lies on top where one is given.
    ///
    /// The names and shapes are those that [`crate::base`] has checked.
    pub(crate) fn new(
        config: &LlamaConfig,
        weights: &Weights,
        adapter: Option<&Adapter>,
        learns: bool,
    ) -> Result<Self> {
        let take = |name: &str| -> Result<Tensor> {
            weights.get(name).cloned().ok_or_else(|| candle_core::Error::Msg(format!("no weight {name}")))
        };
        let embed = take("model.embed_tokens.weight")?;
        let head = if config.tie_word_embeddings { embed.clone() } else { take("lm_head.weight")? };
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let weight = |name: &str| take(&format!("model.layers.{index}.{name}.weight"));
            let projection = |name: &str| -> Result<Projection> {
                let adapter = adapter.and_then(|adapter| adapter.pair(index, name));
                Ok(Projection { weight: weight(&crate::lora::path(name))?, adapter })
            };
            layers.push(Layer {
                input_norm: weight("input_layernorm")?,
                post_norm: weight("post_attention_layernorm")?,
                q: projection("q_proj")?,
                k: projection("k_proj")?,
                v: projection("v_proj")?,
                o: projection("o_proj")?,
                gate: projection("gate_proj")?,
                up: projection("up_proj")?,
                down: projection("down_proj")?,
            });
        }
        Ok(Self { config: config.clone(), embed, layers, norm: take("model.norm.weight")?, head, learns })
    }

    /// The sum of the losses of all labelled tokens; adapters drop inputs where a key is given.
    pub(crate) fn loss_sum(&self, batch: &Batch, dropout: Option<&DropoutKey>) -> Result<Tensor> {
        let device = &Device::Cpu;
        let hidden = self.hidden(batch, dropout)?;
        let rows = Tensor::from_slice(&batch.labelled_rows, batch.labelled_rows.len(), device)?;
        let targets = Tensor::from_slice(&batch.targets, batch.targets.len(), device)?;
        let logits = linear(&hidden.index_select(&rows, 0)?, &self.head, self.learns)?;
        ops::cross_entropy_sum(&logits, &targets)
    }

    /// The last layer's output after the norm, `[batch * time, hidden]`.
    fn hidden(&self, batch: &Batch, dropout: Option<&DropoutKey>) -> Result<Tensor> {
        let device = &Device::Cpu;
        let (rows, time) = (batch.rows, batch.time);
        let (cos, sin) = rotary(&self.config.rope, self.config.head_dim, time)?;
        let pass = Pass { cos, sin, mask: causal_mask(time)?, dropout, learns: self.learns };
        let ids = Tensor::from_slice(&batch.inputs, rows * time, device)?;
        let mut x = self.embed.index_select(&ids, 0)?;
        let eps = self.config.rms_norm_eps;
        for layer in &self.layers {
            let normed = ops::rms_norm(&x, &layer.input_norm, eps)?;
            x = (x + layer.attention(&self.config, &normed, rows, time, &pass)?)?;
            let normed = ops::rms_norm(&x, &layer.post_norm, eps)?;
            x = (x + layer.feed_forward(&normed, &pass)?)?;
        }
        ops::rms_norm(&x, &self.norm, eps)
    }
}

impl Layer {
    fn attention(
        &self,
        config: &LlamaConfig,
        x: &Tensor,
        rows: usize,
        time: usize,
        pass: &Pass<'_>,
    ) -> Result<Tensor> {
        let heads = |y: Tensor, count: usize| {
            y.reshape((rows, time, count, config.head_dim))?.transpose(1, 2)?.contiguous()
        };
        let q = heads(self.q.forward(x, pass)?, config.heads)?;
        let k = heads(self.k.forward(x, pass)?, config.kv_heads)?;
        let v = heads(self.v.forward(x, pass)?, config.kv_heads)?;
        let q = ops::rotate(&q, &pass.cos, &pass.sin)?;
        let k = repeat_heads(&ops::rotate(&k, &pass.cos, &pass.sin)?, config.heads / config.kv_heads)?;
        let v = repeat_heads(&v, config.heads / config.kv_heads)?;
        let scale = 1.0 / (config.head_dim as f64).sqrt();
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?.broadcast_add(&pass.mask)?;
        let mixed = ops::softmax(&scores)?.matmul(&v)?;
        let mixed = mixed.transpose(1, 2)?.reshape((rows * time, config.heads * config.head_dim))?;
        self.o.forward(&mixed, pass)
    }

    fn feed_forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let gate = self.gate.forward(x, pass)?.silu()?;
        self.down.forward(&(gate * self.up.forward(x, pass)?)?, pass)
    }
}

impl Projection {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let base = linear(x, &self.weight, pass.learns)?;
        match &self.adapter {
            Some(pair) => base + pair.forward(x, pass.dropout)?,
            None => Ok(base),
        }
    }
}

fn linear(x: &Tensor, weight: &Tensor, learns: bool) -> Result<Tensor> {
    if learns { x.matmul(&weight.t()?) } else { ops::frozen_linear(x, weight) }
}

fn repeat_heads(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let (rows, heads, time, dim) = x.dims4()?;
    let wide = x.unsqueeze(2)?.broadcast_as((rows, heads, times, time, dim))?;
    wide.reshape((rows, heads * times, time, dim))
}

/// 0 where a position may look, minus infinity where it would look ahead.
fn causal_mask(time: usize) -> Result<Tensor> {
    let mask: Vec<f32> = (0..time)
        .flat_map(|row| (0..time).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (time, time), &Device::Cpu)
}

/// Cosines and sines of all positions, `[time, head_dim / 2]`.
fn rotary(rope: &Rope, head_dim: usize, time: usize) -> Result<(Tensor, Tensor)> {
    let half = head_dim / 2;
    let frequencies: Vec<f64> = (0..half).map(|i| frequency(rope, i, head_dim)).collect();
    let angles: Vec<f64> =
        (0..time).flat_map(|position| frequencies.iter().map(move |f| position as f64 * f)).collect();
    let table = |of: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
        Tensor::from_vec(values, (time, half), &Device::Cpu)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// As `_compute_llama3_parameters` of Transformers where the model stretches its low frequencies.
fn frequency(rope: &Rope, index: usize, head_dim: usize) -> f64 {
    let plain = rope.theta.powf(-2.0 * index as f64 / head_dim as f64);
    let Some(stretch) = &rope.stretch else { return plain };
    let turns = stretch.original_max_position_embeddings * plain / std::f64::consts::TAU;
    let low = stretch.low_freq_factor;
    let smooth = ((turns - low) / (stretch.high_freq_factor - low)).clamp(0.0, 1.0);
    plain * (smooth + (1.0 - smooth) / stretch.factor)
}

/// The same numbers as `f32`, in one piece.
pub(crate) fn as_f32(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(DType::F32)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sample;
    use crate::lora::Parameter;
    use crate::rng::{Purpose, Rng};
    use crate::settings::{LoraSettings, PROJECTIONS};
    use crate::train::add_gradients;

    /// Grouped key heads, an own head width, every projection adapted, `B` not zero.
    fn small() -> (Llama, Vec<Parameter>) {
        let config = LlamaConfig {
            vocab_size: 24,
            hidden_size: 12,
            intermediate_size: 20,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            rms_norm_eps: 1e-5,
            rope: Rope { theta: 100.0, stretch: None },
            tie_word_embeddings: true,
            max_positions: 64,
            eos_token_id: None,
        };
        let mut rng = Rng::keyed(5, Purpose::Init, 0, 9);
        let mut noise = |shape: &[usize], scale: f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() * scale).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let weights: Weights = crate::base::expected(&config)
            .into_iter()
            .map(|(name, shape)| (name, noise(&shape, 0.4)))
            .collect();
        let lora = LoraSettings { r: 3, alpha: 6.0, dropout: 0.2, targets: PROJECTIONS.to_vec() };
        let adapter = Adapter::new(&config, &lora, 1).unwrap();
        let parameters = adapter.parameters();
        for parameter in &parameters {
            parameter.var.set(&noise(parameter.var.dims(), 0.3)).unwrap();
        }
        (Llama::new(&config, &weights, Some(&adapter), false).unwrap(), parameters)
    }

    fn batch() -> Batch {
        let sample = |ids: &[u32]| Sample { ids: ids.to_vec(), counts: vec![true; ids.len()] };
        Batch::new(&[&sample(&[1, 5, 9, 13, 17, 2]), &sample(&[3, 3, 20, 7])])
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (model, parameters) = small();
        let (batch, key) = (batch(), DropoutKey { seed: 3, micro_step: 1 });
        let mut gradients: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.var.elem_count()]).collect();
        add_gradients(&model, &parameters, &batch, &key, 1, &mut gradients).unwrap();
        let loss = || f64::from(model.loss_sum(&batch, Some(&key)).unwrap().to_scalar::<f32>().unwrap());
        for (parameter, gradient) in parameters.iter().zip(&gradients) {
            let norm = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            assert!(norm > 1e-3, "{} gets no gradient", parameter.name);
            let before = parameter.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let width = 4e-3;
            let at = |side: f64| {
                let moved = before
                    .iter()
                    .zip(gradient)
                    .map(|(v, g)| v + (side * width * f64::from(*g) / norm) as f32);
                let moved =
                    Tensor::from_vec(moved.collect::<Vec<_>>(), parameter.var.shape(), &Device::Cpu).unwrap();
                parameter.var.set(&moved).unwrap();
                loss()
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * width);
            at(0.0);
            assert!((slope - norm).abs() < 0.01 * norm + 2e-3, "{}: {slope} against {norm}", parameter.name);
        }
    }

    #[test]
    fn what_comes_later_and_what_pads_is_not_seen() {
        let (model, _) = small();
        let row = |ids: &[u32]| Sample { ids: ids.to_vec(), counts: vec![true; ids.len()] };
        let loss = |samples: &[&Sample]| {
            model.loss_sum(&Batch::new(samples), None).unwrap().to_scalar::<f32>().unwrap()
        };
        let (short, long) = (row(&[1, 2, 3]), row(&[4, 5, 6, 7, 8, 9]));
        let apart = loss(&[&short]) + loss(&[&long]);
        assert!((loss(&[&short, &long]) - apart).abs() < 1e-4);
        let mut masked = row(&[1, 2, 3, 11]);
        masked.counts[3] = false;
        assert!((loss(&[&masked]) - loss(&[&short])).abs() < 1e-5);
    }

    #[test]
    fn llama3_stretches_low_frequencies_only() {
        let stretch = crate::config::Stretch {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let rope = Rope { theta: 500_000.0, stretch: Some(stretch) };
        assert_eq!(frequency(&rope, 0, 128), 1.0);
        let last = 500_000f64.powf(-126.0 / 128.0);
        assert!((frequency(&rope, 63, 128) - last / 8.0).abs() < 1e-15);
    }
}
