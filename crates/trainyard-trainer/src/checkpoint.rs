//! Checkpoints: everything that is needed to go on as if nothing had happened.
//!
//! Promises: `checkpoint-STEP` appears under its name only when it is complete and on the disk, and
//! disappears from it before anything of it is deleted. `trainer_state.json` is in the form that
//! Transformers writes, with one object of our own in it.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::TrainError;
use crate::files;
use crate::lora::Parameter;
use crate::optim::AdamW;
use crate::peft;
use crate::settings::{LoraSettings, Settings};

const STATE_FILE: &str = "trainer_state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const HALF_MADE: &str = ".tmp-checkpoint-";
const HALF_GONE: &str = ".old-checkpoint-";

/// How far a training has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Optimizer steps done.
    pub(crate) step: u64,
    /// Entries as Transformers writes them.
    pub(crate) history: Vec<Value>,
    /// The losses since the last logged step.
    pub(crate) unlogged: Unlogged,
    /// The evaluation of this step was interrupted.
    pub(crate) eval_due: bool,
}

/// A sum of losses; its bits are saved, since decimal digits would lose some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unlogged {
    pub(crate) sum_bits: u64,
    pub(crate) steps: u64,
}

impl Unlogged {
    pub(crate) fn add(&mut self, loss: f64) {
        self.sum_bits = (f64::from_bits(self.sum_bits) + loss).to_bits();
        self.steps += 1;
    }

    pub(crate) fn mean(&self) -> f64 {
        f64::from_bits(self.sum_bits) / self.steps.max(1) as f64
    }
}

/// What must be the same for a continuation to give what an uninterrupted training would have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) seed: u64,
    pub(crate) total_steps: u64,
    pub(crate) per_step: usize,
    pub(crate) train_records: usize,
    pub(crate) eval_records: usize,
    pub(crate) learning_rate: f64,
}

/// Our own part of `trainer_state.json`.
#[derive(Serialize, Deserialize)]
struct Own {
    updates: u64,
    unlogged: Unlogged,
    eval_due: bool,
    frame: Frame,
}

/// Everything that a checkpoint holds, borrowed from the training.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) frame: &'a Frame,
    pub(crate) epoch: f64,
    pub(crate) state: &'a State,
    pub(crate) adam: &'a AdamW,
    pub(crate) parameters: &'a [Parameter],
}

/// Writes `checkpoint-STEP`, then removes the oldest ones beyond the limit.
pub(crate) fn save(dir: &Path, contents: &Contents<'_>) -> Result<PathBuf, TrainError> {
    let step = contents.state.step;
    let making = dir.join(format!("{HALF_MADE}{step}"));
    remove(&making)?;
    std::fs::create_dir_all(&making).map_err(TrainError::io("make", &making))?;
    let write = |name: &str, bytes: Vec<u8>| files::write_synced(&making.join(name), &bytes);
    let base = &contents.settings.model_name;
    write(peft::ADAPTER_FILE, peft::encode_adapter(contents.parameters)?)?;
    write(peft::CONFIG_FILE, peft::pretty(&peft::config(base, &contents.settings.lora))?)?;
    write(OPTIMIZER_FILE, encode_moments(contents.adam, contents.parameters)?)?;
    write(STATE_FILE, peft::pretty(&trainer_state(contents)?)?)?;
    files::sync_dir(&making)?;
    let path = dir.join(format!("checkpoint-{step}"));
    retire(dir, step)?;
    std::fs::rename(&making, &path).map_err(TrainError::io("rename to", &path))?;
    files::sync_dir(dir)?;
    rotate(dir, contents.settings.save_total_limit, step)?;
    Ok(path)
}

/// Removes what a killed attempt left half made or half deleted.
pub(crate) fn tidy(dir: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(TrainError::io("make", dir))?;
    for entry in std::fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let path = entry.map_err(TrainError::io("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(HALF_MADE) || name.starts_with(HALF_GONE) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn rotate(dir: &Path, limit: Option<usize>, newest: u64) -> Result<(), TrainError> {
    let Some(limit) = limit else { return Ok(()) };
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let name = entry.map_err(TrainError::io("read", dir))?.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("checkpoint-"));
        steps.extend(step.and_then(|step| step.parse::<u64>().ok()).filter(|step| *step != newest));
    }
    steps.sort_unstable();
    let surplus = (steps.len() + 1).saturating_sub(limit);
    steps.into_iter().take(surplus).try_for_each(|step| retire(dir, step))
}

