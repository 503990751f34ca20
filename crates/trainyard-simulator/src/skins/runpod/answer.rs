//! RunPod's refusals: problem JSON in its words.

use serde_json::json;

use crate::http::Response;

/// What a refusal for lack of machines says; there is no code for it.
const NO_CAPACITY: &str = "There are no longer any instances available with the requested specifications. Please refresh and try again.";

/// A refusal.
pub(super) fn problem(status: u16, title: &str, detail: &str) -> Response {
    with_errors(status, title, detail, &[])
}

/// A refusal with its reasons one by one.
fn with_errors(status: u16, title: &str, detail: &str, errors: &[String]) -> Response {
    let mut body = json!({"title": title, "status": status, "detail": detail});
    if !errors.is_empty() {
        body["errors"] = json!(errors);
    }
    Response::text(status, "application/problem+json", body.to_string())
}

pub(super) fn bad_request(detail: &str) -> Response {
    problem(400, "Bad Request", detail)
}

pub(super) fn no_capacity() -> Response {
    bad_request(NO_CAPACITY)
}

pub(super) fn forbidden() -> Response {
    problem(403, "Forbidden", "access denied")
}

pub(super) fn not_found() -> Response {
    problem(404, "Not Found", "resource not found")
}

pub(super) fn conflict(detail: &str) -> Response {
    problem(409, "Conflict", detail)
}

/// A body or a query against the contract.
pub(super) fn unprocessable(errors: &[String]) -> Response {
    with_errors(422, "Unprocessable Entity", "Request validation failed.", errors)
}

pub(super) fn wrong_method(allowed: &str) -> Response {
    let text = "The requested method is not allowed for this path.";
    problem(405, "Method Not Allowed", text).with("allow", allowed)
}

/// The list of something that this world has none of.
pub(super) fn empty_list(name: &str) -> Response {
    Response::json(200, &json!({ name: [] }))
}
