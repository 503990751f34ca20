//! The part of a job's specification that a training follows, checked.
//!
//! Promises: what is not supported is refused here, before any work, with the field's name and the
//! remedy; what is left out has the contract's default. Leaves the data and the model to others.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::data::Format;
use crate::error::TrainError;
use crate::schedule::Schedule;

/// The projections of a Llama layer that an adapter can be put on, in the order of the layer.
pub(crate) const PROJECTIONS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// More steps than any processor takes; only keeps sums from overflowing.
const STEPS_MAX: u64 = 1_000_000_000;

/// Everything that decides a training's result, beside the data and the base model.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) model_name: String,
    pub(crate) wants_dataset: bool,
    pub(crate) format: Option<Format>,
    pub(crate) eval_format: Option<Format>,
    pub(crate) lora: LoraSettings,
    pub(crate) learning_rate: f64,
    pub(crate) schedule: Schedule,
    pub(crate) warmup_steps: u64,
    pub(crate) weight_decay: f64,
    pub(crate) max_grad_norm: f64,
    pub(crate) num_epochs: f64,
    pub(crate) max_steps: Option<u64>,
    pub(crate) batch_size: usize,
    pub(crate) accumulation: usize,
    pub(crate) max_seq_length: usize,
    pub(crate) packing: bool,
    pub(crate) precision: String,
    pub(crate) save_steps: Option<u64>,
    pub(crate) save_total_limit: Option<usize>,
    pub(crate) eval: EvalWhen,
    pub(crate) seed: u64,
    pub(crate) logging_steps: u64,
    pub(crate) holdout: f64,
}

/// The shape of the adapter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoraSettings {
    pub(crate) r: usize,
    pub(crate) alpha: f64,
    pub(crate) dropout: f64,
    /// Names of [`PROJECTIONS`], in that order, none twice.
    pub(crate) targets: Vec<&'static str>,
}

/// When the held-out records are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvalWhen {
    Never,
    EachEpoch,
    Every(u64),
}

#[derive(Deserialize)]
struct Spec {
    model_name: String,
    #[serde(default)]
    dataset: Value,
    #[serde(default)]
    eval_dataset: Value,
    #[serde(default)]
    peft_method: Option<String>,
    #[serde(default)]
    hyperparameters: Value,
}

/// The contract's `hyperparameters`; null and absent are both the default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Hyper {
    lora_r: Option<usize>,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
    target_modules: Option<Vec<String>>,
    learning_rate: Option<f64>,
    scheduler: Option<String>,
    warmup_steps: Option<u64>,
    weight_decay: Option<f64>,
    max_grad_norm: Option<f64>,
    optimizer: Option<String>,
    num_epochs: Option<f64>,
    max_steps: Option<u64>,
    batch_size: Option<usize>,
    gradient_accumulation_steps: Option<usize>,
    max_seq_length: Option<usize>,
    packing: Option<bool>,
    /// Saves memory only; the result is the same without.
    #[serde(rename = "gradient_checkpointing")]
    _gradient_checkpointing: Option<bool>,
    precision: Option<String>,
    quantization: Option<Value>,
    save_steps: Option<u64>,
    save_total_limit: Option<usize>,
    eval_steps: Option<u64>,
    eval_strategy: Option<String>,
    seed: Option<u64>,
    extra: Option<Extra>,
}

/// What only this trainer knows.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Extra {
    logging_steps: Option<u64>,
    eval_holdout: Option<f64>,
}

impl Settings {
    /// Reads the job's JSON from its file.
    pub(crate) fn read(spec: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read(spec).map_err(TrainError::io("read", spec))?;
        let value = serde_json::from_slice(&text).map_err(|error| {
            TrainError::setting("TRAINYARD_SPEC", error.to_string(), "give the body of POST /jobs as JSON")
        })?;
        Self::from_json(value)
    }

