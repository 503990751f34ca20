//! The built-in trainer: really trains a small LoRA adapter on a CPU, with nothing to install or to
//! download.
//!
//! It is run as an ordinary child process under the contract's section 3: [`main_from_env`] reads the
//! `TRAINYARD_*` variables, trains on the bundled base `trainyard-tiny` or on any small Llama-family
//! model directory, writes metrics, checkpoints and a PEFT-layout adapter, and goes on exactly where it
//! was stopped. Not for large models: those are for the Python recipe on a machine with a card.
//!
//! The files, outside in: `run` (environment to exit code), `train` (the loop), `settings`, `records`,
//! `data`, `tokens`, `batch` (what is learnt and in which order), `base`, `config`, `model`, `ops`, `lora` (the
//! arithmetic), `optim`, `schedule`, `rng`, then what is written: `peft`, `checkpoint`, `metrics`, `files`;
//! `tiny` and `pretrain` are the bundled base and its making.

mod base;
mod batch;
mod checkpoint;
mod config;
mod data;
mod env;
mod error;
mod files;
mod lora;
mod metrics;
mod model;
mod ops;
mod optim;
mod peft;
mod pretrain;
mod records;
mod rng;
mod run;
mod schedule;
mod settings;
mod tiny;
mod tokens;
mod train;

pub use env::TrainEnv;
pub use error::TrainError;
pub use pretrain::{PretrainOptions, pretrain_tiny};
pub use run::{Outcome, exit_status_from_env, main_from_env, train};
pub use tiny::{EXAMPLE_DATASET, TINY_MODEL_NAME, export_tiny, quickstart_hyperparameters};
