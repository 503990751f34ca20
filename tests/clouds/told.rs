//! The mistakes of users that only show on the machine: each is really made by a program, and told with its cause and a
//! remedy within a minute of happening. What needs a card, or the libraries that a card is bought for, replays their
//! words; `tests/recipe/wrong.rs` makes those mistakes with the real libraries wherever Python has them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_tests::say;

use crate::hub::{self, GATED};
use crate::yard::{Yard, list, sh};

/// A mistake is told within this.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Jobs that run at once.
const AT_ONCE: usize = 4;

/// How a mistake is made.
enum Made {
    /// By a line for the shell.
    Shell(&'static str),
    /// By a program in Python, with an argument.
    Python(&'static str, &'static str),
    /// By naming a model of the hub among the inputs, with a token or without.
    Fetch(&'static str, Option<&'static str>),
    /// Not made: a library's last words, verbatim, and the exit code that Python gives.
    Words(&'static str),
}
use Made::{Fetch, Python, Shell, Words};

/// What, how, the code of its cause.
const TOLD: &[(&str, Made, &str)] = &[
    ("a missing package", Python("import transformerz", ""), "package_missing"),
    ("a missing file", Python("open('train.jsonl')", ""), "file_not_found"),
    ("not valid Python", Python("for", ""), "code_error"),
    (
        "an unknown argument",
        Python("import argparse; argparse.ArgumentParser().parse_args()", "--learning-rte=1"),
        "arguments",
    ),
    ("a program that is not there", Shell("accelerrate launch train.py"), "program_not_found"),
    ("a program that may not be run", Shell("echo exit >run.sh; ./run.sh"), "no_permission"),
    ("a bad line", Python("import json; json.loads('{nonsense')", ""), "dataset_invalid"),
    ("a dataset that was cut off", Python(include_str!("wrong/cut.py"), ""), "file_damaged"),
    ("a dataset in another encoding", Python(include_str!("wrong/latin.py"), ""), "file_damaged"),
    ("no memory", Python(include_str!("wrong/hoard.py"), ""), "out_of_memory"),
    ("a full disk", Shell(include_str!("wrong/fill.sh")), "no_space"),
    ("killed from outside", Python("import os; os.kill(os.getpid(), 9)", ""), "killed"),
    ("a crash in native code", Python("import ctypes; ctypes.string_at(0)", ""), "crashed"),
    ("a port that is taken", Python(include_str!("wrong/port.py"), ""), "port_taken"),
    (
        "nobody answers",
        Python("import urllib.request as u; u.urlopen('http://127.0.0.1:9')", ""),
        "hub_unreachable",
    ),
    ("a loss of NaN, told", Python(include_str!("wrong/diverge.py"), "metrics"), "loss_not_finite"),
    ("a loss of NaN, printed", Python(include_str!("wrong/diverge.py"), "print"), "loss_not_finite"),
    ("an old package on a new Python", Python("from collections import Mapping", ""), "version_conflict"),
    (
        "a package that does not exist",
        Shell("python3 -m pip download --no-index --no-deps tranformers"),
        "package_not_found",
    ),
    ("a model that does not exist", Fetch("meta-lama/x", None), "model_not_found"),
    ("a model that this token does not see", Fetch("meta-lama/x", Some(hub::TOKEN)), "model_not_found"),
    ("a gated model", Fetch(GATED, None), "model_gated"),
    ("a gated model, its conditions not accepted", Fetch(GATED, Some(hub::TOKEN)), "model_gated"),
    ("a wrong token", Fetch(GATED, Some("hf_wrong")), "hub_unauthorized"),
    // From here on a card is needed; from PyTorch 2.15.
    (
        "a full card",
        Words(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
             23.64 GiB of which 1.21 GiB is free.",
        ),
        "gpu_out_of_memory",
    ),
    (
        "an old driver",
        Words(
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU \
             driver by downloading and installing a new version",
        ),
        "gpu_driver",
    ),
    (
        "a broken card",
        Words("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"),
        "gpu_error",
    ),
    (
        "a wrong vocabulary, on a card",
        Words("torch.AcceleratorError: CUDA error: device-side assert triggered"),
        "index_out_of_range",
    ),
    // These are made with the real libraries in `tests/recipe/wrong.rs`; the words are Transformers' 5.23 and PEFT's 0.21.
    (
        "no GPU",
        Words(
            "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and \
             installed a driver from http://www.nvidia.com/Download/index.aspx",
        ),
        "gpu_missing",
    ),
    ("a wrong vocabulary", Words("IndexError: index out of range in self"), "index_out_of_range"),
    (
        "no bf16",
        Words(
            "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model \
             on CPU.",
        ),
        "bf16_unsupported",
    ),
    (
        "no chat template",
        Words(
            "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template \
             argument was passed! For information about writing templates and setting the tokenizer.chat_template \
             attribute, please see the documentation at https://huggingface.co/docs/transformers/main/en/chat_templating",
        ),
        "chat_template_missing",
    ),
    (
        "layers that are not there",
        Words(
            "peft.utils.error.NoMatchingPeftModuleError: Target modules {'qproj'} not found in the base model. Please \
             check the target modules and try again.",
        ),
        "target_modules",
    ),
    (
        "no FlashAttention",
        Words(
            "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error: the \
             package for FlashAttention2 doesn't seem to be installed.",
        ),
        "flash_attention_missing",
    ),
];

impl Made {
    /// The job that makes it.
    fn spec(&self, hub: &str) -> Value {
        match self {
            Shell(script) => sh(script),
            Python(program, argument) => {
                let mut spec = sh("");
                spec["trainer"]["command"] = json!(["python3", "-c", program, argument]);
                spec
            }
            Fetch(model, token) => {
                let mut spec = sh("true");
                spec["inputs"] = json!([{"source": format!("hf:{model}"), "path": "model"}]);
                spec["environment"] = json!({"env": {"HF_ENDPOINT": hub}});
                if token.is_some() {
                    spec["secrets"] = json!(["HF_TOKEN"]);
                }
                spec
            }
            Words(words) => {
                let mut spec = sh("printf '%s\\n' \"$WORDS\" >&2; exit 1");
                spec["environment"] = json!({"env": {"WORDS": words}});
                spec
            }
        }
    }
}

#[test]
fn what_happens_on_the_machine_is_told_with_its_cause_and_a_remedy() {
    let yard = Yard::new();
    let hub = hub::serve();
    // A token is stored under one name, so jobs with one go alone.
    let has_token = |row: &(&str, Made, &str)| matches!(row.1, Fetch(_, Some(_)));
    let groups = TOLD.chunk_by(|row, next| !has_token(row) && !has_token(next));
    for rows in groups.flat_map(|rows| rows.chunks(AT_ONCE)) {
        let began = Instant::now();
        for (what, made, _) in rows {
            if let Fetch(_, Some(token)) = made {
                let put =
                    yard.http.call("PUT", "/api/training/secrets/HF_TOKEN").json(&json!({"value": token}));
                assert_eq!(put.send().status, 204);
            }
            let id = id_of(what);
            yard.create(&id, &made.spec(&hub));
            yard.submit(&id, "local");
        }
        for (what, _, code) in rows {
            let id = id_of(what);
            let status = yard.await_state(&id, "failed");
            assert!(began.elapsed() < TOLD_WITHIN, "{what}: {:?}", began.elapsed());
            assert_eq!(cause(&yard, &id), *code, "{what}: {status}\n{}", yard.log(&id));
            let remedy = status["reason"]["suggestion"].as_str();
            assert!(remedy.is_some_and(|text| text.len() > 10), "{what}: {status}");
        }
    }
    let replayed = TOLD.iter().filter(|row| matches!(row.1, Words(_))).count();
    say(&format!(
        "mistakes told with cause and remedy: {}, {} of them really made, {replayed} in a library's words",
        TOLD.len(),
        TOLD.len() - replayed
    ));
}

/// A job's id, out of words.
fn id_of(what: &str) -> String {
    what.replace(", ", "-").replace(' ', "-").to_lowercase()
}

/// The cause of the last attempt's end, as it was recognised.
pub(crate) fn cause(yard: &Yard, id: &str) -> String {
    let job = yard.get(id, "").ok(200);
    let last = list(&job["attempts"]).last().expect("an attempt").clone();
    last["diagnosis"]["code"].as_str().unwrap_or_default().to_owned()
}
