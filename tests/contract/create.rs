//! `POST /jobs`: what is required, what is filled in, what is refused.

use serde_json::{Value, json};

use crate::yard::{JOBS, Yard, keys, moment};

#[test]
fn only_the_model_is_required_and_the_rest_has_the_documented_defaults() {
    let yard = Yard::new();
    let answer = yard.http.post(JOBS, &json!({"model_name": "meta-llama/Llama-3.2-1B"}));
    let job = answer.ok(201);
    let id = job["job_id"].as_str().expect("an id made by the server");
    assert!(id.len() <= 128 && id.as_bytes()[0].is_ascii_alphanumeric());
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id}");
    assert_eq!(answer.header("location"), Some(format!("{JOBS}/{id}").as_str()));
    let spec = &job["specification"];
    let documented = json!({
        "hyperparameters": {
            "lora_r": 8, "lora_alpha": 16.0, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
            "learning_rate": 0.0002, "scheduler": "linear", "warmup_steps": 100, "weight_decay": 0.01,
            "max_grad_norm": 1.0, "optimizer": "adamw", "num_epochs": 3.0, "max_steps": null, "batch_size": 4,
            "gradient_accumulation_steps": 4, "max_seq_length": 1024, "packing": false,
            "gradient_checkpointing": false, "precision": "bf16", "quantization": null, "save_steps": 500,
            "save_total_limit": 3, "eval_steps": 500, "eval_strategy": "steps", "seed": 42, "extra": {}
        },
        "limits": {
            "max_duration_s": 14400, "max_cost_usd": null, "grace_period_s": 120,
            "when_orchestrator_lost": "finish", "max_silence_s": 14400, "hold_s": 43200, "hold_on_failure_s": 0
        },
        "retry": {"max_attempts": 3, "wait_for_capacity_s": 0},
        "outputs": {"main": null, "include": ["**"], "exclude": ["checkpoint-*/**"]},
        "checkpoints": {"pattern": "checkpoint-*", "every_s": 600, "keep": 2, "resume_args": null},
        "environment": {"image": null, "registry_auth": null, "requirements": [], "setup": [], "env": {}},
        "labels": {}, "dataset": null, "eval_dataset": null, "peft_method": "lora", "code": null, "inputs": [],
        "secrets": [], "webhooks": []
    });
    for (name, expected) in documented.as_object().expect("an object") {
        assert!(same(&spec[name], expected), "`{name}` is {}", spec[name]);
    }
    assert_eq!((&spec["trainer"]["launch"], &spec["trainer"]["hook"]), (&json!("auto"), &json!(true)));
    let resources = &spec["resources"];
    for (name, expected) in [("gpu_count", json!(1)), ("spot", json!(false)), ("disk_gb", json!(80))] {
        assert_eq!(resources[name], expected, "`{name}`");
    }
    assert_eq!(resources["keep_warm_s"], 0);
}

/// The same JSON, where 16 and 16.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter().all(|(name, value)| y.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Number(x), Value::Number(y)) => x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

