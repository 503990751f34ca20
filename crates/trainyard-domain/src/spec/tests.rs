//! The defaults against what the contract shows, and how the trainer is chosen.

use serde_json::{Value, json};

use super::{JobSpec, TrainerKind};

/// The defaults as the contract shows them, number for number.
fn contract() -> Value {
    json!({
        "hyperparameters": {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
            "learning_rate": 0.0002, "scheduler": "linear", "warmup_steps": 100, "weight_decay": 0.01,
            "max_grad_norm": 1.0, "optimizer": "adamw", "num_epochs": 3, "max_steps": null, "batch_size": 4,
            "gradient_accumulation_steps": 4, "max_seq_length": 1024, "packing": false,
            "gradient_checkpointing": false, "precision": "bf16", "quantization": null, "save_steps": 500,
            "save_total_limit": 3, "eval_steps": 500, "eval_strategy": "steps", "seed": 42, "extra": {}},
        "trainer": {"kind": null, "command": null, "workdir": null, "launch": "auto", "hook": true},
        "environment": {"image": null, "registry_auth": null, "requirements": [], "setup": [], "env": {}},
        "resources": {"gpu": [], "gpu_memory_gb": null, "gpu_count": 1, "regions": [], "spot": false, "disk_gb": 80,
            "max_price_per_hour": null, "keep_warm_s": 0},
        "limits": {"max_duration_s": 14400, "max_cost_usd": null, "grace_period_s": 120,
            "when_orchestrator_lost": "finish", "max_silence_s": 14400, "hold_s": 43200, "hold_on_failure_s": 0},
        "retry": {"max_attempts": 3, "wait_for_capacity_s": 0},
        "outputs": {"main": null, "include": ["**"], "exclude": ["checkpoint-*/**"]},
        "checkpoints": {"pattern": "checkpoint-*", "every_s": 600, "keep": 2, "resume_args": null},
        "labels": {}, "model_name": "owner/name", "dataset": null, "eval_dataset": null, "peft_method": "lora",
        "code": null, "inputs": [], "secrets": [], "webhooks": [],
    })
}

/// Numbers as floats, so that `3` and `3.0`, which JSON does not tell apart, are equal here too.
fn numbers_alike(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(numbers_alike).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, numbers_alike(value))).collect()
        }
        other => other,
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let spec = JobSpec::from_json(json!({"model_name": "owner/name"})).expect("only the name is required");
    assert_eq!(spec, JobSpec::new("owner/name"));
    let shown = serde_json::to_value(&spec).expect("JSON");
    assert_eq!(numbers_alike(shown), numbers_alike(contract()));
    assert_eq!(JobSpec::from_json(contract()).expect("what is shown can be sent"), spec);
    insta::assert_json_snapshot!("defaults", spec);
}

#[test]
fn the_trainer_is_chosen_by_what_is_asked() {
    let kind = |spec: Value| JobSpec::from_json(spec).expect("valid").trainer_kind();
    assert_eq!(kind(json!({"model_name": "trainyard-tiny"})), TrainerKind::Builtin);
    assert_eq!(kind(json!({"model_name": "/models/llama"})), TrainerKind::Builtin);
    assert_eq!(kind(json!({"model_name": "./llama"})), TrainerKind::Builtin);
    assert_eq!(kind(json!({"model_name": "meta-llama/Llama-3.2-1B"})), TrainerKind::Peft);
    let command = json!({"command": ["python", "train.py"]});
    assert_eq!(kind(json!({"model_name": "trainyard-tiny", "trainer": command})), TrainerKind::Command);
    assert_eq!(kind(json!({"model_name": "/models/llama", "trainer": {"kind": "peft"}})), TrainerKind::Peft);
}

#[test]
fn every_source_is_named_by_its_field() {
    let spec = JobSpec::from_json(json!({
        "model_name": "owner/name", "dataset": "a/b", "eval_dataset": {"source": "c/d"}, "code": "path:/x.tar",
        "inputs": [{"source": "e/f", "path": "x"}, {"source": "g/h", "path": "y"}],
    }))
    .expect("valid");
    let fields: Vec<String> = spec.sources().into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        ["dataset.source", "eval_dataset.source", "code", "inputs[0].source", "inputs[1].source"]
    );
}
