//! Numbers of the training, under the field's usual names.

use serde::{Deserialize, Serialize};

/// The hyperparameters. What is shown in the contract is the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hyperparameters {
    /// LoRA rank.
    pub lora_r: u32,
    /// LoRA alpha; the update is scaled by `lora_alpha / lora_r`.
    pub lora_alpha: f64,
    /// Dropout before the LoRA matrices, 0 to below 1.
    pub lora_dropout: f64,
    /// Names of the linear layers that get an adapter.
    pub target_modules: Vec<String>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate moves.
    pub scheduler: Scheduler,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm; 0 turns it off.
    pub max_grad_norm: f64,
    /// The optimizer's name.
    pub optimizer: String,
    /// Passes over the dataset; `max_steps` wins over it.
    pub num_epochs: f64,
    /// Optimizer steps in all.
    pub max_steps: Option<u64>,
    /// Records per forward pass.
    pub batch_size: u32,
    /// Forward passes per optimizer step.
    pub gradient_accumulation_steps: u32,
    /// Longest record in tokens; what is over is cut.
    pub max_seq_length: u32,
    /// Several short records in one sequence.
    pub packing: bool,
    /// Less memory for more computing.
    pub gradient_checkpointing: bool,
    /// Number format of the computation.
    pub precision: Precision,
    /// Number format of the frozen base; none leaves it as it is.
    pub quantization: Option<Quantization>,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Checkpoints kept.
    pub save_total_limit: Option<u32>,
    /// Steps between evaluations.
    pub eval_steps: u64,
    /// When to evaluate.
    pub eval_strategy: EvalStrategy,
    /// Seed of everything random.
    pub seed: u64,
    /// Whatever a trainer knows beyond these.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// How the learning rate moves after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the field's usual names")]
pub enum Scheduler {
    Linear,
    Cosine,
    Constant,
    ConstantWithWarmup,
    CosineWithRestarts,
    Polynomial,
}

/// Number format of the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the field's usual names")]
pub enum Precision {
    Bf16,
    Fp16,
    Fp32,
}

/// Number format of the frozen base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the field's usual names")]
pub enum Quantization {
    #[serde(rename = "4bit")]
    FourBit,
    #[serde(rename = "8bit")]
    EightBit,
}

/// When held-out loss is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalStrategy {
    /// Every `eval_steps`.
    Steps,
    /// After each epoch.
    Epoch,
    /// Never.
    No,
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Hyperparameters {
            lora_r: 8,
            lora_alpha: 16.0,
            lora_dropout: 0.05,
            target_modules: vec!["q_proj".to_owned(), "v_proj".to_owned()],
            learning_rate: 0.0002,
            scheduler: Scheduler::Linear,
            warmup_steps: 100,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            optimizer: "adamw".to_owned(),
            num_epochs: 3.0,
            max_steps: None,
            batch_size: 4,
            gradient_accumulation_steps: 4,
            max_seq_length: 1024,
            packing: false,
            gradient_checkpointing: false,
            precision: Precision::Bf16,
            quantization: None,
            save_steps: 500,
            save_total_limit: Some(3),
            eval_steps: 500,
            eval_strategy: EvalStrategy::Steps,
            seed: 42,
            extra: serde_json::Map::new(),
        }
    }
}
