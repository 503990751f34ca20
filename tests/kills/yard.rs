//! A server that is killed, the clouds it rents at, and how it is asked while it comes and goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use trainyard_simulator::{Options, Script, Simulator, World};
use trainyard_tests::{Http, Server, until};

/// The program that Cargo built for these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");
/// Longest wait for a job to get on, on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(180);
/// Where jobs are.
pub(crate) const JOBS: &str = "/api/training/jobs";
/// The three clouds, as they are called.
pub(crate) const CLOUDS: [&str; 3] = ["runpod", "lambda", "vastai"];

/// Where the server listens now; another port after each restart.
#[derive(Debug, Clone)]
pub(crate) struct Address(Arc<Mutex<Http>>);

impl Address {
    pub(crate) fn http(&self) -> Http {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn move_to(&self, http: Http) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = http;
    }
}

/// The clouds, the server, and what was measured of its recoveries.
pub(crate) struct Yard {
    pub(crate) server: Server,
    pub(crate) address: Address,
    pub(crate) kills: usize,
    /// From each kill until a vendor or an agent was asked again; longer where the ready line came later.
    pub(crate) recoveries: Vec<Duration>,
    simulator: Option<Simulator>,
    runtime: Runtime,
}

impl Yard {
    /// With real agents everywhere, which the images bring.
    pub(crate) fn new() -> Yard {
        Yard::with(Options::for_tests())
    }

    /// RunPod's pods are scripted: room for very many.
    pub(crate) fn scripted(points: u64, every: Duration) -> Yard {
        let script = Script { points, every, exit_code: 0 };
        Yard::with(Options { script: Some(script), ..Options::for_tests() })
    }

