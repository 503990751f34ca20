//! How fast the built-in trainer learns, beside what this machine multiplies.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use crate::Fault;
use crate::bench::Bench;
use crate::product::Server;
use crate::stats::Sample;
use crate::table::{Amount, Figure};

/// Weights that a token meets in `trainyard-tiny`: four layers of width 128 and 344, and the head of 258 words.
const WEIGHTS: f64 = 4.0 * (4.0 * 128.0 * 128.0 + 3.0 * 128.0 * 344.0) + 258.0 * 128.0;
/// Operations per weight and token: a product forward and one backward, as frozen weights get no gradient.
const PER_WEIGHT: f64 = 4.0;
/// Rows of a product: tokens of one batch.
const ROWS: usize = 512;

/// Tokens a second if training were nothing but the products of its layers.
fn products() -> Result<f64, Fault> {
    let device = Device::Cpu;
    let x = Tensor::ones((ROWS, 128), DType::F32, &device)?;
    let weight = Tensor::ones((128, 344), DType::F32, &device)?;
    let (from, mut done) = (Instant::now(), 0.0);
    while from.elapsed() < Duration::from_millis(700) {
        x.matmul(&weight)?;
        done += 2.0 * (ROWS * 128 * 344) as f64;
    }
    Ok(done / from.elapsed().as_secs_f64() / (WEIGHTS * PER_WEIGHT))
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Figure>, Fault> {
    let server = Server::start(bench)?;
    let hyperparameters = json!({
        "max_steps": 60, "warmup_steps": 2, "batch_size": 8, "gradient_accumulation_steps": 1, "max_seq_length": 128,
        "eval_strategy": "no",
    });
    server
        .create(&json!({"job_id": "t", "model_name": "trainyard-tiny", "hyperparameters": hyperparameters}))
        .await?;
    let floor = products()?;
    server.submit("t").await?;
    server.completed("t").await?;
    let answer: Value =
        serde_json::from_str(&server.get("/api/training/jobs/t/metrics?names=tokens_per_s").await?)?;
    let mut speed = Sample::default();
    collect(&answer, &mut speed);
    if speed.len() == 0 {
        return Err(format!("no speed in {answer}").into());
    }
    let what = "built-in trainer, trainyard-tiny, LoRA, tokens learnt from, p50";
    Ok(vec![
        Figure::new("trainer", what, Amount::per_second(speed.p50()))
            .floor("as if it were only the matrix products of the layers", Amount::per_second(floor)),
    ])
}

/// Every `tokens_per_s` in there, however the points are laid out.
fn collect(value: &Value, speed: &mut Sample) {
    match value {
        Value::Object(fields) => {
            speed.extend(fields.get("tokens_per_s").and_then(Value::as_f64));
            fields.values().for_each(|value| collect(value, speed));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, speed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
