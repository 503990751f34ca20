//! Snapshots of logs: asked for here, fetched from where they were uploaded.

use std::time::Duration;

use serde_json::{Value, json};
use trainyard_domain::Timestamp;

use super::answer::{done, refused};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Machine, Phase, Source, World};

/// Lines are cut there.
const LINE_CHARS_MAX: usize = 500;
/// Lines of who says no number.
const LINES: usize = 1000;
/// Uploads that are kept; the oldest go.
const UPLOADS_MAX: usize = 500;
/// How long the host takes to upload; nothing where nothing takes any time.
const UPLOAD: Duration = Duration::from_millis(1200);

/// Asks for the last lines of a log.
pub(super) fn request(request: &Request, id: &str, world: &World) -> Response {
    let machine = world.machine(Vendor::Vastai, id).filter(Machine::is_alive);
    let Some(machine) = machine else {
        return Response::json(404, &json!({"error": "invalid_id", "msg": "Invalid instance id."}));
    };
    let body = request.json().unwrap_or_default();
    let daemon = body.get("daemon_logs").and_then(Value::as_str) == Some("true");
    match machine.phase {
        // The way to the host is not there yet.
        Phase::Placed => return refused(400, "invalid_args", "instance has no host channel"),
        _ if !machine.reachable => return refused(200, "not_running", "Instance is not running"),
        _ if machine.starts == 0 && !daemon => return refused(200, "not_running", "Instance is not running"),
        _ => {}
    }
    let text = snapshot(&machine, &body, if daemon { Source::System } else { Source::Container });
    let name = format!("{}.log", world.word("0123456789abcdef", 40));
    let wait = UPLOAD.min(world.delays().boot);
    let never = request.call.drawn.own("log_never").is_some();
    let at = if never { None } else { Some(world.now() + wait) };
    world.shelf(Vendor::Vastai, |shelf| {
        let number = shelf.get("uploads").and_then(Value::as_u64).unwrap_or_default() + 1;
        shelf.insert("uploads".to_owned(), json!(number));
        shelf.insert(format!("log {name}"), json!({"text": text, "at": at, "number": number}));
        let oldest = number.saturating_sub(UPLOADS_MAX as u64);
        shelf.retain(|name, kept| !name.starts_with("log ") || kept["number"].as_u64() > Some(oldest));
    });
    let host = request.header("host").unwrap_or("127.0.0.1");
    let url = format!("http://{host}/{}/instance_logs/{name}", Vendor::Vastai);
    done(json!({"result_url": url, "msg": "Logs requested."}))
}

/// What was uploaded; refused until it is there.
pub(super) fn fetch(name: &str, world: &World) -> Response {
    let now = world.now();
    let kept = world.shelf(Vendor::Vastai, |shelf| shelf.get(&format!("log {name}")).cloned());
    let at = kept.as_ref().and_then(|kept| serde_json::from_value::<Timestamp>(kept["at"].clone()).ok());
    match (kept, at) {
        (Some(kept), Some(at)) if at <= now => {
            Response::text(200, "text/plain", kept["text"].as_str().unwrap_or_default().to_owned())
        }
        _ => Response::text(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>"),
    }
}

fn snapshot(machine: &Machine, body: &Value, source: Source) -> String {
    let tail = body.get("tail").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(LINES);
    let word = body.get("filter").and_then(Value::as_str).unwrap_or_default();
    let lines = machine.log.tail(usize::MAX);
    let lines = lines.into_iter().filter(|line| line.source == source && line.text.contains(word));
    let lines: Vec<String> =
        lines.map(|line| line.text.chars().take(LINE_CHARS_MAX).collect::<String>() + "\n").collect();
    lines[lines.len().saturating_sub(tail)..].concat()
}
