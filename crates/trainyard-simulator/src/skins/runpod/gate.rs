//! Who comes through: the network before RunPod, the size of a request, the key, the rate.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::answer;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Access, Call, World};

/// Most bytes of a request, checked before the key.
const BODY_BYTES_MAX: usize = 102_400;
/// Programs that the network before RunPod refuses, by the beginning of their `User-Agent`.
const STOCK_AGENTS: [&str; 4] = ["python-urllib", "libwww-perl", "java/", "scrapy"];
/// The windows of the rate limit: name, seconds, requests. As an account was seen to have them.
const WINDOWS: [(&str, u64, u64); 3] = [("minute", 60, 180), ("hour", 3600, 7_200), ("day", 86_400, 100_000)];

/// What is refused before anybody looks at the key.
pub(super) fn before_key(request: &Request) -> Option<Response> {
    if is_blocked(&request.headers, &request.call) {
        return Some(blocked());
    }
    (request.body.len() > BODY_BYTES_MAX)
        .then(|| answer::problem(413, "Payload Too Large", "request body exceeds the limit of 102400 bytes"))
}

/// What the proxy in front of pods refuses by itself.
pub(crate) fn proxy_refusal(headers: &HeaderMap, call: &Call) -> Option<Response> {
    is_blocked(headers, call).then(blocked)
}

fn is_blocked(headers: &HeaderMap, call: &Call) -> bool {
    let agent = headers.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = agent.to_ascii_lowercase();
    agent.is_empty()
        || STOCK_AGENTS.iter().any(|stock| agent.starts_with(stock))
        || call.drawn.own("blocked").is_some()
}

fn blocked() -> Response {
    Response::text(403, "text/plain; charset=UTF-8", "error code: 1010")
}

/// What is refused for want of a key that opens anything.
pub(super) fn by_key(request: &Request, access: &Access) -> Option<Response> {
    match access {
        Access::Owner | Access::Reader | Access::Machine(_) => None,
        Access::Missing if request.header("authorization").is_none() => {
            Some(answer::problem(401, "Unauthorized", "missing bearer token"))
        }
        Access::Missing | Access::Revoked | Access::Unknown => {
            Some(answer::problem(401, "Unauthorized", "invalid bearer token"))
        }
    }
}

/// Whether the key has that right. A pod's own key reads and removes that pod and nothing else.
pub(super) fn may(access: &Access, method: &str, parts: &[&str]) -> bool {
    match (access, parts) {
        (Access::Owner, _) => true,
        (Access::Reader, _) => method == "GET",
        (Access::Machine(own), ["v2", "pods", id]) => own == id && matches!(method, "GET" | "DELETE"),
        (Access::Machine(own), ["v2", "pods", id, "action"]) => own == id,
        (Access::Machine(_) | Access::Missing | Access::Revoked | Access::Unknown, _) => false,
    }
}

/// What is left of the rate, in RunPod's headers.
pub(super) struct Limits {
    pub(super) left: String,
    pub(super) policy: String,
    /// How long until there is something again; none: the request may pass.
    pub(super) refused: Option<Duration>,
}

/// Counts a request. It is refused only where limits are in force, or a switch says so.
pub(super) fn limits(request: &Request, world: &World) -> Limits {
    let switch = request.call.drawn.own("minute_quota").and_then(Value::as_u64);
    let now = u64::try_from(world.now().timestamp()).unwrap_or_default();
    let (mut left, mut policy, mut refused) = (Vec::new(), Vec::new(), None);
    for (name, seconds, usual) in WINDOWS {
        let quota = switch.filter(|_| name == "minute").unwrap_or(usual);
        let used = count(world, name, now / seconds);
        let wait = seconds - now % seconds;
        left.push(format!("\"{name}\";r={};t={wait}", quota.saturating_sub(used)));
        policy.push(format!("\"{name}\";q={quota};w={seconds}"));
        let in_force = world.options().rate_limits || (switch.is_some() && name == "minute");
        if used > quota && in_force {
            refused = refused.or(Some(Duration::from_secs(wait)));
        }
    }
    Limits { left: left.join(", "), policy: policy.join(", "), refused }
}

/// One more in this window; how many there were in it.
fn count(world: &World, name: &str, window: u64) -> u64 {
    world.shelf(Vendor::Runpod, |shelf| {
        let kept = shelf.entry(format!("rate/{name}")).or_insert(Value::Null);
        let before = if kept["window"] == window { kept["used"].as_u64().unwrap_or_default() } else { 0 };
        *kept = json!({"window": window, "used": before + 1});
        before + 1
    })
}

pub(super) fn too_many(wait: Duration) -> Response {
    answer::problem(429, "Too Many Requests", "rate limit exceeded for the minute window")
        .with("retry-after", &wait.as_secs().max(1).to_string())
}
