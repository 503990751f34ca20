//! How much GPU memory a training needs at least, guessed from the model's name, the method and the numbers.
//!
//! A floor, not a forecast: what the weights, the adapter, its optimizer and the activations of one sequence take. It
//! keeps a job from being ordered onto a card that cannot hold it; whether a card is comfortable it does not say.

use super::{JobSpec, Precision, Quantization, TrainerKind};

/// What the driver, the allocator and the kernels take before anything is trained, in GB.
const RUNTIME_GB: f64 = 1.5;
/// Share of a model's parameters that an adapter of rank 8 on two modules trains, as such adapters come out.
const ADAPTER_SHARE: f64 = 0.001;
/// Bytes of each trained parameter: itself, its gradient and two moments of the optimizer, in 32 bits.
const TRAINED_BYTES: f64 = 16.0;

impl JobSpec {
    /// Parameters of the model in billions, where its name tells: `Llama-3.2-1B`, `SmolLM2-135M`, `Mixtral-8x7B`.
    pub fn model_billions(&self) -> Option<f64> {
        let name = self.model_name.rsplit('/').next().unwrap_or_default();
        name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).filter_map(billions).reduce(f64::max)
    }

    /// Least memory of a GPU, in GB, that this training fits into; none where the model's size is not known or no GPU is
    /// needed. With several GPUs each holds the whole model, as adapters are trained.
    pub fn least_gpu_memory_gb(&self) -> Option<u32> {
        if self.trainer_kind() == TrainerKind::Builtin {
            return None;
        }
        let billions = self.model_billions()?;
        let numbers = &self.hyperparameters;
        let four_bit = numbers.quantization == Some(Quantization::FourBit) || self.peft_method == "qlora";
        let bytes = match (four_bit, numbers.quantization, numbers.precision) {
            // Half a byte, and the scales of each block.
            (true, ..) => 0.6,
            (_, Some(Quantization::EightBit), _) => 1.1,
            (_, _, Precision::Bf16 | Precision::Fp16) => 2.0,
            (_, _, Precision::Fp32) => 4.0,
        };
        let rank = f64::from(numbers.lora_r) * numbers.target_modules.len().max(1) as f64 / 16.0;
        let adapter = billions * ADAPTER_SHARE * rank * TRAINED_BYTES;
        let tokens = f64::from(numbers.batch_size) * f64::from(numbers.max_seq_length);
        // Activations grow with the width and the depth; so does the model, with the square of the one times the other.
        let per_token_mb = if numbers.gradient_checkpointing { 0.05 } else { 0.35 } * billions.powf(0.66);
        let activations = tokens * per_token_mb / 1024.0;
        let least = RUNTIME_GB + billions * bytes + adapter + activations.min(billions * 2.0 + 2.0);
        Some(least.ceil().clamp(1.0, 10_000.0) as u32)
    }
}

/// `7B` is 7, `135M` is 0.135, `8x7B` is 56.
fn billions(word: &str) -> Option<f64> {
    let lower = word.to_ascii_lowercase();
    let (digits, unit) = match (lower.strip_suffix('b'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1.0),
        (None, Some(digits)) => (digits, 0.001),
        (None, None) => return None,
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0 && *n < 1e5);
    match digits.split_once('x') {
        Some((experts, each)) => Some(number(experts)? * number(each)? * unit),
        None => Some(number(digits)? * unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_tells_its_size() {
        let told = |name: &str| JobSpec::new(name).model_billions();
        assert_eq!(told("meta-llama/Llama-3.2-1B"), Some(1.0));
        assert_eq!(told("TinyLlama/TinyLlama-1.1B-Chat-v1.0"), Some(1.1));
        assert_eq!(told("HuggingFaceTB/SmolLM2-135M"), Some(0.135));
        assert_eq!(told("mistralai/Mixtral-8x7B-v0.1"), Some(56.0));
        assert_eq!(told("Qwen/Qwen2.5-0.5B-Instruct-4bit"), Some(0.5));
        assert_eq!(told("my-org/7B-models/tuned"), None, "the directory is not the model");
        assert_eq!(told("gpt2"), None);
    }

    #[test]
    fn least_memory_grows_with_model_and_method() {
        let least = |name: &str, change: fn(&mut JobSpec)| {
            let mut spec = JobSpec::new(name);
            change(&mut spec);
            spec.least_gpu_memory_gb()
        };
        assert_eq!(least("x/Llama-3.2-1B", |_| {}), Some(5));
        assert_eq!(least("x/Llama-2-7b-hf", |_| {}), Some(21));
        assert_eq!(least("x/Llama-2-7b-hf", |spec| spec.peft_method = "qlora".to_owned()), Some(11));
        assert_eq!(least("x/Llama-3-70B", |_| {}), Some(166));
        assert_eq!(
            least("x/Llama-3-70B", |spec| spec.hyperparameters.gradient_checkpointing = true),
            Some(146)
        );
        assert_eq!(least("gpt2", |_| {}), None);
        assert_eq!(least("trainyard-tiny", |_| {}), None, "it trains on the processor");
    }
}
