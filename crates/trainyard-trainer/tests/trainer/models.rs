//! Model directories and data sets: what is taken, and what is refused with a reason.

use candle_core::DType;
use serde_json::{Value, json};
use trainyard_trainer::Outcome;

use crate::support::{Job, small_config, tensors, write_model};

fn few_steps() -> Value {
    json!({"max_steps": 3, "batch_size": 2, "gradient_accumulation_steps": 1, "max_seq_length": 48, "warmup_steps": 0})
}

#[test]
fn half_precision_in_pieces_trains_as_well() {
    let job = Job::small(few_steps());
    let dir = job.path("model");
    std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    let all = tensors(&small_config(), DType::BF16);
    let (one, two) = all.split_at(7);
    let mut map = serde_json::Map::new();
    for (file, part) in [("a.safetensors", one), ("b.safetensors", two)] {
        safetensors::serialize_to_file(part.to_vec(), None, &dir.join(file)).unwrap();
        map.extend(part.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    std::fs::write(dir.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(job.run().unwrap(), Outcome::Finished);
}

#[test]
fn a_models_own_tokenizer_is_used() {
    let mut job = Job::small(few_steps());
    let mut config = small_config();
    config["vocab_size"] = json!(5);
    config["eos_token_id"] = json!(4);
    write_model(&job.path("model"), &config, DType::F16);
    job.dataset("{\"text\": \"yes no yes yes\"}\n{\"text\": \"no no\"}\n");
    assert!(job.refusal().contains("tokenizer.json"), "five is no byte vocabulary");
    let vocab = json!({"<unk>": 0, "yes": 1, "no": 2, "maybe": 3, "<end>": 4});
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}});
    std::fs::write(job.path("model/tokenizer.json"), tokenizer.to_string()).unwrap();
    assert_eq!(job.run().unwrap(), Outcome::Finished);
}

#[test]
fn packed_records_and_conversations_train() {
    let mut packed = few_steps();
    packed["packing"] = json!(true);
    assert_eq!(Job::small(packed).run().unwrap(), Outcome::Finished);
    let mut job = Job::small(few_steps());
    let talk =
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]});
    job.dataset(&format!("{talk}\n{talk}\n"));
    assert_eq!(job.run().unwrap(), Outcome::Finished);
}

#[test]
fn models_that_would_train_wrongly_are_refused() {
    let job = Job::small(few_steps());
    let dir = job.path("model");
    let mut other = small_config();
    other["architectures"] = json!(["Qwen2ForCausalLM"]);
    std::fs::write(dir.join("config.json"), other.to_string()).unwrap();
    assert!(job.refusal().contains("Qwen2ForCausalLM"));
    let mut wider = small_config();
    wider["intermediate_size"] = json!(64);
    std::fs::write(dir.join("config.json"), wider.to_string()).unwrap();
    assert!(job.refusal().contains("has shape [48, 32], config.json says [64, 32]"));
    let mut untied = small_config();
    untied["tie_word_embeddings"] = json!(false);
    std::fs::write(dir.join("config.json"), untied.to_string()).unwrap();
    assert!(job.refusal().contains("lack lm_head.weight"));
    std::fs::write(dir.join("config.json"), small_config().to_string()).unwrap();
    std::fs::write(dir.join("model.safetensors"), b"torn").unwrap();
    assert!(job.refusal().contains("model.safetensors"));
    std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    assert!(job.refusal().contains("model.safetensors"));
}

#[test]
fn a_job_without_model_or_data_is_told_what_is_missing() {
    let nowhere = Job::of(json!({"model_name": "meta-llama/Llama-3.2-1B"}));
    assert!(nowhere.refusal().contains("meta-llama/Llama-3.2-1B is neither trainyard-tiny nor a directory"));
    let mut bare = Job::small(few_steps());
    bare.env.dataset = None;
    assert!(bare.refusal().contains("TRAINYARD_DATASET"));
    let body = json!({"model_name": "small", "hyperparameters": few_steps()});
    std::fs::write(&bare.env.spec, body.to_string()).unwrap();
    assert!(bare.refusal().starts_with("dataset: is missing"));
}

#[test]
fn a_loss_that_is_no_number_ends_the_training() {
    let mut wild = few_steps();
    wild["learning_rate"] = json!(100.0);
    wild["max_grad_norm"] = json!(0.0);
    wild["max_steps"] = json!(200);
    wild["scheduler"] = json!("constant");
    let mut config = small_config();
    config["rms_norm_eps"] = json!(1e-5);
    let job = Job::small(wild);
    let mut all = tensors(&config, DType::F32);
    let broken = (all[0].1.clone() * f64::INFINITY).unwrap();
    all[0].1 = broken;
    safetensors::serialize_to_file(all, None, &job.path("model/model.safetensors")).unwrap();
    let error = job.run().unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("not finite at step 1"), "{error}");
    assert_eq!(job.metrics().iter().find_map(|point| point.get("loss")), Some(&json!("NaN")));
}
