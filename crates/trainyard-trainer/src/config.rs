//! `config.json` of a Llama-family model, as far as the arithmetic needs it.
//!
//! Promises: a configuration whose arithmetic this crate does not have is refused by the field's
//! name, rather than trained wrongly.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::TrainError;

/// The shape of a Llama.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LlamaConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) rms_norm_eps: f64,
    pub(crate) rope: Rope,
    pub(crate) tie_word_embeddings: bool,
    pub(crate) max_positions: usize,
    pub(crate) eos_token_id: Option<u32>,
}

/// The frequencies of the rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    pub(crate) theta: f64,
    /// Llama 3.1's stretching of the low frequencies.
    pub(crate) stretch: Option<Stretch>,
}

/// `rope_type: llama3`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Stretch {
    pub(crate) factor: f64,
    pub(crate) low_freq_factor: f64,
    pub(crate) high_freq_factor: f64,
    pub(crate) original_max_position_embeddings: f64,
}

#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_parameters: Value,
    #[serde(default)]
    rope_scaling: Value,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    eos_token_id: Value,
    #[serde(default)]
    quantization_config: Value,
}

const OTHER_MODEL: &str = "use a LlamaForCausalLM model, or trainer.kind peft";

impl LlamaConfig {
    /// Reads and checks the text of `config.json`; `path` is only named in errors.
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self, TrainError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            TrainError::model(path, error.to_string(), "it must be a model's config.json")
        })?;
        refuse_other_families(&value, path)?;
        let raw: Raw = serde_json::from_value(value)
            .map_err(|error| TrainError::model(path, error.to_string(), OTHER_MODEL))?;
        refuse_unsupported(&raw, path)?;
        let heads = raw.num_attention_heads;
        let kv_heads = raw.num_key_value_heads.unwrap_or(heads);
        let config = Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads,
            kv_heads,
            head_dim: raw.head_dim.unwrap_or_else(|| raw.hidden_size.checked_div(heads).unwrap_or(0)),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            rope: rope(&raw, path)?,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            max_positions: raw.max_position_embeddings.unwrap_or(2048),
            eos_token_id: token_id(&raw.eos_token_id).filter(|id| (*id as usize) < raw.vocab_size),
        };
        config.check_shape(path)?;
        Ok(config)
    }

    fn check_shape(&self, path: &Path) -> Result<(), TrainError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_positions),
        ];
        for (name, size) in sizes {
            if !(1..=1 << 24).contains(&size) {
                return Err(TrainError::model(path, format!("{name} is {size}"), "use 1 to 16777216"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem =
                format!("num_attention_heads {} is no multiple of {} key heads", self.heads, self.kv_heads);
            return Err(TrainError::model(path, problem, OTHER_MODEL));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(TrainError::model(path, format!("head_dim {} is odd", self.head_dim), OTHER_MODEL));
        }
        Ok(())
    }
}

/// Says the family before any field that another family may lack.
fn refuse_other_families(value: &Value, path: &Path) -> Result<(), TrainError> {
    let named = |field: &str| value.get(field).cloned().unwrap_or(Value::Null);
    let architecture = named("architectures");
    let llama = match architecture.get(0).and_then(Value::as_str) {
        Some(name) => name == "LlamaForCausalLM",
        None => named("model_type") == "llama",
    };
    if llama {
        return Ok(());
    }
    let problem =
        format!("architectures {architecture} (model_type {}) is not supported", named("model_type"));
    Err(TrainError::model(path, problem, OTHER_MODEL))
}

fn refuse_unsupported(raw: &Raw, path: &Path) -> Result<(), TrainError> {
    let refuse = |problem: String, remedy: &str| Err(TrainError::model(path, problem, remedy));
    if !raw.quantization_config.is_null() {
        return refuse("quantization_config is set".into(), "use the model's unquantized weights");
    }
    let act = raw.hidden_act.as_deref().unwrap_or("silu");
    if act != "silu" {
        return refuse(format!("hidden_act {act} is not supported"), OTHER_MODEL);
    }
    if raw.attention_bias == Some(true) {
        return refuse("attention_bias true is not supported".into(), OTHER_MODEL);
    }
    if raw.mlp_bias == Some(true) {
        return refuse("mlp_bias true is not supported".into(), OTHER_MODEL);
    }
    Ok(())
}

/// Transformers 5 keeps it in `rope_parameters`, earlier releases in `rope_theta` and `rope_scaling`.
fn rope(raw: &Raw, path: &Path) -> Result<Rope, TrainError> {
    let inner = raw.rope_parameters.get("rope_theta").and_then(Value::as_f64);
    let theta = raw.rope_theta.or(inner).unwrap_or(10_000.0);
    let scaling = if raw.rope_scaling.is_null() { &raw.rope_parameters } else { &raw.rope_scaling };
    let kind =
        scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default");
    let stretch = match kind {
        "default" => None,
        "llama3" => Some(
            Stretch::deserialize(scaling)
                .map_err(|error| TrainError::model(path, format!("rope_scaling: {error}"), OTHER_MODEL))?,
        ),
        other => {
            return Err(TrainError::model(
                path,
                format!("rope_scaling {other} is not supported"),
                OTHER_MODEL,
            ));
        }
    };
    Ok(Rope { theta, stretch })
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().or_else(|| value.get(0).and_then(Value::as_u64)).and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(change: &[(&str, Value)]) -> Result<LlamaConfig, String> {
        let mut value = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 256, "hidden_size": 8,
            "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2});
        for (name, new) in change {
            value[*name] = new.clone();
        }
        LlamaConfig::parse(value.to_string().as_bytes(), Path::new("config.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn both_spellings_of_the_rotary_embedding_are_read() {
        assert_eq!(parse(&[("rope_theta", json!(5e5))]).unwrap().rope.theta, 5e5);
        let new = json!({"rope_type": "default", "rope_theta": 1e6});
        assert_eq!(parse(&[("rope_parameters", new)]).unwrap().rope, Rope { theta: 1e6, stretch: None });
        let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
        assert_eq!(parse(&[("rope_scaling", llama3)]).unwrap().rope.stretch.unwrap().factor, 32.0);
        assert_eq!(parse(&[("eos_token_id", json!([7, 9]))]).unwrap().eos_token_id, Some(7));
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        let cases = [
            ("architectures", json!(["GPT2LMHeadModel"]), "GPT2LMHeadModel"),
            ("quantization_config", json!({"bits": 4}), "quantization_config"),
            ("hidden_act", json!("gelu"), "hidden_act gelu"),
            ("attention_bias", json!(true), "attention_bias"),
            ("mlp_bias", json!(true), "mlp_bias"),
            ("rope_scaling", json!({"type": "yarn"}), "yarn"),
            ("num_key_value_heads", json!(3), "key heads"),
            ("num_attention_heads", json!(0), "num_attention_heads"),
        ];
        for (field, value, word) in cases {
            let message = parse(&[(field, value)]).unwrap_err();
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }
}
