//! The mistakes of users that are refused before anything is rented, one row each, and two that rented machines tell. Those
//! that only show in the training are in `told`.

use std::time::Instant;

use serde_json::{Value, json};
use trainyard_simulator::Options;
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_tests::{Answer, say};

use crate::told::{TOLD_WITHIN, cause};
use crate::yard::{JOBS, VENDORS, Yard, builtin, sh, sha256};

/// What, the place in the specification, the value, and a word that must stand in the answer.
type Slip = (&'static str, &'static str, Value, &'static str);

#[test]
fn a_wrong_specification_is_refused_when_it_is_made() {
    let slips: Vec<Slip> = vec![
        ("a typo in a field", "/hyperparameters/learning_rte", json!(0.1), "learning_rte"),
        ("a field that does not exist", "/modle", json!("x"), "modle"),
        ("words for a number", "/hyperparameters/batch_size", json!("four"), "batch_size"),
        ("a learning rate of nothing", "/hyperparameters/learning_rate", json!(0), "learning_rate"),
        ("a rank of nothing", "/hyperparameters/lora_r", json!(0), "lora_r"),
        ("no steps", "/hyperparameters/max_steps", json!(0), "max_steps"),
        ("no epochs", "/hyperparameters/num_epochs", json!(0), "num_epochs"),
        ("an unknown method", "/peft_method", json!("lorra"), "lorra"),
        ("an unknown scheduler", "/hyperparameters/scheduler", json!("linnear"), "linnear"),
        (
            "a token in the environment",
            "/environment/env",
            json!({"HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"}),
            "secret",
        ),
        ("a variable of ours", "/environment/env", json!({"TRAINYARD_X": "1"}), "TRAINYARD_"),
        ("an image that is none", "/environment/image", json!("my image!"), "environment.image"),
        ("a registry without an image", "/environment/registry_auth", json!("REGISTRY"), "environment.image"),
        ("a GPU count that contradicts", "/resources", json!({"gpu": ["H100"], "gpu_count": 0}), "gpu_count"),
        ("a negative price", "/resources/max_price_per_hour", json!("-1"), "max_price_per_hour"),
        ("no time at all", "/limits/max_duration_s", json!(0), "max_duration_s"),
        ("outputs outside", "/outputs/include", json!(["/etc/**"]), "outputs"),
        ("checkpoints outside", "/checkpoints/pattern", json!("../x"), "checkpoints"),
        ("a job id with a slash", "/job_id", json!("a/b"), "job_id"),
        ("no model", "/model_name", json!(""), "model_name"),
        (
            "a command and no words in it",
            "/trainer",
            json!({"kind": "command", "command": []}),
            "trainer.command",
        ),
        ("the small trainer for a large model", "/trainer", json!({"kind": "builtin"}), "builtin"),
    ];
    let yard = Yard::new();
    let mut seen = 0;
    for (what, place, value, word) in slips {
        let mut spec = sh("true");
        put(&mut spec, place, value);
        let answer = yard.http.post(JOBS, &spec);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(answer.text().contains(word), "{what}: {}", answer.text());
        seen += 1;
    }
    say(&format!("mistakes refused when the job was made: {seen}"));
    assert!(yard.world().machines().is_empty());
}

#[test]
fn what_only_a_look_around_shows_is_refused_before_anything_is_rented() {
    let yard = Yard::new();
    let bad_line = upload(&yard, "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\": nonsense\n");
    let bad_field = upload(&yard, "{\"prompt\":\"a\"}\n");
    let empty = upload(&yard, "");
    let of = |source: &str| json!({"source": source, "format": "prompt_completion"});
    let missing = format!("input:{}", "0".repeat(64));
    let slips: Vec<(&str, Value, &str, Value, &str)> = vec![
        ("a bad line in the dataset", builtin(2), "/dataset", of(&bad_line), "line 2"),
        ("a record without its field", builtin(2), "/dataset", of(&bad_field), "completion"),
        ("an empty dataset", builtin(2), "/dataset", of(&empty), "dataset"),
        ("a dataset that was not uploaded", builtin(2), "/dataset", of(&missing), "upload"),
        ("a secret that is not stored", sh("true"), "/secrets", json!(["HF_TOKEN"]), "trainyard secret set"),
        (
            "a path of the server",
            sh("true"),
            "/inputs",
            json!([{"source": "path:/etc/passwd", "path": "x"}]),
            "allowed",
        ),
        ("a GPU that nobody has", sh("true"), "/resources/gpu", json!(["RTX 9999"]), "RTX 9999"),
        (
            "a price that nobody asks",
            sh("true"),
            "/resources/max_price_per_hour",
            json!("0.001"),
            "max_price_per_hour",
        ),
        ("a region on Mars", sh("true"), "/resources/regions", json!(["mars-1"]), "mars-1"),
        ("a disk larger than any", sh("true"), "/resources/disk_gb", json!(100_000), "no_capacity"),
        ("less money than it may cost", sh("true"), "/limits/max_cost_usd", json!("0.01"), "max_cost_usd"),
    ];
    let mut seen = 0;
    for (n, (what, mut spec, place, value, word)) in slips.into_iter().enumerate() {
        put(&mut spec, place, value);
        let id = format!("m{n}");
        yard.create(&id, &spec);
        let answer = yard.submit(&id, "runpod");
        // 400 where the job is at fault, 500 where the provider has no such machine.
        assert!(answer.status == 400 || answer.status == 500, "{what}: {} {}", answer.status, answer.text());
        assert!(answer.text().contains(word), "{what}: {}", answer.text());
        seen += 1;
    }
    yard.create("where", &sh("true"));
    refused(&yard.submit("where", "runpods"), 400, "runpods");
    assert!(yard.world().machines().is_empty(), "nothing was rented");
    let yard = Yard::with(Options::for_tests(), &[("VAST_API_KEY", None)]);
    yard.create("key", &sh("true"));
    refused(&yard.submit("key", "vastai"), 400, "VAST_API_KEY");
    say(&format!("mistakes refused before anything was rented: {}", seen + 2));
}

#[test]
fn a_model_too_big_for_the_card_is_warned_of_before_anything_is_rented() {
    let yard = Yard::new();
    let mut spec =
        json!({"model_name": "meta-llama/Llama-3.1-70B", "dataset": {"source": "hf:tatsu-lab/alpaca"}});
    put(&mut spec, "/resources/gpu", json!(["RTX4090"]));
    yard.create("big", &spec);
    let answer = yard.http.post(&format!("{JOBS}/big/validate"), &json!({"provider": "runpod"})).ok(200);
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("GB"), "{answer}");
    assert!(yard.world().machines().is_empty());
}