    /// Checks the body of `POST /jobs`.
    pub(crate) fn from_json(body: Value) -> Result<Self, TrainError> {
        let spec: Spec = serde_json::from_value(body)
            .map_err(|error| TrainError::setting("job", error.to_string(), "see the body of POST /jobs"))?;
        if let Some(method) = spec.peft_method.as_deref().filter(|method| *method != "lora") {
            let problem = format!("{method} is not supported");
            return Err(TrainError::setting("peft_method", problem, "use lora, or trainer.kind peft"));
        }
        let hyper = match spec.hyperparameters {
            Value::Null => Hyper::default(),
            value => serde_json::from_value(value).map_err(|error| {
                TrainError::setting("hyperparameters", error.to_string(), "remove or correct it")
            })?,
        };
        hyper.refuse_unsupported()?;
        let extra = hyper.extra.as_ref();
        let settings = Self {
            model_name: spec.model_name,
            wants_dataset: !spec.dataset.is_null(),
            format: format_of("dataset", &spec.dataset)?,
            eval_format: format_of("eval_dataset", &spec.eval_dataset)?,
            lora: hyper.lora()?,
            learning_rate: hyper.learning_rate.unwrap_or(2e-4),
            schedule: hyper.schedule()?,
            warmup_steps: hyper.warmup_steps.unwrap_or(100),
            weight_decay: hyper.weight_decay.unwrap_or(0.01),
            max_grad_norm: hyper.max_grad_norm.unwrap_or(1.0),
            num_epochs: hyper.num_epochs.unwrap_or(3.0),
            max_steps: hyper.max_steps,
            batch_size: hyper.batch_size.unwrap_or(4),
            accumulation: hyper.gradient_accumulation_steps.unwrap_or(4),
            max_seq_length: hyper.max_seq_length.unwrap_or(1024),
            packing: hyper.packing.unwrap_or(false),
            precision: hyper.precision.clone().unwrap_or_else(|| "bf16".into()),
            save_steps: hyper.save_steps,
            save_total_limit: hyper.save_total_limit,
            eval: hyper.eval()?,
            seed: hyper.seed.unwrap_or(42),
            logging_steps: extra.and_then(|extra| extra.logging_steps).unwrap_or(1),
            holdout: extra.and_then(|extra| extra.eval_holdout).unwrap_or(0.1),
        };
        settings.within_limits()?;
        Ok(settings)
    }

    fn within_limits(&self) -> Result<(), TrainError> {
        let counts = [
            ("batch_size", self.batch_size as u64, 1, 1024),
            ("gradient_accumulation_steps", self.accumulation as u64, 1, 1024),
            ("max_seq_length", self.max_seq_length as u64, 8, 8192),
            ("lora_r", self.lora.r as u64, 1, 256),
            ("max_steps", self.max_steps.unwrap_or(1), 1, STEPS_MAX),
            ("save_steps", self.save_steps.unwrap_or(1), 1, STEPS_MAX),
            ("save_total_limit", self.save_total_limit.unwrap_or(1) as u64, 1, STEPS_MAX),
            ("extra.logging_steps", self.logging_steps, 1, STEPS_MAX),
        ];
        for (name, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return Err(out_of_range(name, value, least, most));
            }
        }
        let numbers = [
            ("learning_rate", self.learning_rate, 0.0, 100.0),
            ("weight_decay", self.weight_decay, 0.0, 100.0),
            ("max_grad_norm", self.max_grad_norm, 0.0, 1e9),
            ("lora_alpha", self.lora.alpha, 0.0, 1e6),
            ("lora_dropout", self.lora.dropout, 0.0, 0.95),
            ("num_epochs", self.num_epochs, 1e-6, 1e6),
            ("extra.eval_holdout", self.holdout, 0.0, 0.9),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return Err(out_of_range(name, value, least, most));
            }
        }
        Ok(())
    }
}

impl Hyper {
    fn refuse_unsupported(&self) -> Result<(), TrainError> {
        if let Some(name) = self.quantization.as_ref().filter(|value| !value.is_null()) {
            return Err(hyper(
                "quantization",
                format!("{name} is not supported"),
                "set it to null, or use trainer.kind peft",
            ));
        }
        let optimizer = self.optimizer.as_deref().unwrap_or("adamw");
        if !["adamw", "adamw_torch"].contains(&optimizer) {
            return Err(hyper(
                "optimizer",
                format!("{optimizer} is not supported"),
                "use adamw, or trainer.kind peft",
            ));
        }
        let precision = self.precision.as_deref().unwrap_or("bf16");
        if !["bf16", "fp16", "fp32", "no"].contains(&precision) {
            return Err(hyper("precision", format!("{precision} is unknown"), "use bf16, fp16 or fp32"));
        }
        Ok(())
    }

    fn lora(&self) -> Result<LoraSettings, TrainError> {
        let default = || vec!["q_proj".to_owned(), "v_proj".to_owned()];
        let named = self.target_modules.clone().unwrap_or_else(default);
        let unknown: Vec<_> =
            named.iter().filter(|name| !PROJECTIONS.contains(&name.as_str())).cloned().collect();
        if !unknown.is_empty() || named.is_empty() {
            let problem =
                if named.is_empty() { "is empty".into() } else { format!("unknown: {}", unknown.join(", ")) };
            return Err(hyper("target_modules", problem, format!("use any of {}", PROJECTIONS.join(", "))));
        }
        Ok(LoraSettings {
            r: self.lora_r.unwrap_or(8),
            alpha: self.lora_alpha.unwrap_or(16.0),
            dropout: self.lora_dropout.unwrap_or(0.05),
            targets: PROJECTIONS.into_iter().filter(|name| named.iter().any(|n| n == name)).collect(),
        })
    }

    fn schedule(&self) -> Result<Schedule, TrainError> {
        let name = self.scheduler.as_deref().unwrap_or("linear");
        Schedule::deserialize(Value::String(name.to_owned())).map_err(|_| {
            let known = "use linear, cosine, constant or constant_with_warmup";
            hyper("scheduler", format!("{name} is not supported"), known)
        })
    }

