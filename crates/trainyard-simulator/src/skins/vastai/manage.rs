//! Stop, start, label, reboot, destroy.

use hyper::Method;
use serde_json::{Value, json};

use super::answer::{done, no_instance, refused};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Cause, Machine, World};

/// Most characters of a label.
const LABEL_CHARS_MAX: usize = 1024;

/// Which operation a change is.
pub(super) fn operation(request: &Request) -> &'static str {
    debug_assert_eq!(request.method, Method::PUT);
    match request.json().as_ref().and_then(|body| body.get("state")).and_then(Value::as_str) {
        Some("stopped") => "stop",
        Some("running") => "start",
        _ => "other",
    }
}

/// Another state or label.
pub(super) fn change(request: &Request, id: &str, world: &World) -> Response {
    let Some(body) = request.json().filter(Value::is_object) else {
        return Response::json(400, &json!({"error": "invalid_request", "msg": "Invalid json body"}));
    };
    if body.get("id").is_some() {
        return refused(400, "invalid_args", "params duplicated in URL and body: ['id']");
    }
    if living(world, id).is_none() {
        return no_instance(id);
    }
    if let Some(label) = body.get("label").and_then(Value::as_str) {
        if label.chars().count() > LABEL_CHARS_MAX {
            return refused(400, "label_too_long", "label must be at most 1024 characters");
        }
        let changed = world.change(Vendor::Vastai, id, |name, _| label.clone_into(name));
        return changed.map_or_else(|_| no_instance(id), |_| done(json!({})));
    }
    match body.get("state").and_then(Value::as_str) {
        Some("stopped") => {
            let stopped = world.stop(Vendor::Vastai, id, Cause::Asked);
            stopped.map_or_else(|_| no_instance(id), |_| done(json!({})))
        }
        Some("running") if request.call.drawn.own("resources_unavailable").is_some() => {
            let msg = "Required resources are currently unavailable, state change queued.";
            refused(200, "resources_unavailable", msg)
        }
        Some("running") => {
            let started = world.start(Vendor::Vastai, id);
            started.map_or_else(|_| no_instance(id), |_| done(json!({})))
        }
        _ => refused(400, "invalid_args", "state must be 'stopped' or 'running'"),
    }
}

/// Destroys it. Of one that is going it is fine once more; one that is gone is not found.
pub(super) fn destroy(request: &Request, id: &str, world: &World) -> Response {
    if id.parse::<u64>().is_err() {
        return refused(400, "invalid_args", "invalid instance_id");
    }
    match world.terminate(&request.call, id) {
        Ok(_) => done(json!({"msg": "Instance destroyed successfully"})),
        Err(_) => refused(404, "not_found", "Instance not found"),
    }
}

/// Starts its container again, on the same disk and with the same ports: its first process is killed.
pub(super) async fn reboot(id: &str, world: &World) -> Response {
    let Some(machine) = living(world, id) else { return no_instance(id) };
    world.kill_all_of(machine.uid).await;
    done(json!({}))
}

fn living(world: &World, id: &str) -> Option<Machine> {
    world.machine(Vendor::Vastai, id).filter(Machine::is_alive)
}
