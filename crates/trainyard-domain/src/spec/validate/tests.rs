//! Each line of the snapshots is a change to a valid specification and what is said about it.

use serde_json::{Value, json};

use super::{Limits, looks_like_token};
use crate::{InvalidSpec, JobSpec};

/// The body that the contract shows, with an `https` source for the dataset.
fn valid() -> Value {
    json!({
        "labels": {"team": "search"},
        "model_name": "meta-llama/Llama-3.2-1B",
        "dataset": {"source": "https://example.org/train.jsonl", "format": "messages", "split": "train"},
        "trainer": {"kind": "peft", "launch": "auto", "hook": true},
        "code": null,
        "inputs": [{"source": "https://example.org/extra.jsonl", "path": "extra.jsonl"}],
        "secrets": ["HF_TOKEN"],
        "resources": {"gpu": ["A100-80GB", "H100"], "gpu_count": 1, "disk_gb": 80, "max_price_per_hour": "2.50"},
        "limits": {"max_duration_s": 14400, "max_cost_usd": "10.00"},
        "webhooks": [{"url": "https://example.org/hook", "events": ["completed", "failed"]}],
    })
}

/// Sets the value at a JSON pointer, making objects on the way.
fn set(spec: &mut Value, pointer: &str, value: Value) {
    let mut at = spec;
    for key in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = match at {
            Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
            other => &mut other[key],
        };
    }
    *at = value;
}

fn with(changes: &[(&str, Value)]) -> Result<JobSpec, InvalidSpec> {
    let mut spec = valid();
    for (pointer, value) in changes {
        set(&mut spec, pointer, value.clone());
    }
    JobSpec::from_json(spec)
}

/// What is said about each change alone; every one must be refused.
fn refusals(changes: Vec<(&str, Value)>) -> String {
    let mut lines = String::new();
    for (pointer, value) in changes {
        let refused =
            with(&[(pointer, value.clone())]).expect_err(&format!("{pointer} {value} should be refused"));
        let shown: String = value.to_string().chars().take(50).collect();
        lines.push_str(&format!("{pointer} = {shown}\n"));
        for error in refused.errors {
            lines.push_str(&format!("    {error}\n"));
        }
    }
    lines
}