#[test]
fn the_documented_body_is_taken_whole_and_shown_again() {
    let yard = Yard::new();
    let body = json!({
        "job_id": "my_job_123",
        "labels": {"team": "search"},
        "model_name": "meta-llama/Llama-3.2-1B",
        "dataset": {"source": format!("input:{}", "a".repeat(64)), "format": "messages", "split": "train"},
        "eval_dataset": null,
        "peft_method": "lora",
        "hyperparameters": {"lora_r": 8, "num_epochs": 3, "max_steps": null, "quantization": null, "extra": {}},
        "trainer": {"kind": "peft", "launch": "auto", "hook": true},
        "environment": {"image": null, "registry_auth": null, "requirements": [], "setup": [], "env": {}},
        "code": null,
        "inputs": [{"source": "https://example.org/extra.jsonl", "path": "extra.jsonl"}],
        "secrets": ["HF_TOKEN"],
        "resources": {"gpu": ["A100-80GB", "H100"], "gpu_memory_gb": null, "gpu_count": 1, "regions": [],
            "spot": false, "disk_gb": 80, "max_price_per_hour": "2.50", "keep_warm_s": 0},
        "limits": {"max_duration_s": 14400, "max_cost_usd": "10.00", "grace_period_s": 120,
            "when_orchestrator_lost": "finish", "max_silence_s": 14400, "hold_s": 43200, "hold_on_failure_s": 0},
        "retry": {"max_attempts": 3, "wait_for_capacity_s": 0},
        "outputs": {"main": null, "include": ["**"], "exclude": ["checkpoint-*/**"]},
        "checkpoints": {"pattern": "checkpoint-*", "every_s": 600, "keep": 2, "resume_args": null},
        "webhooks": [{"url": "https://example.org/hook", "events": ["completed", "failed"]}]
    });
    let job = yard.http.post(JOBS, &body).ok(201);
    assert_eq!(job["job_id"], "my_job_123");
    assert_eq!(job["labels"], json!({"team": "search"}));
    let spec = &job["specification"];
    for name in ["dataset", "inputs", "secrets", "outputs", "checkpoints", "webhooks", "retry"] {
        assert!(same(&spec[name], &body[name]), "`{name}` is {}", spec[name]);
    }
    assert_eq!(spec["limits"]["max_cost_usd"], "10.00");
    assert_eq!(spec["resources"]["max_price_per_hour"], "2.50");
    yard.http.post(JOBS, &body).error(409, "job_exists");
    assert_eq!(yard.get("my_job_123", "").ok(200), job);
}

#[test]
fn a_new_job_is_created_and_has_every_field() {
    let yard = Yard::new();
    let job = yard.create("job_1", &json!({"model_name": "trainyard-tiny"}));
    assert_eq!(job["state"], "created");
    moment(&job["created_at"]);
    let documented = [
        "artifact",
        "attempts",
        "completed_at",
        "cost",
        "created_at",
        "current_metrics",
        "job_id",
        "labels",
        "limits",
        "phase",
        "phase_since",
        "progress",
        "provider",
        "provider_job_id",
        "reason",
        "specification",
        "started_at",
        "state",
    ];
    let keys = keys(&job);
    for name in documented {
        assert!(keys.contains(&name), "`{name}` of {job}");
    }
    for name in
        ["provider", "provider_job_id", "started_at", "completed_at", "artifact", "current_metrics", "reason"]
    {
        assert!(job[name].is_null(), "`{name}` of {job}");
    }
    assert_eq!(job["attempts"], json!([]));
    assert_eq!(job["cost"], json!({"amount": "0", "currency": "USD"}));
}

