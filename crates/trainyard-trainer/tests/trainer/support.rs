//! A job in a temporary directory, run in this process or as a child.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use trainyard_trainer::{Outcome, TrainEnv, TrainError, train};

/// One job and everything it reads and writes.
pub(crate) struct Job {
    dir: tempfile::TempDir,
    pub(crate) env: TrainEnv,
}

impl Job {
    /// A job of the bundled base with these hyperparameters.
    pub(crate) fn new(hyperparameters: Value) -> Self {
        Self::of(json!({"model_name": "trainyard-tiny", "dataset": null, "hyperparameters": hyperparameters}))
    }

    /// A job with this body.
    pub(crate) fn of(body: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let env = TrainEnv {
            spec: at("spec.json"),
            output_dir: at("output"),
            checkpoint_dir: at("checkpoints"),
            metrics_file: Some(at("metrics.jsonl")),
            ..TrainEnv::default()
        };
        std::fs::write(&env.spec, body.to_string()).unwrap();
        Self { dir, env }
    }

    /// A job of a random model, small enough for many steps a second, and forty records of text.
    pub(crate) fn small(hyperparameters: Value) -> Self {
        let mut job =
            Self::of(json!({"model_name": "small", "dataset": "path:d", "hyperparameters": hyperparameters}));
        job.env.model_dir = Some(job.path("model"));
        write_model(&job.path("model"), &small_config(), DType::F32);
        let records: String =
            (0..40).map(|n| format!("{}\n", json!({"text": format!("{} and {}", n * 7, n % 5)}))).collect();
        job.dataset(&records);
        job
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dataset(&mut self, text: &str) {
        let path = self.path("data.jsonl");
        std::fs::write(&path, text).unwrap();
        self.env.dataset = Some(path);
    }

    pub(crate) fn resume_from(&mut self, name: &str) {
        self.env.resume_from = Some(self.env.checkpoint_dir.join(name));
    }

    /// Runs to the end, or until a log line begins with these words.
    pub(crate) fn run_until(&self, words: Option<&'static str>) -> Result<Outcome, TrainError> {
        let stop = AtomicBool::new(false);
        train(&self.env, &stop, &mut Watch { stop: &stop, words })
    }

    pub(crate) fn run(&self) -> Result<Outcome, TrainError> {
        self.run_until(None)
    }

    pub(crate) fn refusal(&self) -> String {
        let error = self.run().unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    pub(crate) fn adapter(&self) -> Vec<u8> {
        std::fs::read(self.env.output_dir.join("adapter_model.safetensors")).unwrap()
    }

    pub(crate) fn metrics(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.env.metrics_file.as_ref().unwrap()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names in the checkpoint directory, sorted.
    pub(crate) fn checkpoints(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.env.checkpoint_dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Sets the flag as soon as it reads the words, as a signal would at that moment.
struct Watch<'a> {
    stop: &'a AtomicBool,
    words: Option<&'static str>,
}

impl Write for Watch<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.words.is_some_and(|words| bytes.starts_with(words.as_bytes())) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes, grouped key heads, tied embeddings.
pub(crate) fn small_config() -> Value {
    json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 258, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "max_position_embeddings": 128,
        "hidden_act": "silu"})
}

/// The names and shapes of such a configuration's weights.
pub(crate) fn tensors(config: &Value, dtype: DType) -> Vec<(String, Tensor)> {
    let size = |name: &str| config[name].as_u64().unwrap() as usize;
    let (hidden, wide, vocabulary) = (size("hidden_size"), size("intermediate_size"), size("vocab_size"));
    let keys = hidden / size("num_attention_heads") * size("num_key_value_heads");
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![keys, hidden]),
            ("self_attn.v_proj", vec![keys, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![wide, hidden]),
            ("mlp.up_proj", vec![wide, hidden]),
            ("mlp.down_proj", vec![hidden, wide]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let weight = |index: usize, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let wave = |n: usize| ((n * 37 + index * 11) as f32).sin() * 0.2;
        let values: Vec<f32> = (0..count).map(|n| if shape.len() == 1 { 1.0 } else { wave(n) }).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    shapes.iter().enumerate().map(|(index, (name, shape))| (name.clone(), weight(index, shape))).collect()
}

/// A model directory with one file of weights.
pub(crate) fn write_model(dir: &Path, config: &Value, dtype: DType) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    safetensors::serialize_to_file(tensors(config, dtype), None, &dir.join("model.safetensors")).unwrap();
}