#[test]
fn what_the_contract_shows_is_valid() {
    with(&[]).expect("the contract's body");
    JobSpec::new("trainyard-tiny").validate().expect("the defaults");
    JobSpec::from_json(json!({"model_name": "owner/name"})).expect("only the name is required");
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    let long = "x".repeat(60_000);
    for (pointer, value) in [
        ("/resources", json!({"gpu_count": 0})),
        ("/resources/gpu", json!(["RTX 4090", "NVIDIA A100 (SXM)", "a100-40gb"])),
        ("/resources/regions", json!(["US-TX-3", "us-east-1", "Sweden, SE"])),
        (
            "/trainer",
            json!({"command": ["sh", "-c", "echo \"$HF_TOKEN\" > /dev/null\ntrue"], "workdir": "."}),
        ),
        ("/trainer", json!({"command": ["axolotl", "train", "cfg.yml"], "workdir": "sub/dir/"})),
        ("/trainer", json!({"command": ["sh", "-c", long]})),
        (
            "/environment/env",
            json!({"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "4096", "_X": "",
            "HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_TOKEN_PATH": "/root/.cache/huggingface/token/file",
            "BOS_TOKEN": "<|begin_of_sentence|>", "GIT_COMMIT": "0123456789abcdef0123456789abcdef01234567",
            "KIND": "sk-learn-something-long-enough", "MODEL": "hf_internal_testing_model_small"}),
        ),
        (
            "/environment/requirements",
            json!(["torch==2.9.0", "git+https://github.com/huggingface/peft@main"]),
        ),
        (
            "/outputs",
            json!({"main": "a/model.safetensors", "include": ["**/*.safetensors", "a?.json"], "exclude": []}),
        ),
        ("/webhooks", json!([{"url": "http://127.0.0.1:9000/a?b=c"}, {"url": "https://[::1]:8443/"}])),
        ("/limits", json!({"max_duration_s": 2_678_400, "grace_period_s": 0})),
        ("/peft_method", json!("dora")),
        ("/dataset", json!("owner/name@main")),
    ] {
        with(&[(pointer, value.clone())]).unwrap_or_else(|error| panic!("{pointer} {value}: {error}"));
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let refused = with(&[
        ("/hyperparameters/lora_r", json!(0)),
        ("/limits/grace_period_s", json!(7200)),
        ("/webhooks/0/url", json!("ftp://example.org")),
    ])
    .expect_err("three wrong fields");
    insta::assert_snapshot!(refused, @"`hyperparameters.lora_r` is 0: write a number from 1 to 1024; `limits.grace_period_s` is 7200: write a number from 0 to 3600 seconds; `webhooks[0].url` does not begin with `https://` or `http://`: write an address such as `https://example.org/hook`");
}

#[test]
fn a_thousand_mistakes_give_a_hundred_messages() {
    let inputs: Vec<Value> =
        (0..1000).map(|i| json!({"source": "https://example.org/x", "path": format!("../{i}")})).collect();
    let refused = with(&[("/inputs", json!(inputs))]).expect_err("all leave the directory");
    assert_eq!(refused.errors.len(), 100);
}

#[test]
fn shapes_are_told_by_their_paths() {
    let told = refusals(vec![
        ("/model_name", json!(5)),
        ("/model_nam", json!("x")),
        ("/hyperparameters", json!([])),
        ("/hyperparameters", json!("x")),
        ("/inputs/0", json!(["a/b", "x"])),
        ("/hyperparameters/lora_r", json!("8")),
        ("/hyperparameters/lora_r", json!(-1)),
        ("/hyperparameters/lora_r", json!(8.5)),
        ("/hyperparameters/lora_rank", json!(8)),
        ("/hyperparameters/scheduler", json!("cosin")),
        ("/hyperparameters/target_modules", json!("all-linear")),
        ("/hyperparameters/packing", json!("yes")),
        ("/trainer/kind", json!("axolotl")),
        ("/dataset", json!(7)),
        ("/dataset/source", json!("ftp://example.org/x")),
        ("/dataset/sources", json!("x")),
        ("/inputs/0/file", json!("x")),
        ("/inputs", json!([{"path": "x"}])),
        ("/inputs", json!([{"source": 5, "path": "x"}])),
        ("/secrets", json!(["HF_TOKEN", "1BAD"])),
        ("/secrets", json!(["TRAINYARD_SPEC"])),
        ("/resources/max_price_per_hour", json!("-1")),
        ("/resources/max_price_per_hour", json!(2.5)),
        ("/limits/when_orchestrator_lost", json!("panic")),
        ("/environment/env", json!({"X": 5})),
    ]);
    insta::assert_snapshot!("shapes", told);
}

#[test]
fn several_errors_of_shape_are_told_together() {
    let refused = JobSpec::from_json(json!({
        "model": "x", "limits": {"hours": 5, "hold_s": "x"}, "secrets": [5], "hyperparameters": {"lora_r": "8"}
    }))
    .expect_err("five mistakes and no name");
    let fields: Vec<&str> = refused.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        ["hyperparameters.lora_r", "limits.hold_s", "limits.hours", "model", "secrets[0]", "model_name"]
    );
    let refused = JobSpec::from_json(json!([])).expect_err("a list is no specification");
    insta::assert_snapshot!(refused, @r#"`body` is not an object: write a specification such as {"model_name": "trainyard-tiny"}"#);
    let refused = JobSpec::from_json(json!("x")).expect_err("a text is no specification");
    insta::assert_snapshot!(refused, @r#"`body` is not an object: write a specification such as {"model_name": "trainyard-tiny"}"#);
}

#[test]
fn what_the_recipe_does_not_do_is_refused_for_it_alone() {
    let found =
        |spec: Value| JobSpec::from_json(spec).map_or_else(|error| error.to_string(), |_| String::new());
    let numbers = json!({"optimizer": "adamwx", "extra": {"bf16": true, "logging_steps": 5}});
    let peft = json!({"model_name": "owner/name", "hyperparameters": numbers.clone()});
    let refused = found(peft);
    assert!(refused.starts_with("`hyperparameters.optimizer` is `adamwx`"), "{refused}");
    assert!(refused.contains("`hyperparameters.extra.bf16` has a field of its own"), "{refused}");
    assert!(!refused.contains("logging_steps"), "{refused}");
    let own = json!({"command": ["python", "train.py"]});
    assert_eq!(found(json!({"model_name": "x", "trainer": own, "hyperparameters": numbers})), "");
    let tiny = found(json!({"model_name": "trainyard-tiny", "trainer": {"kind": "peft"}}));
    assert!(tiny.starts_with("`model_name` is `trainyard-tiny`"), "{tiny}");
    let no_gpu = json!({"model_name": "a/b", "peft_method": "qlora", "resources": {"gpu_count": 0}});
    assert!(found(no_gpu).starts_with("`resources.gpu_count` is 0"));
}

#[test]
fn words_are_checked() {
    let many: serde_json::Map<String, Value> = (0..65).map(|i| (format!("k{i}"), json!(""))).collect();
    let told = refusals(vec![
        ("/labels", Value::Object(many)),
        ("/labels", json!({"a:b": "c"})),
        ("/labels", json!({"": "c"})),
        ("/labels", json!({"k": "v".repeat(257)})),
        ("/labels", json!({"k": "a\nb"})),
        ("/model_name", json!("")),
        ("/model_name", json!(" x")),
        ("/model_name", json!("x".repeat(513))),
        ("/model_name", json!("a\u{0}b")),
        ("/peft_method", json!("prefix")),
        ("/dataset/split", json!("")),
        ("/code", json!("owner/name")),
        ("/code", json!("https://me:pass@example.org/x.tar")),
    ]);
    insta::assert_snapshot!("words", told);
}

#[test]
fn numbers_have_ranges() {
    let told = refusals(vec![
        ("/hyperparameters/lora_r", json!(1025)),
        ("/hyperparameters/lora_alpha", json!(0)),
        ("/hyperparameters/lora_dropout", json!(1.0)),
        ("/hyperparameters/lora_dropout", json!(-0.1)),
        ("/hyperparameters/target_modules", json!([])),
        ("/hyperparameters/target_modules", json!(["q_proj", "v_proj", "q_proj"])),
        ("/hyperparameters/learning_rate", json!(0.0)),
        ("/hyperparameters/weight_decay", json!(-1)),
        ("/hyperparameters/max_grad_norm", json!(-1)),
        ("/hyperparameters/optimizer", json!("adamw; rm -rf")),
        ("/hyperparameters/num_epochs", json!(0)),
        ("/hyperparameters/max_steps", json!(0)),
        ("/hyperparameters/batch_size", json!(0)),
        ("/hyperparameters/gradient_accumulation_steps", json!(0)),
        ("/hyperparameters/max_seq_length", json!(7)),
        ("/hyperparameters/save_steps", json!(0)),
        ("/hyperparameters/save_total_limit", json!(0)),
        ("/hyperparameters/eval_steps", json!(0)),
        ("/hyperparameters/seed", json!(4_294_967_296_u64)),
        ("/hyperparameters/extra", json!({"x": "y".repeat(70_000)})),
        ("/resources/gpu", json!(["A100; drop table"])),
        ("/resources/gpu", json!(["H100", "H100"])),
        ("/resources/gpu_memory_gb", json!(0)),
        ("/resources/gpu_count", json!(65)),
        ("/resources/gpu_count", json!(0)),
        ("/resources/regions", json!([""])),
        ("/resources/disk_gb", json!(0)),
        ("/resources/keep_warm_s", json!(86_401)),
        ("/limits/max_duration_s", json!(0)),
        ("/limits/max_duration_s", json!(2_678_401)),
        ("/limits/grace_period_s", json!(3601)),
        ("/limits/max_silence_s", json!(0)),
        ("/limits/hold_s", json!(0)),
        ("/limits/hold_on_failure_s", json!(604_801)),
        ("/retry/max_attempts", json!(0)),
        ("/retry/max_attempts", json!(101)),
        ("/retry/wait_for_capacity_s", json!(2_678_401)),
    ]);
    insta::assert_snapshot!("numbers", told);
}

#[test]
fn the_program_and_its_files_are_checked() {
    let told = refusals(vec![
        ("/trainer", json!({"kind": "command"})),
        ("/trainer", json!({"kind": "command", "command": []})),
        ("/trainer", json!({"kind": "command", "command": [""]})),
        ("/trainer", json!({"kind": "command", "command": ["a\u{0}"]})),
        ("/trainer", json!({"kind": "command", "command": ["x".repeat(65_537)]})),
        ("/trainer", json!({"kind": "peft", "command": ["python"]})),
        ("/trainer", json!({"kind": "builtin"})),
        ("/trainer/workdir", json!("/root")),
        ("/trainer/workdir", json!("a/../../b")),
        ("/environment/image", json!("my image")),
        ("/environment/image", json!("--privileged")),
        ("/environment/registry_auth", json!("REGISTRY")),
        ("/environment/requirements", json!([""])),
        ("/environment/setup", json!(["a\u{0}"])),
        ("/environment/env", json!({"1X": "y"})),
        ("/environment/env", json!({"A=B": "y"})),
        ("/environment/env", json!({"TRAINYARD_JOB_ID": "y"})),
        ("/environment/env", json!({"HF_TOKEN": "y"})),
        ("/environment/env", json!({"X": "a\u{0}"})),
        ("/inputs/0/path", json!("")),
        ("/inputs/0/path", json!("/etc/passwd")),
        ("/inputs/0/path", json!("a/../../b")),
        ("/inputs/0/path", json!("a//b")),
        ("/inputs/0/path", json!("./a")),
        ("/inputs/0/path", json!("C:x")),
        ("/inputs/0/path", json!("a\\..\\b")),
        ("/inputs/0/path", json!("a".repeat(300))),
        ("/inputs", json!([{"source": "a/b", "path": "x"}, {"source": "c/d", "path": "x"}])),
        ("/secrets", json!(["A", "A"])),
        ("/outputs/main", json!("../x")),
        ("/outputs/include", json!([])),
        ("/outputs/include", json!(["/x"])),
        ("/outputs/exclude", json!(["a/**b"])),
        ("/outputs/exclude", json!(["*.{bin,pt}"])),
        ("/outputs/exclude", json!(vec!["x"; 101])),
        ("/checkpoints/pattern", json!("")),
        ("/checkpoints/pattern", json!("../*")),
        ("/checkpoints/every_s", json!(0)),
        ("/checkpoints/keep", json!(0)),
        ("/checkpoints/resume_args", json!(["--resume"])),
    ]);
    insta::assert_snapshot!("program", told);
}

#[test]
fn webhooks_are_checked() {
    let hook = |url: &str| json!([{"url": url}]);
    let told = refusals(vec![
        ("/webhooks", hook("example.org/hook")),
        ("/webhooks", hook("file:///etc/passwd")),
        ("/webhooks", hook("https://")),
        ("/webhooks", hook("https:///x")),
        ("/webhooks", hook("https://user:pass@example.org/")),
        ("/webhooks", hook("https://exa mple.org/")),
        ("/webhooks", hook("https://example.org:99999/")),
        ("/webhooks", hook("https://example.org:/")),
        ("/webhooks", hook("https://[::1/")),
        ("/webhooks", hook("https://a..b/")),
        ("/webhooks/0/events", json!(["finished"])),
        ("/webhooks/0/events", json!(["failed", "failed"])),
        ("/webhooks", json!(vec![json!({"url": "https://example.org"}); 17])),
    ]);
    insta::assert_snapshot!("webhooks", told);
}

/// Made up, and written in two parts so that no scanner takes them for leaked ones.
fn tokens() -> Vec<(&'static str, String)> {
    let random = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3z";
    vec![
        ("X", format!("{}_{random}", "hf")),
        ("X", format!("{}-proj-{random}", "sk")),
        ("X", format!("{}_{random}", "ghp")),
        ("X", format!("{}_{random}", "gho")),
        ("X", format!("{}_{random}", "github_pat")),
        ("X", format!("{}{}", "AKIA", "ABCDEFGH12345678")),
        ("X", format!("{}_{}", "rpa", random.to_uppercase())),
        ("X", format!("{}.{random}.{random}", "eyJhbGciOiJIUzI1NiJ9")),
        ("X", format!("-----BEGIN {} KEY-----\nMIIE\n", "PRIVATE")),
        ("X", format!("-----BEGIN OPENSSH {} KEY-----\nb3Bl\n", "PRIVATE")),
        ("X", format!("https://{}_{random}@github.com/a/b", "ghp")),
        ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567".to_owned()),
        ("WANDB_KEY", "0123456789abcdef0123456789abcdef01234567".to_owned()),
        ("MY_TOKEN", random.to_owned()),
        ("my_password", random.to_owned()),
        ("DB_SECRET", random.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", format!("{random}+/abcd")),
    ]
}

#[test]
fn a_token_is_refused_with_a_pointer_to_secrets_and_not_repeated() {
    for (name, value) in tokens() {
        let refused = with(&[("/environment/env", json!({name: value}))])
            .expect_err(&format!("{name} should look like a token"))
            .to_string();
        assert!(refused.contains(&format!("`environment.env.{name}` looks like ")), "{refused}");
        assert!(refused.contains("`secrets`"), "{refused}");
        assert!(!refused.contains(&value), "{refused}");
    }
}

#[test]
fn a_token_is_refused_elsewhere_too() {
    let (_, token) = tokens().swap_remove(0);
    for (pointer, value) in [
        ("/trainer", json!({"command": ["python", format!("--hub-token={token}")]})),
        ("/environment/setup", json!([format!("hf auth login --token '{token}'")])),
        ("/environment/requirements", json!([format!("git+https://x:{token}@example.org/p")])),
        ("/hyperparameters/extra", json!({"hub_token": token})),
        ("/secrets", json!([token, token])),
        ("/secrets", json!([format!("{token}-")])),
        ("/hyperparameters", json!(token)),
        ("/dataset/source", json!(format!("https://example.org/x?token={token}"))),
    ] {
        let refused = with(&[(pointer, value)]).expect_err(pointer).to_string();
        assert!(refused.contains("looks like a Hugging Face token"), "{refused}");
        assert!(!refused.contains(&token), "{refused}");
    }
}

#[test]
fn what_only_resembles_a_token_is_let_through() {
    for (name, value) in [
        ("TOKENIZER_NAME", "meta-llama/Llama-3.2-1B-Instruct"),
        ("TOKEN_FILE", "/run/secrets/token-of-the-service"),
        ("TOKEN_URL", "https://auth.example.org/oauth/token"),
        ("PAD_TOKEN", "<|finetune_right_pad_id|>"),
        ("SECRET", "short"),
        ("PASSWORD", "aaaaaaaaaaaaaaaaaaaaaaaa"),
        ("REVISION", "0123456789abcdef0123456789abcdef01234567"),
        ("PATH", "/usr/bin:/bin"),
        ("NAME", "task-0123456789abcdef0123"),
        ("ACCOUNT", "AKIALONGERTHANANACCESSKEYIS"),
    ] {
        assert_eq!(looks_like_token(name, value), None, "{name}={value}");
    }
}

#[test]
fn labels_and_limits_are_checked_alone() {
    let labels = [("a:b".to_owned(), String::new())].into();
    let refused = JobSpec::validate_labels(&labels).expect_err("a `:` in a key");
    assert_eq!(refused.errors[0].field, "labels.a:b");
    let refused = Limits { max_duration_s: 0, ..Limits::default() }.validate().expect_err("no time at all");
    assert_eq!(refused.errors[0].field, "limits.max_duration_s");
}
