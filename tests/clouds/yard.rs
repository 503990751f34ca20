//! A server that rents at simulated clouds, and the few questions that every test asks of it and of the simulator.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use trainyard_simulator::world::Machine;
use trainyard_simulator::{Options, Simulator, Vendor, World};
use trainyard_tests::{Answer, Http, Server, until};

/// The program that Cargo built for these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");
/// Longest wait for a job to get on, on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// Where jobs are.
pub(crate) const JOBS: &str = "/api/training/jobs";

/// Simulated clouds, a server that has their keys, and a client for it. When it is dropped while a machine is alive
/// that nobody explained, the test fails.
pub(crate) struct Yard {
    pub(crate) server: Server,
    pub(crate) http: Http,
    pub(crate) clouds: Clouds,
}

/// Simulated clouds on a runtime of their own.
pub(crate) struct Clouds {
    simulator: Option<Simulator>,
    runtime: Runtime,
}

impl Clouds {
    pub(crate) fn with(options: Options) -> Clouds {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let simulator = runtime.block_on(trainyard_simulator::serve(options)).expect("it starts");
        Clouds { simulator: Some(simulator), runtime }
    }

    fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().expect("it is there until the end")
    }

    pub(crate) fn world(&self) -> World {
        self.simulator().world()
    }

    /// What points a server at them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        self.simulator().environment()
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        if let Some(simulator) = self.simulator.take() {
            if std::thread::panicking() {
                // What is alive then is not what the test is about.
                let _in_runtime = self.runtime.enter();
                drop(simulator);
            } else {
                self.runtime.block_on(simulator.stop());
            }
        }
    }
}

impl Yard {
    /// No delays, and room for eight trainings on this machine.
    pub(crate) fn new() -> Yard {
        Yard::with(Options::for_tests(), &[])
    }

    /// With these clouds, and more environment for the server; a variable without a value is taken away.
    pub(crate) fn with(options: Options, variables: &[(&str, Option<&str>)]) -> Yard {
        Yard::over(Clouds::with(options), variables)
    }

    /// A server over clouds that are there already.
    pub(crate) fn over(clouds: Clouds, variables: &[(&str, Option<&str>)]) -> Yard {
        let mut environment: Vec<(&str, String)> = clouds.environment();
        environment.push(("TRAINYARD_LOCAL_SLOTS", "8".to_owned()));
        // These clouds show a machine at once.
        for provider in
            ["TRAINYARD_RUNPOD_SETTLE_S", "TRAINYARD_LAMBDA_SETTLE_S", "TRAINYARD_VASTAI_SETTLE_S"]
        {
            environment.push((provider, "3".to_owned()));
        }
        environment.push(("TRAINYARD_LOCAL_USE_GPUS", "false".to_owned()));
        for (name, value) in variables {
            environment.retain(|(known, _)| known != name);
            environment.extend(value.map(|value| (*name, value.to_owned())));
        }
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::with_variables(BINARY, "127.0.0.1:0", &[], &environment);
        let http = server.http();
        Yard { server, http, clouds }
    }

    pub(crate) fn world(&self) -> World {
        self.clouds.world()
    }

    /// Starts the server again on its directory.
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

