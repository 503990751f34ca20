//! Machines as Lambda shows them, and what can be done with them.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard_domain::Timestamp;

use super::answers::{data, invalid, no_instance, refused};
use super::{LAMBDA, catalogue};
use crate::http::{Request, Response};
use crate::world::{Cause, Machine, Phase, World, span};

/// How long a machine that is gone is shown as `terminated`. How long it really is, nobody knows.
const GONE_SHOWN: Duration = Duration::from_secs(60);

fn gone_shown(request: &Request) -> Duration {
    if request.call.drawn.own("vanish_at_once").is_some() { Duration::ZERO } else { GONE_SHOWN }
}

/// `GET /instances`.
pub(super) fn list(request: &Request, world: &World) -> Response {
    let machines = world.listing(&request.call, gone_shown(request));
    let shown: Vec<Value> = machines.iter().map(|machine| shown(machine, world)).collect();
    data(&json!(shown))
}

/// `GET /instances/{id}`.
pub(super) fn get(request: &Request, world: &World, id: &str) -> Response {
    if !is_id(id) {
        return invalid("Invalid request data: id.");
    }
    match world.reading(&request.call, id, gone_shown(request)) {
        Some(machine) => data(&shown(&machine, world)),
        None => no_instance(),
    }
}

/// `POST /instances/{id}`: nothing but the name can be changed.
pub(super) fn rename(request: &Request, world: &World, id: &str) -> Response {
    let Some(body) = request.json() else { return invalid("Invalid request data.") };
    let name = body["name"].as_str().map(str::to_owned);
    if name.as_ref().is_some_and(|name| name.chars().count() > 64) {
        return invalid("Invalid request data: name.");
    }
    let renamed = world.change(LAMBDA, id, |to, _| {
        if let Some(name) = name {
            *to = name;
        }
    });
    renamed.map_or_else(|_| no_instance(), |machine| data(&shown(&machine, world)))
}

/// The ids of a body that names some.
fn ids(request: &Request) -> Option<Vec<String>> {
    let ids = request.json()?["instance_ids"].as_array()?.clone();
    let ids: Option<Vec<String>> = ids.iter().map(|id| id.as_str().map(str::to_owned)).collect();
    ids.filter(|ids| !ids.is_empty() && ids.iter().all(|id| is_id(id)))
}

/// `POST /instance-operations/terminate`. Where one of several is unknown, nothing is done: what Lambda does then is not
/// known.
pub(super) fn terminate(request: &Request, world: &World) -> Response {
    let Some(ids) = ids(request) else { return invalid("Invalid request data: instance_ids.") };
    let known = |id: &String| world.machine(LAMBDA, id).filter(Machine::is_alive);
    let Some(before) = ids.iter().map(known).collect::<Option<Vec<Machine>>>() else { return no_instance() };
    if before.iter().any(|machine| is_blocked(machine, world.now())) {
        return invalid("Instance is not able to be terminated: vm-has-not-launched.");
    }
    let again = request.call.drawn.own("terminate_again_unknown").is_some();
    if again && before.iter().any(|machine| machine.phase == Phase::Terminating) {
        return refused(400, "global/unknown", "An unknown error occurred.");
    }
    let mut gone = Vec::new();
    for id in &ids {
        match world.terminate(&request.call, id) {
            Ok(machine) => gone.push(shown(&machine, world)),
            Err(_) => return no_instance(),
        }
    }
    data(&json!({ "terminated_instances": gone }))
}

/// `POST /instance-operations/restart`: a reboot on the same disk. The first boot is not repeated.
pub(super) fn restart(request: &Request, world: &World) -> Response {
    let Some(ids) = ids(request) else { return invalid("Invalid request data: instance_ids.") };
    let mut restarted = Vec::new();
    for id in &ids {
        let Some(machine) = world.machine(LAMBDA, id).filter(Machine::is_alive) else { return no_instance() };
        if machine.phase != Phase::Running {
            let text = "The request conflicts with the current state of the resource.";
            return refused(409, "global/conflict", text);
        }
        restarted.push(shown(&machine, world));
        let (world, id) = (world.clone(), id.clone());
        world.clone().spawn(async move {
            if world.stop(LAMBDA, &id, Cause::Asked).is_ok() {
                let stopped = |world: &World| {
                    world
                        .machine(LAMBDA, &id)
                        .is_none_or(|it| matches!(it.phase, Phase::Stopped | Phase::Gone))
                };
                world.until(Duration::from_secs(60), stopped).await;
                // One that was terminated meanwhile stays so.
                let _ = world.start(LAMBDA, &id);
            }
        });
    }
    data(&json!({ "restarted_instances": restarted }))
}

/// 32 hexadecimal digits, with or without dashes.
fn is_id(id: &str) -> bool {
    let digits = id.bytes().filter(|byte| *byte != b'-');
    digits.clone().count() == 32 && digits.into_iter().all(|byte| byte.is_ascii_hexdigit())
}

