//! From the creation of a job to the machine proven gone, at each cloud.

use serde_json::{Value, json};
use trainyard_simulator::Vendor;
use trainyard_tests::{Heard, WebSocket};

use crate::yard::{SOON, Yard, builtin, list, placed, sha256};

#[test]
fn at_runpod() {
    whole_way(Vendor::Runpod, "runpod");
}

#[test]
fn at_lambda() {
    whole_way(Vendor::Lambda, "lambda");
}

#[test]
fn at_vastai() {
    whole_way(Vendor::Vastai, "vastai");
}

fn whole_way(vendor: Vendor, provider: &str) {
    let yard = Yard::new();
    let mut spec = builtin(30);
    spec["dataset"] = json!({"source": upload(&yard), "format": "prompt_completion"});
    yard.create("way", &spec);
    let mut socket = WebSocket::open(&yard.http, "/ws/training/jobs/way", &[])
        .unwrap_or_else(|answer| panic!("{}: {}", answer.status, answer.text()));
    let submitted = yard.submit("way", provider).ok(200);
    assert!(["initializing", "running", "completed"].iter().any(|state| submitted["state"] == *state));
    yard.await_state("way", "completed");
    let (messages, end) = socket.to_end(SOON);
    assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
    told(&messages);
    verified(&yard, provider);
    paid(&yard, vendor);
}

/// Uploads a small data set, and gives its source.
fn upload(yard: &Yard) -> String {
    let lines: String = (0..40)
        .map(|n| format!("{{\"prompt\":\"what is {n}\",\"completion\":\"the number {n}\"}}\n"))
        .collect();
    let digest = sha256(lines.as_bytes());
    let put = yard.http.call("PUT", &format!("/api/training/inputs/{digest}")).bytes(lines.as_bytes()).send();
    assert!(put.status < 300, "{}: {}", put.status, put.text());
    format!("input:{digest}")
}

/// The states, the phases on the way, and the curve came over the WebSocket.
fn told(messages: &[Value]) {
    let statuses = || messages.iter().filter(|message| message["type"] == "status");
    let states: Vec<&Value> = statuses().map(|message| &message["data"]["state"]).collect();
    for state in ["initializing", "running", "completed"] {
        assert!(states.iter().any(|told| *told == state), "{state} was not told: {states:?}");
    }
    let phases: Vec<&Value> = statuses().map(|message| &message["data"]["phase"]).collect();
    for phase in ["ordering", "booting", "training"] {
        assert!(phases.iter().any(|told| *told == phase), "{phase} was not told: {phases:?}");
    }
    let is_point = |message: &&Value| message["type"] == "metrics" && message["data"]["loss"].is_number();
    let losses = messages.iter().filter(is_point).count();
    assert_eq!(losses, 30, "one point a step");
}

/// The artifact is here, and every file has the digest that the machine made.
fn verified(yard: &Yard, provider: &str) {
    let artifact = yard.poke("way", "/download-artifact").ok(200);
    assert_eq!(artifact["metadata"]["provider"], provider);
    let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
    assert_eq!(artifact["hash_sha256"], sha256(&bytes));
    let valid = yard.poke("way", "/verify-artifact").ok(200);
    assert_eq!(valid["valid"], true, "{valid}");
    assert!(list(&valid["files"]).len() > 1, "{valid}");
}

/// The machine is gone, by its vendor and by ours, and both books agree within one billing unit.
fn paid(yard: &Yard, vendor: Vendor) {
    let job = yard.await_gone("way");
    let attempts = placed(&job);
    assert_eq!(attempts.len(), 1, "{job}");
    let machines = yard.machines_of("way");
    assert_eq!(machines.len(), 1);
    let (machine, now) = (&machines[0], yard.world().now());
    assert!(!machine.is_alive());
    yard.assert_empty();
    let invoice = machine.invoice(now);
    // Traffic, which Vast.ai bills by the byte, is in the vendor's books and not in what time costs.
    let bill: f64 = invoice.gpu.plus(invoice.disk).to_string().parse().expect("an amount");
    let ledger: f64 =
        yard.status("way")["cost_usd"].as_str().expect("`cost_usd`").parse().expect("an amount");
    let price: f64 =
        attempts[0]["price_per_hour"]["amount"].as_str().expect("a price").parse().expect("an amount");
    // A second at RunPod and Vast.ai, a minute at Lambda; and what passes on a busy machine between the vendor's first and
    // last second and our readings that show them.
    let unit = if vendor == Vendor::Lambda { 60.0 } else { 1.0 };
    let apart = (bill - ledger).abs() * 3600.0 / price;
    assert!(apart <= unit + 2.0, "bill {bill}, ledger {ledger}: {apart:.1} s apart at {price} an hour");
}
