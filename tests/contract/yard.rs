//! A server with room for several trainings, and the few questions that every test asks of it.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard_tests::{Answer, Http, Open, Process, Server, until};

/// The program that Cargo built for these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");
/// Longest wait for a job to get on, on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Where jobs are.
pub(crate) const JOBS: &str = "/api/training/jobs";

/// The program to test.
pub(crate) fn program() -> String {
    trainyard_tests::program(BINARY)
}

/// A server and a client for it.
pub(crate) struct Yard {
    pub(crate) server: Server,
    pub(crate) http: Http,
    /// Its configuration, where it has one; gone with it.
    pub(crate) _config: Option<tempfile::TempPath>,
}

impl Yard {
    /// With room for eight trainings at once, and no GPU.
    pub(crate) fn new() -> Yard {
        Yard::with("[local]\nslots = 8\nuse_gpus = false\n")
    }

    /// With that configuration.
    pub(crate) fn with(config: &str) -> Yard {
        Yard::with_variables(config, &[])
    }

    /// With that configuration and these environment variables.
    pub(crate) fn with_variables(config: &str, variables: &[(&str, &str)]) -> Yard {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), config).expect("the configuration");
        let config = file.into_temp_path();
        let path = config.display().to_string();
        let server = Server::with_variables(BINARY, "127.0.0.1:0", &["--config", &path], variables);
        let http = server.http();
        Yard { server, http, _config: Some(config) }
    }

    /// Starts the server again after it ended or crashed.
    pub(crate) fn start_again(&mut self) {
        self.server.start_again();
        self.http = self.server.http();
    }

    /// Creates a job of that id.
    #[track_caller]
    pub(crate) fn create(&self, id: &str, spec: &Value) -> Value {
        let mut body = spec.clone();
        body["job_id"] = json!(id);
        self.http.post(JOBS, &body).ok(201)
    }

    /// The answer to its submit.
    pub(crate) fn submit(&self, id: &str) -> Answer {
        self.http.post(&format!("{JOBS}/{id}/submit"), &json!({"provider": "local"}))
    }

    /// Creates it, submits it, and waits until it runs.
    #[track_caller]
    pub(crate) fn run(&self, id: &str, spec: &Value) {
        self.create(id, spec);
        self.submit(id).ok(200);
        self.await_state(id, "running");
    }

    /// Creates it, submits it, and waits until it is completed.
    #[track_caller]
    pub(crate) fn complete(&self, id: &str, spec: &Value) -> Value {
        self.create(id, spec);
        self.submit(id).ok(200);
        self.await_state(id, "completed")
    }

    /// What a GET below the job answers.
    pub(crate) fn get(&self, id: &str, what: &str) -> Answer {
        self.http.get(&format!("{JOBS}/{id}{what}"))
    }

    /// What a POST without a body below the job answers.
    pub(crate) fn poke(&self, id: &str, what: &str) -> Answer {
        self.http.poke(&format!("{JOBS}/{id}{what}"))
    }

    pub(crate) fn status(&self, id: &str) -> Value {
        self.get(id, "/status").ok(200)
    }

    /// Waits until the job is in that state, and gives its status.
    #[track_caller]
    pub(crate) fn await_state(&self, id: &str, state: &str) -> Value {
        self.await_status(id, &format!("`{id}` {state}"), |status| {
            let ended = ["completed", "failed", "stopped"].iter().any(|end| status["state"] == *end);
            assert!(!ended || status["state"] == state, "waited for {state}: {status}");
            status["state"] == state
        })
    }

    /// Waits until that is true of its status, and gives it.
    #[track_caller]
    pub(crate) fn await_status(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(SOON, what, || Some(self.status(id)).filter(|status| is(status)))
    }

    /// Waits until its log holds that text.
    #[track_caller]
    pub(crate) fn await_log(&self, id: &str, text: &str) {
        until(SOON, &format!("`{text}` in the log of `{id}`"), || self.log(id).contains(text).then_some(()));
    }

    /// Its whole log.
    pub(crate) fn log(&self, id: &str) -> String {
        let part = self.get(id, "/logs").ok(200);
        part["text"].as_str().expect("`text`").to_owned()
    }

    /// Every event of it, from the JSON pages.
    pub(crate) fn events(&self, id: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(id, &format!("/events?log=true&limit=1000&after={after}")).ok(200);
            all.extend(page["events"].as_array().expect("`events`").iter().cloned());
            after = page["next_after"].as_u64().expect("`next_after`");
            if page["more"] == false {
                return all;
            }
        }
    }

    /// Waits until what it held is given back.
    #[track_caller]
    pub(crate) fn await_released(&self, id: &str) {
        until(SOON, "its machine to be gone", || {
            let job = self.get(id, "").ok(200);
            list(&job["attempts"]).iter().all(|attempt| attempt["gone_at"].is_string()).then_some(())
        });
    }

    /// Every process of the job's newest attempt.
    pub(crate) fn processes(&self, id: &str) -> Vec<Process> {
        Process::with_variable("TRAINYARD_ATTEMPT_NAME", &self.order(id))
    }

    /// The order name of the job's newest attempt: the mark on all of its processes.
    pub(crate) fn order(&self, id: &str) -> String {
        let job = self.get(id, "").ok(200);
        let last = list(&job["attempts"]).last().expect("an attempt");
        last["order"].as_str().expect("`order`").to_owned()
    }

    /// Opens a stream of server-sent events below the job.
    pub(crate) fn stream(&self, id: &str, what: &str) -> Open {
        let call = self.http.call("GET", &format!("{JOBS}/{id}{what}"));
        let open = call.header("Accept", "text/event-stream").open();
        assert_eq!(open.status, 200);
        open
    }

    /// A path for a file by which the test and a training speak.
    pub(crate) fn file(&self, name: &str) -> String {
        self.server.directory().join(name).display().to_string()
    }
}

/// A training that is a shell script.
pub(crate) fn sh(script: &str) -> Value {
    json!({"model_name": "any", "trainer": {"kind": "command", "command": ["sh", "-c", script]}})
}

/// A training that waits until a file is there.
pub(crate) fn gated(file: &str) -> Value {
    sh(&format!("until [ -e '{file}' ]; do sleep 0.05; done"))
}

/// A training that goes on until it is stopped.
pub(crate) fn endless() -> Value {
    sh("while :; do sleep 0.2; done")
}

/// A training that leaves one file.
pub(crate) fn quick() -> Value {
    sh("printf adapter > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"")
}

/// The built-in trainer, for a few small steps.
pub(crate) fn builtin(steps: u32) -> Value {
    json!({
        "model_name": "trainyard-tiny",
        "hyperparameters": {
            "max_steps": steps, "warmup_steps": 2, "batch_size": 1, "gradient_accumulation_steps": 1,
            "max_seq_length": 48, "save_steps": 10, "eval_strategy": "no"
        }
    })
}

/// The elements of a list.
#[track_caller]
pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The names of an object's fields, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().map(String::as_str).collect()
}

/// A moment in the documented form: RFC 3339, UTC, `Z`.
#[track_caller]
pub(crate) fn moment(value: &Value) -> chrono::DateTime<chrono::Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("not a moment: {value}"));
    assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text}");
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A SHA-256 in lower case hexadecimal.
#[track_caller]
pub(crate) fn digest(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("not a digest: {value}"));
    assert!(text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{text}");
    text.to_owned()
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}
