//! An agent that crashes after its training ended and before the outputs are home, and a container that its vendor starts
//! anew there: what the machine has is brought home all the same, and nothing is trained twice.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use trainyard_simulator::Vendor;
use trainyard_simulator::world::Machine;
use trainyard_tests::until;

use crate::yard::{JOBS, SOON, Yard, list, placed, sh, with_agent};

/// Trains, writes everything that a training can leave, and tells when it is over.
fn trains(yard: &Yard, id: &str) -> Value {
    let marker = |name: &str| yard.server.directory().join(format!("{id}-{name}")).display().to_string();
    sh(&format!(
        "echo once >> {}; while [ ! -e {} ]; do sleep 0.1; done; echo the last line; \
         for n in 1 2 3; do echo \"{{\\\"step\\\": $n, \\\"loss\\\": 1}}\" >> \"$TRAINYARD_METRICS_FILE\"; done; \
         mkdir \"$TRAINYARD_CHECKPOINT_DIR/checkpoint-3\"; echo state > \"$TRAINYARD_CHECKPOINT_DIR/checkpoint-3/state\"; \
         printf 'adapter of {id}' > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"",
        marker("ran"),
        marker("go")
    ))
}

fn machine_of(yard: &Yard, id: &str) -> Machine {
    let machines = yard.machines_of(id);
    assert_eq!(machines.len(), 1, "{id}: one machine");
    machines.into_iter().next().expect("one")
}

/// What the agent of that machine wrote down about itself.
fn record(machine: &Machine) -> Option<Value> {
    let file = machine.root.join("home/trainyard").join(&machine.name).join("run/agent.json");
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn pid_of(record: &Value) -> i32 {
    record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

/// The process that started that one.
fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name")..].split_ascii_whitespace().collect();
    fields[2].parse().expect("a pid")
}

/// Kills the agent, or the first process of its container, and waits for another boot of the agent.
fn kill_agent(yard: &Yard, machine: &Machine, container: bool) {
    let before = record(machine).expect("an agent");
    let agent = pid_of(&before);
    let victim = if container { parent_of(agent) } else { agent };
    kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it runs");
    until(SOON, "another boot of the agent", || {
        record(machine).filter(|now| now["boot_id"] != before["boot_id"])
    });
    let starts = yard.world().machine(machine.vendor, &machine.id).expect("it is in the books").starts;
    assert_eq!(starts, if container { 2 } else { 1 }, "starts of the container");
}

/// Waits until the machine's agent has written the end of its training down.
fn await_end(machine: &Machine) {
    let file = machine.root.join("home/trainyard").join(&machine.name).join("run/ended.json");
    until(SOON, "the training to end", || file.exists().then_some(()));
}

#[test]
fn what_ended_under_an_agent_that_crashed_comes_home() {
    for (sleeps, container) in [(true, false), (false, true)] {
        let mut yard = Yard::with(with_agent(), &[]);
        let mut spec = trains(&yard, "j");
        // Its checkpoint does not come home before the crash.
        spec["checkpoints"] = json!({"every_s": 1});
        yard.create("j", &spec);
        yard.submit("j", "runpod");
        yard.await_state("j", "running");
        let (machine, server) = (machine_of(&yard, "j"), yard.server.process());
        match sleeps {
            true => server.signal(Signal::SIGSTOP),
            false => yard.server.crash(),
        }
        std::fs::write(yard.server.directory().join("j-go"), "").expect("a file");
        await_end(&machine);
        kill_agent(&yard, &machine, container);
        match sleeps {
            true => server.signal(Signal::SIGCONT),
            false => yard.start_again(),
        }
        yard.await_state("j", "completed");
        let artifact = yard.poke("j", "/download-artifact").ok(200);
        let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
        assert_eq!(bytes, b"adapter of j");
        assert_eq!(yard.log("j").matches("the last line\n").count(), 1, "{}", yard.log("j"));
        let series = yard.http.get(&format!("{JOBS}/j/metrics?names=loss")).ok(200);
        let steps: Vec<u64> =
            list(&series["points"]).iter().filter_map(|point| point["step"].as_u64()).collect();
        assert_eq!(steps, [1, 2, 3], "each point once");
        let job = yard.get("j", "").ok(200);
        assert_eq!(placed(&job).len(), 1, "{job}");
        let ran = std::fs::read_to_string(yard.server.directory().join("j-ran")).expect("it ran");
        assert_eq!(ran, "once\n", "trained once");
        yard.await_gone("j");
        yard.assert_empty();
    }
}

#[test]
fn a_failure_is_told_by_the_agent_after_the_one_that_crashed() {
    let mut yard = Yard::with(with_agent(), &[]);
    let go = yard.server.directory().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.1; done; echo no such thing; exit 3", go.display());
    yard.create("j", &sh(&script));
    yard.submit("j", "vastai");
    yard.await_state("j", "running");
    let machine = machine_of(&yard, "j");
    yard.server.crash();
    std::fs::write(&go, "").expect("a file");
    await_end(&machine);
    kill_agent(&yard, &machine, true);
    yard.start_again();
    let status = yard.await_state("j", "failed");
    assert!(status.to_string().contains("exit code 3"), "{status}");
    assert!(yard.log("j").contains("no such thing"), "{}", yard.log("j"));
    let job = yard.get("j", "").ok(200);
    assert_eq!((placed(&job).len(), machine.vendor), (1, Vendor::Vastai), "{job}");
    yard.await_gone("j");
    yard.assert_empty();
}

#[test]
fn a_warm_machine_whose_agent_crashed_stays_warm_and_takes_the_next_job() {
    let yard = Yard::with(with_agent(), &[]);
    let mut first = sh("echo cached > \"$HF_HOME\"-file; exit 1");
    first["resources"]["keep_warm_s"] = json!(600);
    yard.create("first", &first);
    yard.submit("first", "runpod");
    yard.await_state("first", "failed");
    let machine = machine_of(&yard, "first");
    let run = machine.root.join("home/trainyard").join(&machine.name).join("run");
    let ends = || {
        std::fs::read_to_string(run.join("machine-ends")).ok()?.parse::<chrono::DateTime<chrono::Utc>>().ok()
    };
    // The keeper tells the machine when it has to be gone.
    until(SOON, "the end of its time to be told", ends);
    for container in [false, true] {
        kill_agent(&yard, &machine, container);
    }
    assert!(ends().is_some_and(|at| at > yard.world().now()), "the same lease");
    let ledger = yard.http.get("/api/training/resources").ok(200);
    let kept = list(&ledger["machines"])[0].clone();
    assert!(kept["warm_until"].is_string(), "{kept}");
    yard.create("next", &sh("printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\""));
    let body = json!({"provider": "auto", "machine": kept["order"]});
    yard.http.post(&format!("{JOBS}/next/submit"), &body).ok(200);
    yard.await_state("next", "completed");
    assert_eq!(yard.world().machines_of(Vendor::Runpod).len(), 1, "one machine on the invoice");
    yard.await_gone("next");
    yard.assert_empty();
}