    /// The answer to its submit to a provider.
    pub(crate) fn submit(&self, id: &str, provider: &str) -> Answer {
        self.http.post(&format!("{JOBS}/{id}/submit"), &json!({"provider": provider}))
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
            assert!(
                !ended || status["state"] == state,
                "waited for {state}: {status}\n{}\n{}",
                self.log(id),
                self.server.log()
            );
            status["state"] == state
        })
    }

    /// Waits until that is true of its status, and gives it.
    #[track_caller]
    pub(crate) fn await_status(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let status = self.status(id);
            if is(&status) {
                return status;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "waited for {what}: {status}\n{}\n{}",
                self.log(id),
                self.server.log()
            );
            // waits: for the state that the caller names
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its whole log.
    pub(crate) fn log(&self, id: &str) -> String {
        self.get(id, "/logs").json()["text"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until every machine of it is proven gone, and gives the job.
    #[track_caller]
    pub(crate) fn await_gone(&self, id: &str) -> Value {
        until(SOON, "its machines to be proven gone", || {
            let job = self.get(id, "").ok(200);
            let gone =
                |attempt: &Value| attempt["gone_at"].is_string() || attempt["provider_job_id"].is_null();
            list(&job["attempts"]).iter().all(gone).then_some(job)
        })
    }

    /// The machines that were ever rented for a job, by the simulator.
    pub(crate) fn machines_of(&self, id: &str) -> Vec<Machine> {
        let job = self.get(id, "").ok(200);
        let orders: Vec<String> = list(&job["attempts"])
            .iter()
            .map(|attempt| attempt["order"].as_str().expect("`order`").to_owned())
            .collect();
        self.world().machines().into_iter().filter(|machine| orders.contains(&machine.name)).collect()
    }
}

/// Images that bring the agent: machines come up at once then.
pub(crate) fn with_agent() -> Options {
    let image_environment = [("TRAINYARD_AGENT".to_owned(), trainyard_tests::program(BINARY))].into();
    Options { image_environment, ..Options::for_tests() }
}

impl Yard {
    /// The end of a test: no machine is alive, and nothing else of ours lies in an account. One SSH key of the installation
    /// stays at Lambda.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        self.world().assert_empty();
        let left =
            || -> Vec<String> { VENDORS.iter().flat_map(|(vendor, _)| self.left_at(*vendor)).collect() };
        let within = std::time::Instant::now() + SOON;
        while !left().is_empty() {
            assert!(std::time::Instant::now() < within, "still in an account: {:?}", left());
            // waits: a little between two looks
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Logins, keys and everything else that the account has, but for what the vendor itself notes there.
    fn left_at(&self, vendor: Vendor) -> Vec<String> {
        self.world().shelf(vendor, |shelf| {
            let own = |name: &str| name.starts_with("rate/") || name.starts_with("log ") || name == "uploads";
            let kept = shelf.iter().filter(|(name, _)| !own(name));
            let mut left: Vec<String> = kept
                .flat_map(|(name, value)| match value {
                    Value::Array(each) => each.iter().map(|one| format!("{name}: {one}")).collect(),
                    Value::Null => Vec::new(),
                    one => vec![format!("{name}: {one}")],
                })
                .collect();
            if vendor == Vendor::Lambda && left.len() == 1 && left[0].contains("trainyard") {
                left.clear();
            }
            left
        })
    }
}

/// The three, by the name they have here.
pub(crate) const VENDORS: [(Vendor, &str); 3] =
    [(Vendor::Runpod, "runpod"), (Vendor::Lambda, "lambda"), (Vendor::Vastai, "vastai")];

/// A training that is a shell script.
pub(crate) fn sh(script: &str) -> Value {
    json!({
        "model_name": "any",
        "trainer": {"kind": "command", "command": ["sh", "-c", script]},
        "resources": {"disk_gb": 20}
    })
}

/// The built-in trainer, for a few small steps.
pub(crate) fn builtin(steps: u32) -> Value {
    json!({
        "model_name": "trainyard-tiny",
        "hyperparameters": {
            "max_steps": steps, "warmup_steps": 2, "batch_size": 1, "gradient_accumulation_steps": 1,
            "max_seq_length": 48, "save_steps": 10, "eval_strategy": "no"
        },
        "resources": {"disk_gb": 20}
    })
}

/// The elements of a list.
#[track_caller]
pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The attempts of a job that got a machine. Others were refused: an offer may be out of stock though it is shown.
#[track_caller]
pub(crate) fn placed(job: &Value) -> Vec<Value> {
    list(&job["attempts"]).iter().filter(|attempt| attempt["provider_job_id"].is_string()).cloned().collect()
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}
