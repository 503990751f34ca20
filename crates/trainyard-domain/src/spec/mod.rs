//! What a user asks for: the body of `POST /jobs`, with every default filled in.
//!
//! The shapes here are read with `deny_unknown_fields`, so a typo is named, not ignored. [`JobSpec::validate`]
//! makes every check that needs nothing but the specification itself; [`JobSpec::from_json`] reads and validates.

mod dataset;
mod hyperparameters;
mod limits;
mod memory;
mod read;
mod resources;
mod source;
mod training;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::SecretName;

pub use dataset::{Dataset, DatasetFormat};
pub use hyperparameters::{EvalStrategy, Hyperparameters, Precision, Quantization, Scheduler};
pub use limits::{Checkpoints, Limits, LimitsPatch, Outputs, Retry, WhenOrchestratorLost};
pub use resources::Resources;
pub use source::{Source, SourceError};
pub use training::{Environment, Input, Launch, Trainer, TrainerKind, Webhook};
pub use validate::{FieldError, InvalidSpec, looks_like_token};

/// The name of the bundled base model.
pub const TINY_MODEL: &str = "trainyard-tiny";

/// A whole specification. Only `model_name` is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Free words to find jobs by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A hub id, a model directory, or the bundled `trainyard-tiny`.
    pub model_name: String,
    /// What to train on; none for a `command` that brings its own.
    #[serde(default)]
    pub dataset: Option<Dataset>,
    /// What to measure held-out loss on; left out, the built-in trainer holds out a part.
    #[serde(default)]
    pub eval_dataset: Option<Dataset>,
    /// PEFT method: `lora`, `qlora`, `dora`, `rslora`.
    #[serde(default = "lora")]
    pub peft_method: String,
    /// Numbers of the training.
    #[serde(default)]
    pub hyperparameters: Hyperparameters,
    /// Which program trains.
    #[serde(default)]
    pub trainer: Trainer,
    /// What it runs in.
    #[serde(default)]
    pub environment: Environment,
    /// An archive (tar, tar.gz) that becomes the working directory.
    #[serde(default)]
    pub code: Option<Source>,
    /// Further files the training reads.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Secrets handed to the training under their names.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// The machine it needs.
    #[serde(default)]
    pub resources: Resources,
    /// How long, how much.
    #[serde(default)]
    pub limits: Limits,
    /// When another attempt is made.
    #[serde(default)]
    pub retry: Retry,
    /// What of the output directory is the artifact.
    #[serde(default)]
    pub outputs: Outputs,
    /// Which directories are checkpoints.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Who is told.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

fn lora() -> String {
    "lora".to_owned()
}

impl JobSpec {
    /// A specification of that model with every default.
    pub fn new(model_name: impl Into<String>) -> JobSpec {
        JobSpec {
            labels: BTreeMap::new(),
            model_name: model_name.into(),
            dataset: None,
            eval_dataset: None,
            peft_method: lora(),
            hyperparameters: Hyperparameters::default(),
            trainer: Trainer::default(),
            environment: Environment::default(),
            code: None,
            inputs: Vec::new(),
            secrets: Vec::new(),
            resources: Resources::default(),
            limits: Limits::default(),
            retry: Retry::default(),
            outputs: Outputs::default(),
            checkpoints: Checkpoints::default(),
            webhooks: Vec::new(),
        }
    }

    /// The trainer in force: what was asked for; left out, `command` where there is a command, `builtin` for the
    /// models it takes (the bundled base, or a model directory), else `peft`.
    pub fn trainer_kind(&self) -> TrainerKind {
        self.trainer.kind.unwrap_or_else(|| match (&self.trainer.command, self.is_builtin_model()) {
            (Some(_), _) => TrainerKind::Command,
            (None, true) => TrainerKind::Builtin,
            (None, false) => TrainerKind::Peft,
        })
    }

    /// Whether the model is one that the built-in trainer takes: the bundled base, or a directory named by an
    /// absolute path or one that starts with `./` or `../`.
    pub fn is_builtin_model(&self) -> bool {
        let name = self.model_name.as_str();
        name == TINY_MODEL || name.starts_with('/') || name.starts_with("./") || name.starts_with("../")
    }

    /// Every source that the job reads, with the field that names it.
    pub fn sources(&self) -> Vec<(String, &Source)> {
        let mut all = Vec::new();
        if let Some(dataset) = &self.dataset {
            all.push(("dataset.source".to_owned(), &dataset.source));
        }
        if let Some(dataset) = &self.eval_dataset {
            all.push(("eval_dataset.source".to_owned(), &dataset.source));
        }
        if let Some(code) = &self.code {
            all.push(("code".to_owned(), code));
        }
        all.extend(
            self.inputs.iter().enumerate().map(|(i, input)| (format!("inputs[{i}].source"), &input.source)),
        );
        all
    }
}

#[cfg(test)]
mod tests;
