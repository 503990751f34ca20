//! The shapes of Vast.ai's answers. There are several of refusals, as there are in its API.

use serde_json::{Value, json};

use super::guard::Caller;
use crate::http::Response;

/// It was done, with these fields beside `success`.
pub(super) fn done(mut more: Value) -> Response {
    if let Some(fields) = more.as_object_mut() {
        fields.insert("success".to_owned(), json!(true));
    }
    Response::json(200, &more)
}

/// It was refused, in the usual shape.
pub(super) fn refused(status: u16, error: &str, msg: &str) -> Response {
    Response::json(status, &json!({"success": false, "error": error, "msg": msg}))
}

/// There is no such instance.
pub(super) fn no_instance(id: &str) -> Response {
    refused(404, "no_such_instance", &format!("Instance {id} not found."))
}

/// A wrong argument.
pub(super) fn invalid(code: u16, msg: &str) -> Response {
    refused(400, "invalid_args", &format!("error 400/{code}: Invalid args: {msg}"))
}

/// There is no such path.
pub(super) fn unknown_path(_caller: &Caller) -> Response {
    Response::page(404)
}
