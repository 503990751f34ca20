//! The adapter as files in PEFT's layout.
//!
//! Promises: `PeftModel.from_pretrained` loads the directory: PEFT's key names, `{"format": "pt"}` in the
//! file's metadata, and an `adapter_config.json` with the fields that PEFT has had since 0.6.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use crate::error::TrainError;
use crate::files;
use crate::lora::Parameter;
use crate::settings::LoraSettings;

pub(crate) const ADAPTER_FILE: &str = "adapter_model.safetensors";
pub(crate) const CONFIG_FILE: &str = "adapter_config.json";

/// Tensors as a safetensors file with PEFT's metadata.
pub(crate) fn encode<'a>(
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<Vec<u8>, TrainError> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(tensors, Some(metadata)).map_err(TrainError::encode("safetensors"))
}

/// The adapter's weights as the bytes of `adapter_model.safetensors`.
pub(crate) fn encode_adapter(parameters: &[Parameter]) -> Result<Vec<u8>, TrainError> {
    encode(parameters.iter().map(|parameter| (parameter.name.clone(), parameter.var.as_tensor())))
}

/// Puts saved weights into an adapter of the same shape.
pub(crate) fn load_adapter(dir: &Path, parameters: &[Parameter]) -> Result<(), TrainError> {
    let path = dir.join(ADAPTER_FILE);
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu)
        .map_err(|error| TrainError::checkpoint(&path, error.to_string()))?;
    for parameter in parameters {
        let saved = tensors.remove(&parameter.name);
        let fits = saved.filter(|saved| saved.dims() == parameter.var.dims());
        let saved = fits.ok_or_else(|| {
            let problem = format!("lacks {} with shape {:?}", parameter.name, parameter.var.dims());
            TrainError::checkpoint(&path, problem)
        })?;
        parameter.var.set(&saved)?;
    }
    Ok(())
}

/// `adapter_config.json`.
pub(crate) fn config(base: &str, lora: &LoraSettings) -> Value {
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": whole(lora.alpha),
        "lora_dropout": lora.dropout,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": lora.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false
    })
}

/// 16 rather than 16.0: PEFT's field is an integer, though it takes both.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
}

/// Writes the finished adapter.
pub(crate) fn write_output(
    dir: &Path,
    base: &str,
    lora: &LoraSettings,
    parameters: &[Parameter],
    story: &str,
) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(TrainError::io("make", dir))?;
    files::replace(&dir.join("README.md"), readme(base, lora, story).as_bytes())?;
    files::replace(&dir.join(CONFIG_FILE), &pretty(&config(base, lora))?)?;
    files::replace(&dir.join(ADAPTER_FILE), &encode_adapter(parameters)?)
}

/// JSON as people read it, with a line feed at its end.
pub(crate) fn pretty(value: &Value) -> Result<Vec<u8>, TrainError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(TrainError::encode("json"))?;
    text.push(b'\n');
    Ok(text)
}

fn readme(base: &str, lora: &LoraSettings, story: &str) -> String {
    let (r, alpha, targets) = (lora.r, lora.alpha, lora.targets.join(", "));
    let name = json!(base);
    format!(
        "---\nbase_model: {name}\nlibrary_name: peft\n---\n\n\
         A LoRA adapter for `{base}` (rank {r}, alpha {alpha}, on {targets}), made by Trainyard's built-in trainer.\n\
         {story}\n\n\
         ```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
         base = AutoModelForCausalLM.from_pretrained(\"PATH OF THE BASE MODEL\")\n\
         model = PeftModel.from_pretrained(base, \"PATH OF THIS DIRECTORY\")\n```\n"
    )
}
