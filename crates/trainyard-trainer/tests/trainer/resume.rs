//! Interrupted and continued is the same as never interrupted, bit for bit.

use serde_json::{Value, json};
use trainyard_trainer::Outcome;

use crate::support::Job;

/// Everything with a state of its own: dropout, accumulation, warm-up, averaged losses, epochs.
fn hyperparameters() -> Value {
    json!({"lora_r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], "lora_dropout": 0.1, "learning_rate": 0.01,
        "scheduler": "cosine", "warmup_steps": 3, "num_epochs": 2.5, "batch_size": 3, "gradient_accumulation_steps": 2,
        "max_seq_length": 32, "eval_steps": 4, "save_steps": 5, "save_total_limit": 2, "seed": 9,
        "extra": {"logging_steps": 3}})
}

fn steps(metrics: &[Value], name: &str) -> Vec<u64> {
    metrics
        .iter()
        .filter(|point| point.get(name).is_some())
        .map(|point| point["step"].as_u64().unwrap())
        .collect()
}

/// The history without what depends on the clock.
fn told(job: &Job) -> Vec<(Value, Value, Value)> {
    let part = |point: &Value| (point["step"].clone(), point["loss"].clone(), point["eval_loss"].clone());
    job.metrics().iter().map(part).collect()
}

#[test]
fn a_continued_training_gives_the_same_bits_and_tells_nothing_twice() {
    let whole = Job::small(hyperparameters());
    assert_eq!(whole.run().unwrap(), Outcome::Finished);
    assert_eq!(steps(&whole.metrics(), "loss"), [3, 6, 9, 12, 15]);
    assert_eq!(steps(&whole.metrics(), "eval_loss"), [0, 4, 8, 12, 15]);

    let mut parts = Job::small(hyperparameters());
    assert_eq!(parts.run_until(Some("step 3/")).unwrap(), Outcome::Stopped);
    parts.resume_from("checkpoint-3");
    // The checkpoint of step 5 is the regular one; the request to stop comes with it.
    assert_eq!(parts.run_until(Some("saved ")).unwrap(), Outcome::Stopped);
    parts.resume_from("checkpoint-5");
    // Step 12 is logged and then evaluated: the stop falls between the two.
    assert_eq!(parts.run_until(Some("step 12/15 loss")).unwrap(), Outcome::Stopped);
    parts.resume_from("checkpoint-12");
    assert_eq!(parts.run().unwrap(), Outcome::Finished);

    assert_eq!(told(&parts), told(&whole));
    assert!(parts.adapter() == whole.adapter(), "the adapters differ");
}

#[test]
fn a_killed_training_continues_from_an_older_checkpoint_with_the_same_bits() {
    let whole = Job::small(hyperparameters());
    whole.run().unwrap();
    assert_eq!(whole.checkpoints(), ["checkpoint-10", "checkpoint-15"]);
    let mut again = Job::small(hyperparameters());
    again.env.checkpoint_dir = whole.env.checkpoint_dir.clone();
    std::fs::create_dir(again.env.checkpoint_dir.join(".tmp-checkpoint-13")).unwrap();
    again.resume_from("checkpoint-10");
    again.run().unwrap();
    assert_eq!(steps(&again.metrics(), "loss"), [12, 15], "nothing before the checkpoint is told again");
    assert!(again.adapter() == whole.adapter(), "the adapters differ");
    assert_eq!(again.checkpoints(), ["checkpoint-10", "checkpoint-15"]);
}

#[test]
fn another_seed_gives_another_adapter() {
    let mut other = hyperparameters();
    other["seed"] = json!(10);
    let (one, two) = (Job::small(hyperparameters()), Job::small(other));
    one.run().unwrap();
    two.run().unwrap();
    assert!(one.adapter() != two.adapter());
}

#[test]
fn a_checkpoint_is_whole_and_in_the_form_of_transformers() {
    let job = Job::small(hyperparameters());
    job.run().unwrap();
    let dir = job.env.checkpoint_dir.join("checkpoint-10");
    for name in
        ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "trainer_state.json"]
    {
        assert!(dir.join(name).exists(), "{name}");
    }
    let state: Value =
        serde_json::from_slice(&std::fs::read(dir.join("trainer_state.json")).unwrap()).unwrap();
    assert_eq!((&state["global_step"], &state["max_steps"]), (&json!(10), &json!(15)));
    let history = state["log_history"].as_array().unwrap();
    assert_eq!(steps(history, "loss"), [3, 6, 9]);
    assert_eq!(steps(history, "eval_loss"), [0, 4, 8]);
    assert!(history[1]["learning_rate"].is_f64());
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_with_the_reason() {
    let mut job = Job::small(hyperparameters());
    job.run().unwrap();
    job.resume_from("checkpoint-99");
    assert!(job.refusal().contains("checkpoint-99"));
    job.resume_from("checkpoint-15");
    let mut other = hyperparameters();
    other["lora_r"] = json!(2);
    let body = json!({"model_name": "small", "dataset": "path:d", "hyperparameters": other});
    std::fs::write(&job.env.spec, body.to_string()).unwrap();
    assert!(job.refusal().contains("was made with r 4, the job says 2"));
    std::fs::write(
        &job.env.spec,
        json!({"model_name": "small", "dataset": "d", "hyperparameters": hyperparameters()}).to_string(),
    )
    .unwrap();
    std::fs::write(job.env.checkpoint_dir.join("checkpoint-15/optimizer.safetensors"), b"torn").unwrap();
    assert!(job.refusal().contains("optimizer.safetensors"));
}
