//! A pod as RunPod shows it.

use serde_json::{Map, Value, json};
use trainyard_domain::{Money, Timestamp};

use super::create::{port_of, texts};
use crate::world::{Call, Machine, Phase, World};

/// The port that RunPod itself opens on every pod.
const OWN_PORT: u16 = 19_123;

/// The pod, as it is at this reading.
pub(super) fn shown(machine: &Machine, call: &Call, world: &World) -> Value {
    let asked = machine.details.as_object().cloned().unwrap_or_default();
    let told = |name: &str, usual: Value| asked.get(name).cloned().unwrap_or(usual);
    let status = status(machine, call);
    let runs = machine.answers() && status == "RUNNING";
    let stopped = status == "EXITED";
    let cost = match call.drawn.own("cost_zero_when_exited") {
        Some(_) if stopped => json!(0),
        _ => number(machine.price_per_hour),
    };
    let mut pod = json!({
        "id": machine.id,
        "name": machine.name,
        "status": status,
        "actions": actions(status),
        "image": machine.order.image,
        "args": args(&asked),
        "disk": machine.order.disk_gb,
        "ports": told("ports", json!([])),
        "env": told("env", json!({})),
        "registry": told("registry", Value::Null),
        "mounts": told("mounts", json!({})),
        "gpu": {"id": machine.offer.gpu, "count": machine.units,
            "vcpuCount": machine.units * 8, "memory": machine.units * 32},
        "cloud": machine.offer.tier,
        "dataCenterId": machine.offer.region,
        "cudaVersion": machine.offer.details["cuda"].as_str().filter(|cuda| !cuda.is_empty()),
        "ssh": ssh(machine, runs),
        "template": null,
        "cost": cost,
        "locked": told("locked", json!(false)),
        "globalNetworking": {"enabled": false},
        "runtime": if runs { runtime(machine, world) } else { Value::Null },
        "createdAt": stamp(machine.placed_at, call),
        "startedAt": machine.healthy_at.map(|at| stamp(at, call)),
    });
    for name in ["cmd", "entrypoint"] {
        if let Some(told) = asked.get(name) {
            pod[name] = told.clone();
        }
    }
    pod
}

/// `RUNNING` comes with the answer to the order and says nothing about the container.
pub(super) fn status(machine: &Machine, call: &Call) -> &'static str {
    let word = call.drawn.own("status").and_then(Value::as_str);
    if let Some(word) = word {
        let known = ["PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"];
        return known.into_iter().find(|known| *known == word).unwrap_or("HIBERNATING");
    }
    let open = call.drawn.own("show_boot").is_some();
    match machine.phase {
        Phase::Placed | Phase::Pulling if open => "PROVISIONING",
        Phase::Starting if open => "STARTING",
        Phase::Broken(_) if open => "ERROR",
        Phase::Stopped => "EXITED",
        Phase::Gone => "TERMINATED",
        Phase::Placed
        | Phase::Pulling
        | Phase::Starting
        | Phase::Running
        | Phase::Exited
        | Phase::Broken(_)
        | Phase::Terminating => "RUNNING",
    }
}

/// What a pod in that status accepts.
pub(super) fn actions(status: &str) -> Vec<&'static str> {
    match status {
        "RUNNING" => vec!["stop", "restart", "terminate"],
        "EXITED" | "ERROR" => vec!["start", "terminate"],
        "PROVISIONING" | "STARTING" => vec!["stop", "terminate"],
        _ => Vec::new(),
    }
}

/// The stored form of what runs.
fn args(asked: &Map<String, Value>) -> String {
    let (entrypoint, cmd) = (texts(asked, "entrypoint"), texts(asked, "cmd"));
    if entrypoint.is_empty() && cmd.is_empty() {
        return asked.get("args").and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    json!({"entrypoint": entrypoint, "cmd": cmd}).to_string()
}

fn runtime(machine: &Machine, world: &World) -> Value {
    let uptime = machine.started_at.map_or(0, |at| (world.now() - at).num_seconds().max(0));
    let mut ports =
        vec![json!({"private": OWN_PORT, "public": 60_821, "type": "http", "ip": "100.65.14.155"})];
    for port in texts(&machine.details.as_object().cloned().unwrap_or_default(), "ports") {
        if let (Some(private), true) = (port_of(&port), port.ends_with("/tcp")) {
            let public = machine.mapped.get(&private).copied();
            ports.insert(0, json!({"private": private, "public": public, "type": "tcp", "ip": "127.0.0.1"}));
        }
    }
    let cards: Vec<Value> = (0..machine.units).map(|_| json!({"util": 97, "memoryUtil": 61})).collect();
    json!({"uptime": uptime, "gpus": cards, "cpu": {"util": 34}, "memory": {"util": 21}, "ports": ports})
}

fn ssh(machine: &Machine, runs: bool) -> Value {
    let user = format!("{}-64411eb2", machine.id);
    let command = format!("ssh {user}@ssh.runpod.io");
    let direct = machine.mapped.get(&22).filter(|_| runs);
    let direct = direct.map(|port| {
        json!({"host": "127.0.0.1", "port": port, "username": "root", "command": format!("ssh root@127.0.0.1 -p {port}")})
    });
    json!({"proxy": {"host": "ssh.runpod.io", "port": 22, "username": user, "command": command}, "direct": direct})
}

/// A time in RunPod's form, by the vendor's clock.
pub(super) fn stamp(at: Timestamp, call: &Call) -> String {
    let skew = chrono::TimeDelta::try_seconds(call.skew_s()).unwrap_or_default();
    let at = at.checked_add_signed(skew).unwrap_or(at);
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// An amount as a JSON number.
pub(super) fn number(money: Money) -> Value {
    money.to_string().parse::<f64>().map_or(Value::Null, |number| json!(number))
}
