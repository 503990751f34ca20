//! The bundled base learns the bundled data, and leaves what PEFT loads.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trainyard_trainer::{EXAMPLE_DATASET, Outcome, export_tiny, quickstart_hyperparameters};

use crate::support::Job;

fn numbers(metrics: &[Value], name: &str) -> Vec<f64> {
    metrics.iter().filter_map(|point| point[name].as_f64()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_loss_falls_and_the_adapter_has_pefts_layout() {
    let mut hyperparameters = quickstart_hyperparameters();
    hyperparameters["max_steps"] = json!(36);
    hyperparameters["eval_steps"] = json!(18);
    let job = Job::new(hyperparameters);
    assert_eq!(job.run().unwrap(), Outcome::Finished);

    let metrics = job.metrics();
    let losses = numbers(&metrics, "loss");
    assert_eq!(losses.len(), 36);
    let (first, last) = (mean(&losses[..10]), mean(&losses[26..]));
    assert!(last < 0.8 * first, "{first} to {last}");
    let evaluated = numbers(&metrics, "eval_loss");
    assert_eq!(evaluated.len(), 3, "at the start, in the middle, at the end");
    assert!(evaluated[2] < 0.8 * evaluated[0], "{evaluated:?}");
    assert_eq!(metrics.iter().filter_map(|point| point["progress"].as_f64()).next_back(), Some(1.0));
    for name in ["epoch", "learning_rate", "grad_norm", "eta_s", "tokens_per_s"] {
        assert_eq!(numbers(&metrics, name).len(), if name == "epoch" { 39 } else { 36 }, "{name}");
    }
    check_adapter(&job);
}

fn check_adapter(job: &Job) {
    let bytes = job.adapter();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let names = header.tensors();
    assert_eq!(names.len(), 4 * 7 * 2);
    assert_eq!(names["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape, [8, 128]);
    assert_eq!(names["base_model.model.model.layers.3.mlp.down_proj.lora_B.weight"].shape, [128, 8]);
    let text = std::fs::read(job.env.output_dir.join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&config["peft_type"], &config["task_type"]), (&json!("LORA"), &json!("CAUSAL_LM")));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(8), &json!(16)));
    assert_eq!(config["base_model_name_or_path"], "trainyard-tiny");
    assert!(job.env.output_dir.join("README.md").exists());
    let left = std::fs::read_dir(&job.env.output_dir).unwrap().count();
    assert_eq!(left, 3, "nothing half made is left behind");
}

#[test]
fn the_bundled_files_are_those_that_their_readme_records() {
    let readme = include_str!("../../assets/README.md");
    let dir = tempfile::tempdir().unwrap();
    export_tiny(dir.path()).unwrap();
    let model = std::fs::read(dir.path().join("model.safetensors")).unwrap();
    assert!(dir.path().join("config.json").exists());
    for bytes in [&model[..], EXAMPLE_DATASET.as_bytes()] {
        let digest = hex::encode(Sha256::digest(bytes));
        assert!(readme.contains(&digest), "{digest} is not in assets/README.md");
    }
}
