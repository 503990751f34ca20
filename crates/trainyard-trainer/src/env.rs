//! What the agent tells a training program through its environment.
//!
//! This is the only file that reads it. Promises: an empty variable counts as absent.

use std::path::PathBuf;

use crate::error::TrainError;

/// Where a training finds its job and leaves its results.
#[derive(Clone, Debug, Default)]
pub struct TrainEnv {
    /// `TRAINYARD_SPEC`: the job's JSON.
    pub spec: PathBuf,
    /// `TRAINYARD_OUTPUT_DIR`: becomes the artifact.
    pub output_dir: PathBuf,
    /// `TRAINYARD_CHECKPOINT_DIR`: kept across attempts; the output directory where it is not set.
    pub checkpoint_dir: PathBuf,
    /// `TRAINYARD_RESUME_FROM`: the checkpoint to continue from.
    pub resume_from: Option<PathBuf>,
    /// `TRAINYARD_METRICS_FILE`: one JSON object a line is appended; none are written without it.
    pub metrics_file: Option<PathBuf>,
    /// `TRAINYARD_DATASET`: the data set as a file of this machine.
    pub dataset: Option<PathBuf>,
    /// `TRAINYARD_EVAL_DATASET`: the same for the evaluation.
    pub eval_dataset: Option<PathBuf>,
    /// `TRAINYARD_MODEL_DIR`: the base model, where it is not the bundled one.
    pub model_dir: Option<PathBuf>,
}

impl TrainEnv {
    /// Reads the variables of this process.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where the specification or the output directory is not named.
    pub fn read() -> Result<Self, TrainError> {
        let output_dir = required("TRAINYARD_OUTPUT_DIR")?;
        Ok(Self {
            spec: required("TRAINYARD_SPEC")?,
            checkpoint_dir: path("TRAINYARD_CHECKPOINT_DIR").unwrap_or_else(|| output_dir.clone()),
            output_dir,
            resume_from: path("TRAINYARD_RESUME_FROM"),
            metrics_file: path("TRAINYARD_METRICS_FILE"),
            dataset: path("TRAINYARD_DATASET"),
            eval_dataset: path("TRAINYARD_EVAL_DATASET"),
            model_dir: path("TRAINYARD_MODEL_DIR"),
        })
    }
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn required(name: &str) -> Result<PathBuf, TrainError> {
    path(name).ok_or_else(|| {
        TrainError::setting(
            name,
            "is not set",
            "the built-in trainer is started by the agent; set it to run by hand",
        )
    })
}