    fn eval(&self) -> Result<EvalWhen, TrainError> {
        match (self.eval_strategy.as_deref().unwrap_or("steps"), self.eval_steps.unwrap_or(500)) {
            ("steps", 0) => Err(hyper("eval_steps", "is 0", "give at least 1, or eval_strategy no")),
            ("steps", every) => Ok(EvalWhen::Every(every)),
            ("epoch", _) => Ok(EvalWhen::EachEpoch),
            ("no", _) => Ok(EvalWhen::Never),
            (name, _) => Err(hyper("eval_strategy", format!("{name} is unknown"), "use steps, epoch or no")),
        }
    }
}

/// The format that a data set's object names; a plain string, or none, leaves it to be found out.
fn format_of(field: &str, dataset: &Value) -> Result<Option<Format>, TrainError> {
    if let Some(split) =
        dataset.get("split").and_then(Value::as_str).filter(|s| !s.is_empty() && *s != "train")
    {
        return Err(TrainError::setting(
            format!("{field}.split"),
            format!("{split} does not exist: a file has the split train only"),
            "give the other records as a file of their own, as eval_dataset",
        ));
    }
    match dataset.get("format") {
        None | Some(Value::Null) => Ok(None),
        Some(name) => match name.as_str() {
            Some("text") => Ok(Some(Format::Text)),
            Some("prompt_completion" | "prompt-completion") => Ok(Some(Format::PromptCompletion)),
            Some("messages") => Ok(Some(Format::Messages)),
            Some("auto" | "jsonl") => Ok(None),
            Some(_) | None => Err(TrainError::setting(
                format!("{field}.format"),
                format!("{name} is not supported"),
                "use text, prompt_completion or messages, or leave it out",
            )),
        },
    }
}

fn hyper(name: &str, problem: impl Into<String>, remedy: impl Into<String>) -> TrainError {
    TrainError::setting(format!("hyperparameters.{name}"), problem, remedy)
}

fn out_of_range<T: std::fmt::Display>(name: &str, value: T, least: T, most: T) -> TrainError {
    hyper(name, format!("{value} is out of range"), format!("use {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(hyperparameters: Value) -> Result<Settings, String> {
        Settings::from_json(json!({"model_name": "trainyard-tiny", "hyperparameters": hyperparameters}))
            .map_err(|error| error.to_string())
    }

    fn refused(hyperparameters: Value, words: &[&str]) {
        let message = check(hyperparameters).unwrap_err();
        for word in words {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }

    #[test]
    fn what_is_left_out_has_the_contracts_default() {
        let settings = check(json!({})).unwrap();
        assert_eq!(settings.lora.targets, ["q_proj", "v_proj"]);
        assert_eq!((settings.lora.r, settings.lora.alpha, settings.lora.dropout), (8, 16.0, 0.05));
        assert_eq!((settings.batch_size, settings.accumulation, settings.max_seq_length), (4, 4, 1024));
        assert_eq!((settings.warmup_steps, settings.seed, settings.learning_rate), (100, 42, 2e-4));
        assert_eq!(settings.eval, EvalWhen::Every(500));
    }

    #[test]
    fn what_cannot_be_followed_is_named_with_a_remedy() {
        refused(
            json!({"target_modules": ["q_proj", "wq", "c_attn"]}),
            &["target_modules", "wq, c_attn", "down_proj"],
        );
        refused(json!({"target_modules": []}), &["target_modules", "empty"]);
        refused(json!({"quantization": "4bit"}), &["quantization", "4bit", "null"]);
        refused(json!({"optimizer": "lion"}), &["optimizer", "lion", "adamw"]);
        refused(json!({"precision": "int8"}), &["precision", "int8", "bf16"]);
        refused(json!({"scheduler": "polynomial"}), &["scheduler", "polynomial", "cosine"]);
        refused(json!({"eval_strategy": "often"}), &["eval_strategy", "often", "epoch"]);
        refused(json!({"batch_size": 0}), &["batch_size", "0", "1 to 1024"]);
        refused(json!({"lora_dropout": 1.0}), &["lora_dropout", "0.95"]);
        refused(json!({"learning_rate": "fast"}), &["hyperparameters", "fast"]);
        refused(json!({"lora_rank": 8}), &["lora_rank"]);
        refused(json!({"extra": {"neftune": 5}}), &["neftune", "logging_steps"]);
    }

    #[test]
    fn other_methods_formats_and_splits_are_refused() {
        let of = |body: Value| Settings::from_json(body).unwrap_err().to_string();
        assert!(of(json!({"model_name": "m", "peft_method": "ia3"})).starts_with("peft_method: ia3"));
        let format = of(json!({"model_name": "m", "dataset": {"format": "alpaca"}}));
        assert!(format.contains("dataset.format") && format.contains("prompt_completion"), "{format}");
        assert!(of(json!({"model_name": "m", "dataset": {"split": "test"}})).contains("dataset.split"));
    }
}