fn retire(dir: &Path, step: u64) -> Result<(), TrainError> {
    let path = dir.join(format!("checkpoint-{step}"));
    let going = dir.join(format!("{HALF_GONE}{step}"));
    if !path.exists() {
        return Ok(());
    }
    remove(&going)?;
    std::fs::rename(&path, &going).map_err(TrainError::io("rename", &path))?;
    remove(&going)
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn trainer_state(contents: &Contents<'_>) -> Result<Value, TrainError> {
    let settings = contents.settings;
    let own = Own {
        updates: contents.adam.updates,
        unlogged: contents.state.unlogged,
        eval_due: contents.state.eval_due,
        frame: contents.frame.clone(),
    };
    let own = serde_json::to_value(own).map_err(TrainError::encode("json"))?;
    Ok(json!({
        "best_global_step": null,
        "best_metric": null,
        "best_model_checkpoint": null,
        "epoch": crate::metrics::number(contents.epoch),
        "global_step": contents.state.step,
        "is_hyper_param_search": false,
        "is_local_process_zero": true,
        "is_world_process_zero": true,
        "log_history": contents.state.history,
        "logging_steps": settings.logging_steps,
        "max_steps": contents.frame.total_steps,
        "num_train_epochs": settings.num_epochs.ceil() as u64,
        "save_steps": settings.save_steps,
        "stateful_callbacks": {},
        "total_flos": 0.0,
        "train_batch_size": settings.batch_size,
        "trainyard": own
    }))
}

fn encode_moments(adam: &AdamW, parameters: &[Parameter]) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::with_capacity(2 * parameters.len());
    for (index, parameter) in parameters.iter().enumerate() {
        for (kind, moments) in [("exp_avg", &adam.first), ("exp_avg_sq", &adam.second)] {
            let tensor = Tensor::from_slice(&moments[index], parameter.var.shape(), &Device::Cpu)?;
            tensors.push((format!("{kind}.{}", parameter.name), tensor));
        }
    }
    peft::encode(tensors.iter().map(|(name, tensor)| (name.clone(), tensor)))
}

/// What [`load`] brings back, beside the weights that it puts into the parameters.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) adam: AdamW,
    pub(crate) frame: Frame,
}

/// Reads a checkpoint of an adapter of the same shape.
pub(crate) fn load(dir: &Path, lora: &LoraSettings, parameters: &[Parameter]) -> Result<Loaded, TrainError> {
    let config = read_json(&dir.join(peft::CONFIG_FILE))?;
    let expected = peft::config("", lora);
    for field in ["r", "lora_alpha", "target_modules"] {
        if config.get(field) != expected.get(field) {
            let (saved, asked) = (&config[field], &expected[field]);
            let problem =
                format!("was made with {field} {saved}, the job says {asked}; clone without from_checkpoint");
            return Err(TrainError::checkpoint(dir, problem));
        }
    }
    let path = dir.join(STATE_FILE);
    let value = read_json(&path)?;
    let foreign = |_| TrainError::checkpoint(&path, "is not a checkpoint of the built-in trainer");
    let own = Own::deserialize(&value["trainyard"]).map_err(foreign)?;
    let step = value["global_step"].as_u64().unwrap_or(own.updates);
    let history = value["log_history"].as_array().cloned().unwrap_or_default();
    peft::load_adapter(dir, parameters)?;
    let adam = load_moments(&dir.join(OPTIMIZER_FILE), own.updates, parameters)?;
    let state = State { step, history, unlogged: own.unlogged, eval_due: own.eval_due };
    Ok(Loaded { state, adam, frame: own.frame })
}

fn load_moments(path: &Path, updates: u64, parameters: &[Parameter]) -> Result<AdamW, TrainError> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|error| TrainError::checkpoint(path, error.to_string()))?;
    let take = |kind: &str, parameter: &Parameter| -> Result<Vec<f32>, TrainError> {
        let name = format!("{kind}.{}", parameter.name);
        let tensor = tensors.get(&name).filter(|tensor| tensor.dims() == parameter.var.dims());
        let tensor = tensor.ok_or_else(|| TrainError::checkpoint(path, format!("lacks {name}")))?;
        Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
    };
    let all = |kind: &str| -> Result<Vec<Vec<f32>>, TrainError> {
        parameters.iter().map(|parameter| take(kind, parameter)).collect()
    };
    Ok(AdamW { updates, first: all("exp_avg")?, second: all("exp_avg_sq")? })
}

fn read_json(path: &Path) -> Result<Value, TrainError> {
    let text = std::fs::read(path).map_err(|error| TrainError::checkpoint(path, error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| TrainError::checkpoint(path, error.to_string()))
}