#[test]
fn ids_are_checked() {
    let yard = Yard::new();
    let create = |id: &Value| yard.http.post(JOBS, &json!({"job_id": id, "model_name": "any"}));
    let longest = "a".repeat(128);
    for good in ["a", "0", "A.b_c-9", longest.as_str()] {
        assert_eq!(create(&json!(good)).ok(201)["job_id"], good);
    }
    let too_long = "a".repeat(129);
    for bad in ["", ".a", "_a", "-a", "a b", "a/b", "ä", "a\n", too_long.as_str()] {
        create(&json!(bad)).error(400, "invalid_job_id");
    }
    for bad in [json!(7), json!(["a"]), json!({})] {
        create(&bad).error(400, "invalid_job_id");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let yard = Yard::new();
    let token = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH";
    let cases = [
        (json!({}), "model_name"),
        (json!({"model_name": 7}), "model_name"),
        (json!({"model_name": "any", "modle": 1}), "modle"),
        (json!({"model_name": "any", "hyperparameters": {"lora_rank": 8}}), "lora_rank"),
        (json!({"model_name": "any", "hyperparameters": {"lora_r": "eight"}}), "hyperparameters.lora_r"),
        (json!({"model_name": "any", "hyperparameters": {"lora_r": 0}}), "hyperparameters.lora_r"),
        (
            json!({"model_name": "any", "hyperparameters": {"learning_rate": -1}}),
            "hyperparameters.learning_rate",
        ),
        (
            json!({"model_name": "any", "hyperparameters": {"scheduler": "sinus"}}),
            "hyperparameters.scheduler",
        ),
        (json!({"model_name": "any", "limits": {"max_duration_s": 0}}), "limits.max_duration_s"),
        (json!({"model_name": "any", "limits": {"max_cost_usd": "ten"}}), "limits.max_cost_usd"),
        (json!({"model_name": "any", "trainer": {"kind": "builtin"}}), "trainer.kind"),
        (json!({"model_name": "any", "trainer": {"kind": "command"}}), "trainer.command"),
        (json!({"model_name": "any", "trainer": {"kind": "magic"}}), "trainer.kind"),
        (json!({"model_name": "any", "retry": {"max_attempts": 0}}), "retry.max_attempts"),
        (json!({"model_name": "any", "dataset": {"source": "ftp:x"}}), "dataset"),
        (json!({"model_name": "any", "code": "input:123"}), "code"),
        (json!({"model_name": "any", "inputs": [{"source": "hf:a/b", "path": "../x"}]}), "inputs[0].path"),
        (json!({"model_name": "any", "secrets": ["no-name"]}), "secrets"),
        (json!({"model_name": "any", "environment": {"env": {"A": token}}}), "environment.env.A"),
        (json!({"model_name": "any", "environment": {"env": {"TRAINYARD_X": "y"}}}), "TRAINYARD_X"),
        (json!({"model_name": "any", "labels": {"a": 1}}), "labels"),
        (json!({"model_name": "any", "outputs": {"include": ["/etc/**"]}}), "outputs.include"),
    ];
    for (body, field) in cases {
        let error = yard.http.post(JOBS, &body).error(400, "invalid_spec");
        let detail = error["detail"].as_str().expect("`detail`");
        assert!(detail.contains(field), "{body} must name `{field}`: {error}");
        assert!(!error.to_string().contains(token), "a token is not repeated: {error}");
    }
    // A value that looks like a token is answered with a pointer to where it belongs.
    let error = yard.http.post(JOBS, &json!({"model_name": "any", "environment": {"env": {"A": token}}}));
    assert!(error.text().contains("secret"), "{}", error.text());
    assert_eq!(yard.http.get(JOBS).ok(200)["total"], 0, "nothing of all this was created");
}

#[test]
fn several_errors_are_told_at_once() {
    let yard = Yard::new();
    let body = json!({"model_name": "", "hyperparameters": {"batch_size": 0, "seed": 1}, "retry": {"max_attempts": 0}});
    let error = yard.http.post(JOBS, &body).error(400, "invalid_spec");
    for field in ["model_name", "hyperparameters.batch_size", "retry.max_attempts"] {
        assert!(error["detail"].as_str().is_some_and(|text| text.contains(field)), "`{field}` in {error}");
    }
}

#[test]
fn every_trainer_and_source_of_the_contract_can_be_created() {
    let yard = Yard::new();
    for (i, source) in
        ["hf:owner/name@main", "owner/name", "https://example.org/a.jsonl", "path:/data/a.jsonl"]
            .iter()
            .enumerate()
    {
        let job = yard.create(&format!("s{i}"), &json!({"model_name": "any", "dataset": source}));
        assert!(job["specification"]["dataset"]["source"].is_string(), "a plain string is a source");
    }
    for kind in ["peft", "command"] {
        let mut trainer = json!({"kind": kind});
        if kind == "command" {
            trainer["command"] = json!(["true"]);
        }
        yard.create(kind, &json!({"model_name": "any", "trainer": trainer}));
    }
    yard.create("builtin", &json!({"model_name": "trainyard-tiny", "trainer": {"kind": "builtin"}}));
}
