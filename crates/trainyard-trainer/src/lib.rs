//! The built-in trainer: really trains a small LoRA adapter on a CPU.
