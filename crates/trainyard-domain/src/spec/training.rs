//! Which program trains, and what it runs in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Source;
use crate::SecretName;

/// Which program trains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trainer {
    /// Left out: chosen by [`JobSpec::trainer_kind`](super::JobSpec::trainer_kind).
    pub kind: Option<TrainerKind>,
    /// The program and its arguments, for `command`. Never seen by a shell unless it is one.
    pub command: Option<Vec<String>>,
    /// Directory to run in, relative to the unpacked code.
    pub workdir: Option<String>,
    /// How several GPUs are used.
    pub launch: Launch,
    /// Whether the agent adds its callback to Hugging Face's `Trainer` from outside.
    pub hook: bool,
}

/// The kinds of trainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainerKind {
    /// The small trainer that comes with the product.
    Builtin,
    /// The Python recipe on Hugging Face PEFT.
    Peft,
    /// Any training program, unmodified.
    Command,
}

/// How a training is started on several GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the launchers' own names")]
pub enum Launch {
    Auto,
    Plain,
    Torchrun,
    Accelerate,
}

impl Default for Trainer {
    fn default() -> Self {
        Trainer { kind: None, command: None, workdir: None, launch: Launch::Auto, hook: true }
    }
}

/// What the training runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// Container image, on providers that start one.
    pub image: Option<String>,
    /// The secret that opens the image's registry.
    pub registry_auth: Option<SecretName>,
    /// Python packages to install.
    pub requirements: Vec<String>,
    /// Commands run before the training, each by `sh -c`.
    pub setup: Vec<String>,
    /// Environment variables; no secrets.
    pub env: BTreeMap<String, String>,
}

/// A further file the training reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where it comes from.
    pub source: Source,
    /// Where it goes, relative to `TRAINYARD_INPUT_DIR`.
    pub path: String,
}

/// Who is told by a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// Of what; empty is everything.
    #[serde(default)]
    pub events: Vec<String>,
}