fn seconds(machine: &Machine, name: &str) -> Option<Duration> {
    machine.details[name].as_f64().map(span)
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    (now - then).to_std().unwrap_or_default()
}

fn is_blocked(machine: &Machine, now: Timestamp) -> bool {
    seconds(machine, "terminate_blocked_s").is_some_and(|blocked| since(machine.placed_at, now) < blocked)
}

/// Lambda's word for how it is.
fn status(machine: &Machine, now: Timestamp) -> &'static str {
    match &machine.phase {
        Phase::Placed | Phase::Pulling | Phase::Starting => "booting",
        Phase::Running | Phase::Exited => {
            let lag = seconds(machine, "active_lag_s").unwrap_or_default();
            let healthy = machine.healthy_at.is_none_or(|then| since(then, now) >= lag);
            match (machine.details["unhealthy"] == true || !machine.reachable, healthy) {
                (true, _) => "unhealthy",
                (false, true) => "active",
                (false, false) => "booting",
            }
        }
        Phase::Broken(_) | Phase::Stopped => "unhealthy",
        Phase::Terminating if machine.cause == Cause::Preempted => "preempted",
        Phase::Terminating => "terminating",
        Phase::Gone => "terminated",
    }
}

/// A machine on the wire. What may be left out or null is now the one and now the other, and there are fields that no
/// document has.
pub(super) fn shown(machine: &Machine, world: &World) -> Value {
    let now = world.now();
    let status = status(machine, now);
    let addressed = since(machine.placed_at, now) >= world.delays().address
        || !matches!(machine.phase, Phase::Placed | Phase::Starting);
    let mut kind = catalogue::shown(&machine.offer, machine.price_per_hour);
    kind["name"] = json!(came(machine));
    let mut shown = json!({
        "id": machine.id,
        "status": status,
        "ssh_key_names": [machine.details["ssh_key"]],
        "file_system_names": machine.details["file_systems"],
        "region": catalogue::region(&machine.offer.region),
        "instance_type": kind,
        "actions": actions(machine, now),
        "tags": machine.details["tags"],
        "firewall_rulesets": [],
        "is_reserved": false,
        "workspace_id": "8a6fd1c7",
        "surprise": { "of": "the service" },
    });
    let secret = &machine.key[..32.min(machine.key.len())];
    let there = addressed.then_some(());
    let private = there.filter(|()| machine.details["no_private_ip"] != true);
    let url = format!(
        "https://jupyter-{}.lambdaspaces.com/?token={secret}",
        &machine.id[..8.min(machine.id.len())]
    );
    let optional = [
        ("name", Some(&machine.name).filter(|name| !name.is_empty()).map(|name| json!(name))),
        ("ip", there.map(|()| json!(machine.address.to_string()))),
        (
            "private_ip",
            private.map(|()| {
                json!(format!("10.0.{}.{}", machine.address.octets()[2], machine.address.octets()[3]))
            }),
        ),
        (
            "hostname",
            there.and_then(|()| machine.details.get("hostname").filter(|name| !name.is_null()).cloned()),
        ),
        ("jupyter_token", there.map(|()| json!(secret))),
        ("jupyter_url", there.map(|()| json!(url))),
    ];
    if let Some(fields) = shown.as_object_mut() {
        for (name, value) in optional {
            match value {
                Some(value) => {
                    fields.insert(name.to_owned(), value);
                }
                None if machine.uid.0.is_multiple_of(2) => {
                    fields.insert(name.to_owned(), Value::Null);
                }
                None => {}
            }
        }
    }
    shown
}

/// The type that was placed: with another number of cards it is another type.
fn came(machine: &Machine) -> String {
    let name = catalogue::type_name(&machine.offer);
    let rest = name.strip_prefix("gpu_").and_then(|rest| rest.split_once("x_"));
    match rest {
        Some((_, model)) => format!("gpu_{}x_{model}", machine.offer.gpus),
        None => name.to_owned(),
    }
}

fn actions(machine: &Machine, now: Timestamp) -> Value {
    let (code, text) = match machine.phase {
        Phase::Terminating | Phase::Gone => ("vm-is-terminating", "The VM is terminating."),
        _ => ("vm-has-not-launched", "The VM has not launched yet."),
    };
    let blocked = json!({ "available": false, "reason_code": code, "reason_description": text });
    let over = matches!(machine.phase, Phase::Terminating | Phase::Gone);
    let free = json!({ "available": true });
    let up = if machine.phase == Phase::Running { &free } else { &blocked };
    let terminate = if over || is_blocked(machine, now) { &blocked } else { &free };
    json!({ "migrate": up, "rebuild": up, "restart": up, "cold_reboot": up, "terminate": terminate })
}
