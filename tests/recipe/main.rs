//! The `peft` recipe, and a program that knows nothing of us, with the real PyTorch, Transformers and PEFT: jobs on
//! `local` that train a small randomly initialised Llama on the CPU.
//!
//! Needs a Python that has those packages: the one that `TRAINYARD_PYTHON` names, else the first `python3`. Without
//! one nothing here is run, and the test says so.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use trainyard_tests::{Http, Server, root, say, until};

mod wrong;

const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");
/// Longest wait for a job to end: importing PyTorch alone takes ten seconds on a loaded machine.
const ENDED_MAX: Duration = Duration::from_secs(240);
const JOBS: &str = "/api/training/jobs";
const NEEDED: &str = "import torch, transformers, peft, accelerate, jinja2";

/// What all tests here share: a Python with PyTorch, a model directory, and records.
struct Bench {
    python: String,
    directory: tempfile::TempDir,
}

impl Bench {
    /// None where there is no such Python; says so.
    fn find() -> Option<Bench> {
        let named = std::env::var_os("TRAINYARD_PYTHON").filter(|path| !path.is_empty());
        let named = named.map(|path| path.to_string_lossy().into_owned());
        let has_all = |python: &String| {
            let found = Command::new(python).args(["-c", NEEDED]).output();
            found.is_ok_and(|output| output.status.success())
        };
        let Some(python) = named.into_iter().chain(["python3".to_owned()]).find(has_all) else {
            say("NOT RUN: there is no Python with torch, transformers, peft and accelerate here");
            return None;
        };
        let bench = Bench { python, directory: tempfile::tempdir().expect("a directory") };
        bench.check("make_model.py", &[&bench.model()]);
        let lines =
            |make: fn(u32) -> Value| -> String { (0..40).map(|n| format!("{}\n", make(n))).collect() };
        bench.write("text.jsonl", &lines(|n| json!({"text": format!("{n} and {n} make {}", n + n)})));
        bench.write(
            "pairs.jsonl",
            &lines(|n| json!({"prompt": format!("{n} squared: "), "completion": format!("{}", n * n)})),
        );
        let turns = |n| json!({"messages": [{"role": "user", "content": format!("say {n}")}, {"role": "assistant", "content": format!("it is {n}")}]});
        bench.write("messages.jsonl", &lines(turns));
        Some(bench)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn model(&self) -> String {
        self.at("model").display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("a file");
    }

    /// Runs one of the scripts beside this file, or an example; it must end with 0.
    fn check(&self, script: &str, arguments: &[&str]) -> String {
        let tests = root().join("tests");
        let path = if script.contains('/') {
            tests.join("..").join(script)
        } else {
            tests.join("recipe").join(script)
        };
        let run = Command::new(&self.python).arg(path).args(arguments).output().expect("Python starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(run.status.success(), "{script}: {}\n{}", said(&run.stdout), said(&run.stderr));
        said(&run.stdout)
    }

    /// A server whose trainings find this Python as `python3`, see no GPU and never ask the hub.
    fn yard(&self) -> Yard {
        let programs = self.at("bin");
        fs::create_dir(&programs).expect("a directory");
        let wrapper = programs.join("python3");
        fs::write(&wrapper, format!("#!/bin/sh\nexec '{}' \"$@\"\n", self.python)).expect("a file");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("a program");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let config = self.at("trainyard.toml");
        let text = format!(
            "[local]\nslots = 2\nuse_gpus = false\n[inputs]\nallowed_paths = [\"{}\"]\n",
            self.directory.path().display()
        );
        fs::write(&config, text).expect("the configuration");
        let variables = [
            ("PATH", format!("{}:{}", programs.display(), path.display())),
            ("HF_HUB_OFFLINE", "1".to_owned()),
        ];
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let config = config.display().to_string();
        let server = Server::with_variables(BINARY, "127.0.0.1:0", &["--config", &config], &variables);
        Yard { http: server.http(), _server: server }
    }

    /// A job of the recipe with those records and changes of the hyperparameters.
    fn job(&self, method: &str, records: &str, changes: &[(&str, Value)]) -> Value {
        let mut numbers = json!({
            "lora_r": 4, "learning_rate": 0.02, "warmup_steps": 1, "max_steps": 8, "batch_size": 4,
            "gradient_accumulation_steps": 1, "max_seq_length": 64, "precision": "fp32", "save_steps": 4,
        });
        for (name, value) in changes {
            numbers[*name] = value.clone();
        }
        json!({
            "model_name": self.model(), "peft_method": method, "trainer": {"kind": "peft"},
            "dataset": format!("path:{}", self.at(records).display()), "hyperparameters": numbers,
        })
    }
}

struct Yard {
    http: Http,
    _server: Server,
}

impl Yard {
    fn submit(&self, id: &str, spec: &Value) {
        let mut body = spec.clone();
        body["job_id"] = json!(id);
        self.http.post(JOBS, &body).ok(201);
        let answer = self.http.post(&format!("{JOBS}/{id}/submit"), &json!({"provider": "local"}));
        assert!([200, 202].contains(&answer.status), "{id}: {}", answer.text());
    }

    /// Its status once it ended.
    fn ended(&self, id: &str) -> Value {
        until(ENDED_MAX, &format!("`{id}` to end"), || {
            let status = self.http.get(&format!("{JOBS}/{id}/status")).ok(200);
            ["completed", "failed", "stopped"].iter().any(|end| status["state"] == *end).then_some(status)
        })
    }

    /// Its status once it completed.
    fn completed(&self, id: &str) -> Value {
        let status = self.ended(id);
        assert_eq!(status["state"], "completed", "{status}\n{}", self.log(id));
        status
    }

    fn log(&self, id: &str) -> String {
        let part = self.http.get(&format!("{JOBS}/{id}/logs")).ok(200);
        part["text"].as_str().expect("`text`").to_owned()
    }

    /// The steps at which that was told, with its values.
    fn curve(&self, id: &str, name: &str) -> Vec<(u64, f64)> {
        let all = self.http.get(&format!("{JOBS}/{id}/metrics?names={name}")).ok(200);
        let points = all["points"].as_array().expect("`points`");
        let told = points.iter().filter_map(|point| {
            Some((point["step"].as_u64()?, point["values"][name].as_f64().or(point[name].as_f64())?))
        });
        told.collect()
    }
}

fn directory_of(status: &Value) -> PathBuf {
    let path = status["artifact_info"]["path"].as_str().expect("a path");
    Path::new(path).parent().expect("a directory").to_owned()
}

fn steps(curve: &[(u64, f64)]) -> Vec<u64> {
    curve.iter().map(|(step, _)| *step).collect()
}

#[test]
fn tokens_are_learnt_as_promised_and_packed_records_are_apart() {
    let Some(bench) = Bench::find() else { return };
    let recipe = root().join("crates/trainyard-agent/recipe").display().to_string();
    bench.check("check_data.py", &[&recipe, &bench.model()]);
}

#[test]
fn a_stopped_training_goes_on_exactly() {
    let Some(bench) = Bench::find() else { return };
    let recipe = root().join("crates/trainyard-agent/recipe").display().to_string();
    bench.check("check_resume.py", &[&recipe, &bench.model()]);
}

#[test]
fn a_stop_asks_for_a_checkpoint_before_the_end() {
    if Command::new("python3").arg("--version").output().is_err() {
        say("NOT RUN: there is no python3 here");
        return;
    }
    // Stand-ins for PyTorch and Transformers: this is about what the recipe asks of them, and runs with any Python.
    let recipe = root().join("crates/trainyard-agent/recipe");
    let script = root().join("tests/recipe/check_stop.py");
    let run = Command::new("python3").arg(script).arg(recipe).output().expect("Python starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(run.status.success(), "{}\n{}", said(&run.stdout), said(&run.stderr));
}

#[test]
fn jobs_train_adapters_that_peft_loads() {
    let Some(bench) = Bench::find() else { return };
    let yard = bench.yard();
    let evaluated = [("eval_steps", json!(4)), ("extra", json!({"eval_holdout": 0.25}))];
    yard.submit("lora", &bench.job("lora", "text.jsonl", &evaluated));
    yard.submit("dora", &bench.job("dora", "pairs.jsonl", &[("packing", json!(true))]));
    let all_layers = [("target_modules", json!(["all-linear"])), ("gradient_checkpointing", json!(true))];
    yard.submit("rslora", &bench.job("rslora", "messages.jsonl", &all_layers));
    for method in ["lora", "dora", "rslora"] {
        let status = yard.completed(method);
        let losses = yard.curve(method, "loss");
        assert_eq!(steps(&losses), (1..=8).collect::<Vec<_>>(), "{method}: every logged point once");
        assert!(losses[7].1 < losses[0].1, "{method}: {losses:?}");
        let adapter = directory_of(&status);
        let config = fs::read_to_string(adapter.join("adapter_config.json")).expect("a configuration");
        let config: Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!(
            (&config["use_dora"], &config["use_rslora"]),
            (&json!(method == "dora"), &json!(method == "rslora"))
        );
        assert!(adapter.join("tokenizer.json").is_file(), "{method}: the tokenizer comes with it");
        let said = bench.check("examples/check_peft.py", &[&bench.model(), &adapter.display().to_string()]);
        assert!(said.ends_with("OK\n"), "{said}");
    }
    assert_eq!(steps(&yard.curve("lora", "eval_loss")), [4, 8]);
    assert!(yard.log("dora").contains("packed into"), "{}", yard.log("dora"));
}

#[test]
fn what_cannot_be_done_is_named_with_its_remedy() {
    let Some(bench) = Bench::find() else { return };
    let yard = bench.yard();
    let cases = [
        (
            "modules",
            bench.job("lora", "text.jsonl", &[("target_modules", json!(["c_attn"]))]),
            "target_modules",
            "all-linear",
        ),
        (
            "extra",
            bench.job("lora", "text.jsonl", &[("extra", json!({"loging_steps": 5}))]),
            "settings",
            "logging_steps",
        ),
        ("fp16", bench.job("lora", "text.jsonl", &[("precision", json!("fp16"))]), "gpu_missing", "bf16"),
    ];
    for (id, spec, _, _) in &cases {
        yard.submit(id, spec);
    }
    for (id, _, code, remedy) in &cases {
        let status = yard.ended(id);
        let job = yard.http.get(&format!("{JOBS}/{id}")).ok(200);
        let told = &job["attempts"][0]["diagnosis"]["code"];
        assert_eq!(told, code, "{id}: {job}\n{}", yard.log(id));
        let suggestion = status["reason"]["suggestion"].as_str().expect("a suggestion");
        assert!(suggestion.contains(remedy), "{id}: {suggestion}");
    }
}

#[test]
fn a_program_that_knows_nothing_is_measured_and_its_adapter_comes_home() {
    let Some(bench) = Bench::find() else { return };
    let yard = bench.yard();
    let script = root().join("tests/recipe/trainer.py").display().to_string();
    let command = json!({"kind": "command", "command": ["python3", script, bench.model()]});
    yard.submit("own", &json!({"model_name": "own", "trainer": command}));
    let status = yard.completed("own");
    assert_eq!(
        steps(&yard.curve("own", "loss")),
        [2, 4, 6, 8],
        "every logged point once, with its exact step"
    );
    let path = status["artifact_info"]["path"].as_str().expect("a path");
    assert!(path.ends_with("/mine/adapter_model.safetensors"), "{status}");
    let files = status["artifact_info"]["files"].as_array().expect("files");
    let paths: Vec<&str> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    assert!(!paths.iter().any(|path| path.contains("checkpoint-")), "{paths:?}");
}
