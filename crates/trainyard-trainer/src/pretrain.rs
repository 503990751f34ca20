//! How the bundled base is made: every weight of a new Llama learns, from a fixed seed.
//!
//! Kept in the crate so that the file in `assets` can be made again; no job comes here.

use std::io::Write;

use candle_core::{DType, Device, Tensor, Var};

use crate::base;
use crate::batch::Batch;
use crate::data::Sample;
use crate::error::TrainError;
use crate::lora::Parameter;
use crate::model::{Llama, Weights};
use crate::ops;
use crate::optim::{AdamW, clip};
use crate::peft;
use crate::rng::{Purpose, Rng};
use crate::schedule::Schedule;
use crate::tiny;

/// How long the base learns, and from how much at a time.
#[derive(Clone, Copy, Debug)]
pub struct PretrainOptions {
    /// Optimizer steps.
    pub steps: u64,
    /// Windows of text in a step.
    pub batch: usize,
    /// Bytes of a window.
    pub window: usize,
    /// The highest learning rate, reached after a twentieth of the steps.
    pub learning_rate: f64,
    /// Decides the initial weights and the windows.
    pub seed: u64,
}

/// Trains the bundled base on a text and gives its weights as an f16 safetensors file.
///
/// # Errors
/// [`TrainError::Compute`] and [`TrainError::Encode`], neither of which should happen.
pub fn pretrain_tiny(
    text: &str,
    options: PretrainOptions,
    log: &mut dyn Write,
) -> Result<Vec<u8>, TrainError> {
    ops::keep_small_products_on_one_thread();
    let config = tiny::config()?;
    let mut parameters = Vec::new();
    let mut weights = Weights::new();
    for (index, (name, shape)) in base::expected(&config).into_iter().enumerate() {
        let var = Var::from_tensor(&initial(&name, &shape, index as u64, options.seed)?)?;
        weights.insert(name.clone(), var.as_tensor().clone());
        parameters.push(Parameter { name, var });
    }
    let model = Llama::new(&config, &weights, None, true)?;
    let sizes: Vec<usize> = parameters.iter().map(|parameter| parameter.var.elem_count()).collect();
    let mut adam = AdamW::new(&sizes);
    for step in 1..=options.steps {
        let batch = windows(text.as_bytes(), step, options);
        let loss = (model.loss_sum(&batch, None)? / batch.targets.len() as f64)?;
        let found = loss.backward()?;
        let mut gradients = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            let gradient =
                found.get(&parameter.var).ok_or_else(|| candle_core::Error::Msg("no gradient".into()))?;
            gradients.push(gradient.flatten_all()?.to_vec1::<f32>()?);
        }
        clip(&mut gradients, 1.0);
        let factor = Schedule::Cosine.factor(step + 1, options.steps / 20, options.steps);
        adam.begin();
        for (index, parameter) in parameters.iter().enumerate() {
            let mut values = parameter.var.flatten_all()?.to_vec1::<f32>()?;
            let decay = if parameter.var.rank() > 1 { 0.1 } else { 0.0 };
            adam.apply(index, &mut values, &gradients[index], options.learning_rate * factor, decay);
            parameter.var.set(&Tensor::from_vec(values, parameter.var.shape(), &Device::Cpu)?)?;
        }
        if step.is_multiple_of(20) || step == 1 {
            // A maker whose terminal is closed still makes the file.
            let _ = writeln!(log, "step {step}/{} loss {:.4}", options.steps, loss.to_scalar::<f32>()?);
        }
    }
    halved(&parameters)
}

/// Norms start at one, matrices small; those that add to the stream smaller still, as GPT-2 has it.
fn initial(name: &str, shape: &[usize], index: u64, seed: u64) -> candle_core::Result<Tensor> {
    if shape.len() == 1 {
        return Tensor::ones(shape, DType::F32, &Device::Cpu);
    }
    let deviation = if name.contains("o_proj") || name.contains("down_proj") { 0.007 } else { 0.02 };
    let mut rng = Rng::keyed(seed, Purpose::Init, index, 1);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() * deviation).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn windows(text: &[u8], step: u64, options: PretrainOptions) -> Batch {
    let mut rng = Rng::keyed(options.seed, Purpose::Window, step, 0);
    let samples: Vec<Sample> = (0..options.batch)
        .map(|_| {
            let start = rng.below(text.len().saturating_sub(options.window) + 1);
            // What begins a record is seen too, so that a job's first token means something.
            let begin = std::iter::once(256);
            let bytes = text.iter().skip(start).take(options.window).map(|byte| u32::from(*byte));
            let ids: Vec<u32> = begin.chain(bytes).collect();
            Sample { counts: vec![true; ids.len()], ids }
        })
        .collect();
    Batch::new(&samples.iter().collect::<Vec<_>>())
}

fn halved(parameters: &[Parameter]) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        tensors.push((parameter.name.clone(), parameter.var.to_dtype(DType::F16)?));
    }
    peft::encode(tensors.iter().map(|(name, tensor)| (name.clone(), tensor)))
}
