//! Who asks, what that key may do, and whether it asks too often.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::answer::refused;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Access, World};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The account's owner, or somebody with a key that only reads and does.
    Account,
    /// The machine of that id.
    Machine,
    /// Anybody: the market is open.
    Anybody,
}

/// Lets a request pass, or refuses it. `parts` is the path below `/api`.
pub(super) fn pass(request: &Request, parts: &[&str], world: &World) -> Result<Caller, Response> {
    let key = key_of(request);
    if let Some(refusal) = too_often(request, parts, key.as_deref().unwrap_or_default(), world) {
        return Err(refusal);
    }
    let open = matches!(parts, ["v0", "bundles"] | ["v0", "search", "asks"] | ["v0", "gpu_names", "unique"]);
    match world.access(Vendor::Vastai, key.as_deref()) {
        Access::Owner => Ok(Caller::Account),
        Access::Reader if request.method == Method::GET || open => Ok(Caller::Account),
        Access::Reader => {
            Err(refused(401, "auth_error", "Your API key lacks the instance_write permission group"))
        }
        Access::Machine(id) if is_its_own(&request.method, parts, &id) => Ok(Caller::Machine),
        Access::Machine(_) => {
            Err(refused(401, "auth_error", "Your API key lacks permission due to a constraint on id"))
        }
        Access::Missing if open => Ok(Caller::Anybody),
        Access::Revoked => Err(refused(401, "auth_error", "Invalid user key")),
        Access::Missing | Access::Unknown => {
            let status = if request.call.drawn.own("key_401").is_some() { 401 } else { 404 };
            Err(refused(status, "auth_error", "Invalid user key"))
        }
    }
}

/// The key, from the header or, as older clients have it, from the query.
fn key_of(request: &Request) -> Option<String> {
    request.bearer().map(str::to_owned).or_else(|| request.parameter("api_key"))
}

/// A machine's own key opens its own instance: reading, state and label, removal.
fn is_its_own(method: &Method, parts: &[&str], own: &str) -> bool {
    let may = [Method::GET, Method::PUT, Method::DELETE].contains(method);
    may && matches!(parts, ["v0", "instances", id] if *id == own)
}

/// The shortest time between two calls of a kind, as Vast documents it.
fn threshold(method: &Method, parts: &[&str]) -> Option<(&'static str, f64)> {
    match (method.as_str(), parts) {
        ("PUT", ["v0", "asks", _]) => Some(("PUT asks", 4.5)),
        ("GET", ["v0", "instances", _]) => Some(("GET instance", 2.0)),
        ("GET", ["v1", "instances"]) => Some(("GET instances", 1.0)),
        ("POST", ["v0", "bundles"]) => Some(("POST bundles", 6.0)),
        ("POST" | "PUT", ["v0", "ssh", ..]) => Some(("ssh", 1.0)),
        ("PUT", ["v0", "instances", "reboot", _]) => Some(("PUT reboot", 1.0)),
        ("PUT", ["v0", "instances", _]) => Some(("PUT instance", 1.0)),
        ("DELETE", ["v0", "instances", _]) => Some(("DELETE instance", 3.0)),
        ("GET", ["v0", "charges"]) => Some(("GET charges", 1.0)),
        _ => None,
    }
}

fn too_often(request: &Request, parts: &[&str], key: &str, world: &World) -> Option<Response> {
    let (limit, every) = threshold(&request.method, parts)?;
    world.too_early(Vendor::Vastai, &format!("{limit} {key}"), Duration::from_secs_f64(every))?;
    let text = format!("API requests too frequent endpoint threshold={every:.1}");
    // Each endpoint has its own shape of this answer.
    Some(match limit {
        "DELETE instance" => refused(429, "rate_limit_exceeded", &text),
        "GET charges" => Response::text(429, "text/plain", "API requests too frequent"),
        _ => Response::json(429, &json!({"detail": text})),
    })
}
