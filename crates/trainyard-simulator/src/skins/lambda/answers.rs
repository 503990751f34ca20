//! Envelopes, refusals, who may ask and how often.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::LAMBDA;
use crate::http::{Request, Response};
use crate::world::{Access, World};

/// One call a second.
const EVERY: Duration = Duration::from_secs(1);
/// One launch in twelve seconds.
const LAUNCH_EVERY: Duration = Duration::from_secs(12);

/// What Lambda advises where a key opens nothing.
const CHECK: &str = "Check your API key or create a new one, then try again.";

/// A success: 200, also for what was made.
pub(super) fn data(data: &Value) -> Response {
    Response::json(200, &json!({ "data": data }))
}

/// A refusal in Lambda's form.
pub(super) fn refused(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({ "error": { "code": code, "message": message } }))
}

/// A refusal with advice.
pub(super) fn advised(status: u16, code: &str, message: &str, suggestion: &str) -> Response {
    let error = json!({ "code": code, "message": message, "suggestion": suggestion });
    Response::json(status, &json!({ "error": error }))
}

/// A field is wrong.
pub(super) fn invalid(message: &str) -> Response {
    refused(400, "global/invalid-parameters", message)
}

/// No such machine.
pub(super) fn no_instance() -> Response {
    refused(404, "global/object-does-not-exist", "Specified instance does not exist.")
}

/// What is answered where the key opens nothing. It comes as `Bearer KEY`, or as `Basic` with the key as user.
pub(super) fn shut(request: &Request, world: &World) -> Option<Response> {
    let key = request.bearer().map(str::to_owned).or_else(|| basic(request));
    match world.access(LAMBDA, key.as_deref()) {
        Access::Owner => None,
        Access::Reader if request.method == hyper::Method::GET => None,
        Access::Reader => Some(refused(403, "global/forbidden", "You may not do that.")),
        Access::Missing => Some(advised(401, "global/invalid-api-key", "No API key was provided.", CHECK)),
        Access::Revoked | Access::Unknown | Access::Machine(_) => {
            Some(advised(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.", CHECK))
        }
    }
}

fn basic(request: &Request) -> Option<String> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(token.trim()).ok())??;
    let (user, password) =
        String::from_utf8(decoded).ok()?.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))?;
    password.is_empty().then_some(user)
}

/// The answer to a call that came too early, where limits are in force or a switch says so.
pub(super) fn too_many(request: &Request, world: &World) -> Option<Response> {
    if let Some(form) = request.call.drawn.own("too_many") {
        return Some(limited(form.as_str().unwrap_or("page"), 1));
    }
    let early = world.too_early(LAMBDA, "*", EVERY);
    let launch = request.call.operation == "create";
    let early = early.or_else(|| launch.then(|| world.too_early(LAMBDA, "launch", LAUNCH_EVERY)).flatten());
    early.map(|wait| limited("page", wait.as_secs() + 1))
}

/// The limits are not in the document. Older pages of Lambda's name Cloudflare's error 1015, which is no JSON.
fn limited(form: &str, seconds: u64) -> Response {
    let page = "error code: 1015\nThe owner of this website has banned you temporarily from accessing this website.\n";
    match form {
        "json" => refused(429, "global/too-many-requests", "Too many requests."),
        "retry_after" => Response::text(429, "text/plain", page).with("retry-after", &seconds.to_string()),
        _ => Response::text(429, "text/plain", page),
    }
}
