//! Pods that are there: listed, read, renamed, stopped, started, deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::check::{Field, Rule, body, may, must};
use super::{answer, pod};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Cause, Machine, World};

/// Most pods of a page, and as many where nobody says.
const PAGE_MAX: usize = 1000;
/// A pod that is gone is not shown at all.
const GONE_SHOWN: Duration = Duration::ZERO;
const ACTIONS: &[Field] = &[must("action", Rule::OneOf(&["start", "stop", "restart", "terminate"]))];
const CHANGES: &[Field] = &[may("name", Rule::Word), may("locked", Rule::Flag)];

/// All of them, newest first, by pages.
pub(super) fn list(request: &Request, world: &World) -> Response {
    let drawn = &request.call.drawn;
    let mut machines = world.listing(&request.call, GONE_SHOWN);
    if drawn.own("no_pagination").is_some() {
        return Response::json(200, &json!({ "pods": shown(&machines, request, world) }));
    }
    let wrong = |name: &str| answer::unprocessable(&[format!("query.{name}: value is malformed")]);
    let limit = match request.parameter("limit").map(|text| text.parse::<usize>()) {
        None => PAGE_MAX,
        Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => limit,
        Some(_) => return wrong("limit"),
    };
    if let Some(cursor) = request.parameter("cursor") {
        let Some(last) = cursor.strip_prefix("pod_").and_then(|text| text.parse::<u64>().ok()) else {
            return wrong("cursor");
        };
        machines.retain(|machine| machine.uid.number() < last);
    }
    let small = drawn.own("page_size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let page: Vec<Machine> =
        machines.iter().take(limit.min(small.unwrap_or(limit)).max(1)).cloned().collect();
    let mut more = page.len() < machines.len();
    let mut next = page.last().filter(|_| more).map(|machine| format!("pod_{}", machine.uid.number()));
    if drawn.own("repeat_cursor").is_some() {
        (more, next) = (true, Some("pod_99999999".to_owned()));
    }
    let pagination = json!({"nextCursor": next, "hasNextPage": more});
    Response::json(200, &json!({"pods": shown(&page, request, world), "pagination": pagination}))
}

fn shown(machines: &[Machine], request: &Request, world: &World) -> Vec<Value> {
    machines.iter().map(|machine| pod::shown(machine, &request.call, world)).collect()
}

/// One.
pub(super) fn get(request: &Request, id: &str, world: &World) -> Response {
    match world.reading(&request.call, id, GONE_SHOWN) {
        Some(machine) => Response::json(200, &pod::shown(&machine, &request.call, world)),
        None => answer::not_found(),
    }
}

/// Another name or another lock. What would reset a running container is not simulated.
pub(super) fn patch(request: &Request, id: &str, world: &World) -> Response {
    let changes = match body(request.json(), CHANGES) {
        Ok(changes) => changes,
        Err(errors) => return answer::unprocessable(&errors),
    };
    let changed = world.change(Vendor::Runpod, id, |name, details| {
        if let Some(new) = changes.get("name").and_then(Value::as_str) {
            *name = new.to_owned();
        }
        if let Some(locked) = changes.get("locked") {
            details["locked"] = locked.clone();
        }
    });
    match changed {
        Ok(machine) => Response::json(200, &pod::shown(&machine, &request.call, world)),
        Err(_) => answer::not_found(),
    }
}

/// Deletes it.
pub(super) fn delete(request: &Request, id: &str, world: &World) -> Response {
    match world.terminate(&request.call, id) {
        Ok(_) => Response::empty(204),
        Err(_) => answer::problem(404, "Not Found", "pod not found"),
    }
}

/// The word of an action's body.
pub(super) fn action_of(request: &Request) -> Option<String> {
    request.json()?.get("action")?.as_str().map(str::to_owned)
}

/// Stops, starts, restarts or deletes it. A restart answers and does nothing, as runpod-python#450 tells of the
/// version before.
pub(super) fn act(request: &Request, id: &str, world: &World) -> Response {
    if let Err(errors) = body(request.json(), ACTIONS) {
        return answer::unprocessable(&errors);
    }
    let action = action_of(request).unwrap_or_default();
    let Some(machine) = world.reading(&request.call, id, GONE_SHOWN) else { return answer::not_found() };
    let status = pod::status(&machine, &request.call);
    if !pod::actions(status).contains(&action.as_str()) {
        return answer::conflict(&format!("action '{action}' is not valid for a pod that is {status}"));
    }
    if action == "stop" && machine.details["locked"] == true {
        return answer::conflict("the pod is locked");
    }
    let done = match action.as_str() {
        "terminate" => return delete(request, id, world),
        "stop" => world.stop(Vendor::Runpod, id, Cause::Asked),
        "start" => world.start(Vendor::Runpod, id),
        _ => Ok(machine),
    };
    match done {
        Ok(machine) => Response::json(200, &pod::shown(&machine, &request.call, world)),
        Err(_) => answer::not_found(),
    }
}