#[test]
fn a_wrong_image_and_a_missing_package_are_told_on_rented_machines_too() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.create("package", &sh("python3 -c 'import transformerz'"));
        yard.submit("package", provider);
        yard.await_state("package", "failed");
        assert_eq!(cause(&yard, "package"), "package_missing");
        yard.await_gone("package");
        if provider == "lambda" {
            continue;
        }
        let text = "pull access denied for nobody/nothing, repository does not exist";
        yard.world().add_fault(Rule::always(
            vendor,
            "create",
            Fault::BrokenImage { text: Some(text.to_owned()) },
        ));
        yard.create("image", &sh("true"));
        let began = Instant::now();
        yard.submit("image", provider);
        let status = yard.await_state("image", "failed");
        assert!(began.elapsed() < TOLD_WITHIN);
        assert!(status["reason"].to_string().contains("pull access denied"), "{status}");
        yard.await_gone("image");
    }
}

fn refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(word), "{}", answer.text());
}

/// Puts a value where a pointer says, making what is missing on the way.
fn put(spec: &mut Value, place: &str, value: Value) {
    let mut at = spec;
    let mut steps = place.trim_start_matches('/').split('/').peekable();
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            at[step] = value;
            return;
        }
        at = &mut at[step];
    }
}

fn upload(yard: &Yard, text: &str) -> String {
    let digest = sha256(text.as_bytes());
    let put = yard.http.call("PUT", &format!("/api/training/inputs/{digest}")).bytes(text.as_bytes()).send();
    assert!(put.status < 300, "{}: {}", put.status, put.text());
    format!("input:{digest}")
}
