//! Mistakes that users make with the libraries, really made with the real ones, on the CPU: each is told with its cause.
//! `tests/clouds/told.rs` has those that need no library, and the words of these where Python has none.

use serde_json::json;
use trainyard_tests::say;

use crate::Bench;

/// A base model of a few numbers, as `model`.
const MODEL: &str = "import transformers as t\nmodel = t.LlamaForCausalLM(t.LlamaConfig(vocab_size=16, hidden_size=8, \
                     intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))\n";
/// A hub in the same process, as `tests/clouds/hub.rs`: asked with `REFUSED`, it answers so.
const HUB: &str = include_str!("hub.py");

/// What, the program's beginning and its end, the code of its cause.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("no GPU", "", "import torch; torch.zeros(1).cuda()", "gpu_missing"),
    (
        "a wrong vocabulary",
        "",
        "import torch; torch.nn.Embedding(4, 2)(torch.tensor([9]))",
        "index_out_of_range",
    ),
    ("versions that do not fit", "", "from transformers import AutoModelForNothing", "version_conflict"),
    (
        "no bf16",
        "",
        "import transformers; transformers.TrainingArguments(output_dir='x', bf16=True)",
        "bf16_unsupported",
    ),
    (
        "an unknown setting",
        "",
        "import transformers; transformers.TrainingArguments(output_dir='x', batch=1)",
        "arguments",
    ),
    (
        "layers that are not there",
        MODEL,
        "import peft; peft.get_peft_model(model, peft.LoraConfig(target_modules=['qproj']))",
        "target_modules",
    ),
    (
        "no FlashAttention",
        MODEL,
        "model.set_attn_implementation('flash_attention_2')",
        "flash_attention_missing",
    ),
    (
        "a checkpoint of another model",
        MODEL,
        "import torch; model.load_state_dict({'lm_head.weight': torch.zeros(3, 8)}, strict=False)",
        "checkpoint_unfit",
    ),
    (
        "no chat template",
        "import tokenizers, transformers\ninner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={'a': 0}, merges=[]))\n",
        "transformers.PreTrainedTokenizerFast(tokenizer_object=inner).apply_chat_template([])",
        "chat_template_missing",
    ),
    (
        "no way to the hub",
        "",
        "import transformers; transformers.AutoConfig.from_pretrained('a/b')",
        "hub_unreachable",
    ),
    ("a gated model", HUB, "ask('meta-llama/Llama-3.1-8B', 401, 'GatedRepo')", "model_gated"),
    ("a gated model, with a token", HUB, "ask('meta-llama/Llama-3.1-8B', 403, 'GatedRepo')", "model_gated"),
    ("a model that does not exist", HUB, "ask('meta-lama/x', 404, 'RepoNotFound')", "model_not_found"),
    ("a wrong token", HUB, "ask('owner/name', 401, '')", "hub_unauthorized"),
];

#[test]
fn mistakes_with_the_real_libraries_are_told() {
    let Some(bench) = Bench::find() else { return };
    let yard = bench.yard();
    for (n, (_, begin, end, _)) in WRONG.iter().enumerate() {
        let command = json!(["python3", "-c", format!("{begin}\n{end}")]);
        yard.submit(
            &format!("w{n}"),
            &json!({"model_name": "own", "trainer": {"kind": "command", "command": command}}),
        );
    }
    for (n, (what, _, _, code)) in WRONG.iter().enumerate() {
        let id = format!("w{n}");
        let status = yard.ended(&id);
        let job = yard.http.get(&format!("{}/{id}", crate::JOBS)).ok(200);
        assert_eq!(job["attempts"][0]["diagnosis"]["code"], *code, "{what}: {status}\n{}", yard.log(&id));
    }
    say(&format!("mistakes made with the real libraries: {}, all told", WRONG.len()));
}
