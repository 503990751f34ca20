//! The base model: from the bundle, or from a directory in Hugging Face's layout.
//!
//! Promises: every weight that the model needs is there, in the shape that the configuration says,
//! as `f32`. Nothing is fetched from anywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::config::LlamaConfig;
use crate::error::TrainError;
use crate::lora;
use crate::model::{Weights, as_f32};
use crate::settings::PROJECTIONS;
use crate::tiny;
use crate::tokens::Encoder;

/// A model beyond this is no work for a CPU, and would fill the machine's memory as `f32`.
const WEIGHTS_BYTES_MAX: u64 = 8 << 30;

/// A base model and how it reads text.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) config: LlamaConfig,
    pub(crate) weights: Weights,
    pub(crate) encoder: Encoder,
}

impl Base {
    /// The bundled base where the job names it, else the directory.
    pub(crate) fn load(model_name: &str, dir: Option<&Path>) -> Result<Self, TrainError> {
        if model_name == tiny::TINY_MODEL_NAME {
            return Self::bundled();
        }
        let named = PathBuf::from(model_name.strip_prefix("path:").unwrap_or(model_name));
        let dir = dir.unwrap_or(&named);
        if !dir.is_dir() {
            let problem = format!("{model_name} is neither {} nor a directory here", tiny::TINY_MODEL_NAME);
            let remedy = "give a directory with config.json and model.safetensors, or use trainer.kind peft";
            return Err(TrainError::setting("model_name", problem, remedy));
        }
        Self::from_dir(dir)
    }

    /// The model that comes with this crate.
    pub(crate) fn bundled() -> Result<Self, TrainError> {
        let config = tiny::config()?;
        let path = Path::new(tiny::TINY_MODEL_NAME);
        let encoder = Encoder::bytes(&config).ok_or_else(|| {
            TrainError::model(path, "has no byte vocabulary", "build from a clean checkout")
        })?;
        let tensors = candle_core::safetensors::load_buffer(tiny::WEIGHTS, &Device::Cpu)?;
        let weights = checked(&config, tensors.into_iter().collect(), path)?;
        Ok(Self { config, weights, encoder })
    }

    fn from_dir(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join("config.json");
        let text = std::fs::read(&path).map_err(TrainError::io("read", &path))?;
        let config = LlamaConfig::parse(&text, &path)?;
        let encoder = Encoder::load(dir, &config)?;
        let files = weight_files(dir)?;
        let mut bytes = 0;
        for file in &files {
            bytes += std::fs::metadata(file).map_err(TrainError::io("read", file))?.len();
        }
        if bytes > WEIGHTS_BYTES_MAX {
            let problem = format!("{bytes} bytes of weights are more than {WEIGHTS_BYTES_MAX}");
            return Err(TrainError::model(dir, problem, "use a smaller model, or trainer.kind peft"));
        }
        let mut tensors = Weights::new();
        for file in &files {
            let loaded = candle_core::safetensors::load(file, &Device::Cpu).map_err(|error| {
                TrainError::model(file, error.to_string(), "fetch the file again and compare its digest")
            })?;
            tensors.extend(loaded);
        }
        let weights = checked(&config, tensors, dir)?;
        Ok(Self { config, weights, encoder })
    }
}

/// `model.safetensors`, or the pieces that its index names.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let single = dir.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = dir.join("model.safetensors.index.json");
    let remedy = "put model.safetensors, or its index and pieces, beside config.json";
    let text = std::fs::read(&index)
        .map_err(|error| TrainError::model(&single, format!("and its index: {error}"), remedy))?;
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| TrainError::model(&index, error.to_string(), remedy))?;
    let names: BTreeSet<&str> = value
        .get("weight_map")
        .and_then(serde_json::Value::as_object)
        .map(|map| map.values().filter_map(serde_json::Value::as_str).collect())
        .unwrap_or_default();
    if names.is_empty() || names.iter().any(|name| name.contains(['/', '\\'])) {
        return Err(TrainError::model(&index, "weight_map names no files of this directory", remedy));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Every weight of the configuration by name and shape.
pub(crate) fn expected(config: &LlamaConfig) -> Vec<(String, Vec<usize>)> {
    let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
    let mut names = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tie_word_embeddings {
        names.push(("lm_head.weight".to_owned(), vec![vocabulary, hidden]));
    }
    for layer in 0..config.layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            names.push((format!("model.layers.{layer}.{norm}.weight"), vec![hidden]));
        }
        for module in PROJECTIONS {
            let (inputs, outputs) = lora::shape(config, module);
            let name = format!("model.layers.{layer}.{}.weight", lora::path(module));
            names.push((name, vec![outputs, inputs]));
        }
    }
    names
}

fn checked(config: &LlamaConfig, mut tensors: Weights, path: &Path) -> Result<Weights, TrainError> {
    let mut weights = Weights::new();
    for (name, shape) in expected(config) {
        let remedy = "use the weights that belong to this config.json";
        let tensor: Tensor = tensors
            .remove(&name)
            .ok_or_else(|| TrainError::model(path, format!("the weights lack {name}"), remedy))?;
        if tensor.dims() != shape {
            let problem = format!("{name} has shape {:?}, config.json says {shape:?}", tensor.dims());
            return Err(TrainError::model(path, problem, remedy));
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            let problem = format!("{name} is {:?}, not f32, f16 or bf16", tensor.dtype());
            return Err(TrainError::model(path, problem, "use the model's unquantized weights"));
        }
        weights.insert(name, as_f32(&tensor)?);
    }
    Ok(weights)
}