    fn with(mut options: Options) -> Yard {
        let program = trainyard_tests::program(BINARY);
        options.image_environment.insert("TRAINYARD_AGENT".to_owned(), program);
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).enable_all().build().expect("a runtime");
        let simulator = runtime.block_on(trainyard_simulator::serve(options)).expect("it starts");
        let mut environment: Vec<(&str, String)> = simulator.environment();
        environment.push(("TRAINYARD_LOCAL_SLOTS", "8".to_owned()));
        environment.push(("TRAINYARD_LOCAL_USE_GPUS", "false".to_owned()));
        // These clouds show a machine at once.
        for name in ["TRAINYARD_RUNPOD_SETTLE_S", "TRAINYARD_LAMBDA_SETTLE_S", "TRAINYARD_VASTAI_SETTLE_S"] {
            environment.push((name, "2".to_owned()));
        }
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::with_variables(BINARY, "127.0.0.1:0", &[], &environment);
        let address = Address(Arc::new(Mutex::new(server.http())));
        Yard { server, address, kills: 0, recoveries: Vec::new(), simulator: Some(simulator), runtime }
    }

    pub(crate) fn world(&self) -> World {
        self.simulator.as_ref().expect("it is there until the end").world()
    }

    pub(crate) fn http(&self) -> Http {
        self.address.http()
    }

    /// Waits until the world is so; says whether it came to that.
    pub(crate) fn world_until(&self, within: Duration, so: impl FnMut(&World) -> bool) -> bool {
        let world = self.world();
        self.runtime.block_on(world.until(within, so))
    }

    /// SIGKILL, and the start after it.
    pub(crate) fn kill_and_start(&mut self, between: impl FnOnce(&Yard)) {
        let killed = Instant::now();
        self.server.crash();
        self.kills += 1;
        let spent = Instant::now();
        between(self);
        let spent = spent.elapsed();
        let before = asked(&self.world());
        self.start_again();
        // Nothing may be under way just now: then nobody is asked, and nothing is measured.
        if self.world_until(Duration::from_secs(5), |world| asked(world) > before) {
            self.recoveries.push(killed.elapsed().saturating_sub(spent));
        }
    }

    /// Starts the server that was killed.
    pub(crate) fn start_again(&mut self) {
        self.server.start_again();
        self.moved();
    }

    /// The server was started by other means.
    pub(crate) fn moved(&self) {
        self.address.move_to(self.server.http());
    }

    /// What a GET below the job answers with 200.
    pub(crate) fn get(&self, id: &str, what: &str) -> Value {
        self.http().get(&format!("{JOBS}/{id}{what}")).ok(200)
    }

    /// Creates and submits, without waiting for what comes of it.
    pub(crate) fn submit(&self, id: &str, provider: &str, spec: &Value) {
        let mut body = spec.clone();
        body["job_id"] = json!(id);
        self.http().post(JOBS, &body).ok(201);
        let call = self.http().call("POST", &format!("{JOBS}/{id}/submit"));
        let answer = call.header("Prefer", "respond-async").json(&json!({"provider": provider})).send();
        assert!(matches!(answer.status, 200 | 202), "{id}: {}", answer.text());
    }

    /// Waits until the job has ended and nothing of it is held, and gives its status.
    pub(crate) fn await_rest(&self, id: &str) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let (status, job) = (self.get(id, "/status"), self.get(id, ""));
            let gone =
                |attempt: &Value| attempt["gone_at"].is_string() || attempt["provider_job_id"].is_null();
            if is_end(&status["state"]) && list(&job["attempts"]).iter().all(gone) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited for the end of {id}: {job}\n{}", self.server.log());
            // waits: for the state above
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Judges the whole: nothing alive, nothing twice, nothing of nobody, nothing left running here.
    pub(crate) fn judge(&self, jobs: &[String]) {
        let mut orders: Vec<String> = Vec::new();
        for id in jobs {
            let job = self.get(id, "");
            orders
                .extend(list(&job["attempts"]).iter().filter_map(|a| a["order"].as_str().map(str::to_owned)));
        }
        let world = self.world();
        let gone = self.world_until(Duration::from_secs(30), |world| world.alive().is_empty());
        assert!(gone, "on the invoice: {:?}", world.alive().iter().map(|m| &m.name).collect::<Vec<_>>());
        let mut names: Vec<String> = world.machines().into_iter().map(|machine| machine.name).collect();
        names.sort_unstable();
        let doubled: Vec<&[String]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubled.is_empty(), "two machines for one order: {doubled:?}");
        let strangers: Vec<&String> = names.iter().filter(|name| !orders.contains(name)).collect();
        assert!(strangers.is_empty(), "machines that no job ordered: {strangers:?}");
        let ledger = self.http().get("/api/training/resources").ok(200);
        for machine in list(&ledger["machines"]) {
            assert_eq!(machine["may_be_billed"], false, "{machine}");
        }
        until(SOON, "the agents here to end", || self.server.agents().is_empty().then_some(()));
    }

    /// Says what was measured.
    pub(crate) fn tell(&self, what: &str) {
        let mut times = self.recoveries.clone();
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        trainyard_tests::say(&format!(
            "{what}: {} kills; from a kill to the first question outside: median {:?}, 95 % {:?}, longest {:?}",
            self.kills,
            at(50),
            at(95),
            times.last()
        ));
    }
}

impl Drop for Yard {
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

/// How often vendors and agents behind them were asked.
fn asked(world: &World) -> u64 {
    world.counts().values().flat_map(|operations| operations.values()).map(|count| count.asked).sum()
}

/// Whether a state is one that a job rests in.
pub(crate) fn is_end(state: &Value) -> bool {
    ["completed", "failed", "stopped"].iter().any(|end| state == end)
}

/// A training that is a shell script.
pub(crate) fn sh(script: &str) -> Value {
    json!({
        "model_name": "any",
        "trainer": {"kind": "command", "command": ["sh", "-c", script]},
        "resources": {"disk_gb": 20},
        "retry": {"max_attempts": 20}
    })
}

/// Logs a point and a line for each of so many steps, one each twentieth of a second; its output tells whose it is.
pub(crate) fn counting(id: &str, steps: u64, exit_code: u8) -> Value {
    sh(&format!(
        "i=0; while [ $i -lt {steps} ]; do i=$((i+1)); \
         echo \"{{\\\"step\\\":$i,\\\"loss\\\":$i}}\" >> \"$TRAINYARD_METRICS_FILE\"; \
         echo \"line $i\"; sleep 0.05; done; \
         printf 'adapter {id}' > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"; exit {exit_code}"
    ))
}

/// The elements of a list.
#[track_caller]
pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}
