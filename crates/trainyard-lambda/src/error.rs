//! What Lambda's refusals mean: status and body to kind and effect.
//!
//! Pure. Its codes are branched on, never its sentences. Promises that a refusal which may have happened all the same is
//! never called one without effect: a launch answered with 429, 5xx or anything that is not the API's own JSON may
//! have made a machine.

use serde_json::from_slice;
use trainyard_connector::http::Answer;
use trainyard_connector::{ConnectorError, Effect, ErrorKind};

use crate::api::LAUNCH;
use crate::wire::{ErrorBody, ErrorText};

/// Most characters of a text of Lambda's in a message of ours.
const TEXT_CHARS_MAX: usize = 300;

/// The machine, or the thing that a launch names, is not there.
const NO_SUCH: &str = "global/object-does-not-exist";

/// What an answer without success means.
pub(crate) fn refusal(answer: &Answer) -> ConnectorError {
    let Ok(ErrorBody { error }) = from_slice::<ErrorBody>(&answer.body) else { return foreign(answer) };
    let (kind, sure) = meaning(answer, &error.code);
    let effect = if sure { Effect::None } else { answer.effect };
    let message = format!("Lambda answered `{}` with {}: {}", answer.op, answer.status, told(&error));
    ConnectorError { kind, effect, message, source: None }
}

/// Whether Lambda says in its own words that there is no such machine. A 404 of anything before it is not.
pub(crate) fn is_no_such(error: &ConnectorError) -> bool {
    error.kind == ErrorKind::NotFound && error.effect == Effect::None
}

/// Whether a launch was refused because something that it names is not there (any more): the SSH key, for one.
pub(crate) fn names_missing_key(error: &ConnectorError) -> bool {
    let text = error.message.to_ascii_lowercase();
    error.kind == ErrorKind::Invalid && error.message.contains(NO_SUCH) && text.contains("key")
}

/// The kind, and whether it is certain that nothing happened.
fn meaning(answer: &Answer, code: &str) -> (ErrorKind, bool) {
    // Its own words in an answer of a broken server are no promise.
    let sure = (400..500).contains(&answer.status) && !matches!(answer.status, 408 | 429);
    match code {
        "global/invalid-api-key" | "global/forbidden" => (ErrorKind::Unauthorized, sure),
        // The card was refused, the address is wrong, the quota is used up: no other machine of Lambda's helps.
        "global/account-inactive" | "global/invalid-address" | "global/quota-exceeded" => {
            (ErrorKind::NoCredit, sure)
        }
        NO_SUCH if answer.op == LAUNCH => (ErrorKind::Invalid, sure),
        NO_SUCH if sure => (ErrorKind::NotFound, sure),
        "instance-operations/launch/insufficient-capacity" => (ErrorKind::NoCapacity, sure),
        "global/invalid-parameters"
        | "global/duplicate"
        | "global/conflict"
        | "global/not-found"
        | "ssh-keys/key-in-use"
        | "instance-operations/launch/file-system-in-wrong-region"
        | "instance-operations/launch/file-systems-not-supported" => (ErrorKind::Invalid, sure),
        // Trouble below Lambda: this type in this region cannot be had now.
        code if code.starts_with("provider/") && answer.op == LAUNCH => (ErrorKind::NoCapacity, sure),
        code if code.starts_with("provider/") => (ErrorKind::Unreachable, sure),
        // Theirs, whatever the status: one of them comes with a 409.
        "global/internal-error" | "global/unknown" => (ErrorKind::Internal, false),
        _ => by_status(answer.status, sure),
    }
}

/// A code that was never heard of.
fn by_status(status: u16, sure: bool) -> (ErrorKind, bool) {
    match status {
        401 | 403 => (ErrorKind::Unauthorized, sure),
        429 => (ErrorKind::RateLimited, sure),
        400..500 => (ErrorKind::Invalid, sure),
        _ => (ErrorKind::Unreachable, false),
    }
}

/// An answer of something before Lambda, or none of its usual ones. Its limits are kept by Cloudflare, whose 1015 is no
/// JSON and may have another status than 429.
fn foreign(answer: &Answer) -> ConnectorError {
    let text = tidy(&answer.text(TEXT_CHARS_MAX));
    let limited =
        answer.status == 429 || text.contains("error code: 1015") || text.contains("banned you temporarily");
    let kind = if limited { ErrorKind::RateLimited } else { ErrorKind::Unreachable };
    let what = match answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        _ if limited => "it was asked too often".to_owned(),
        None => "nothing".to_owned(),
        Some(b'<') => "a web page".to_owned(),
        Some(_) => format!("`{}`", text.chars().take(120).collect::<String>()),
    };
    let message = format!("Lambda answered `{}` with {}: {what}", answer.op, answer.status);
    ConnectorError { kind, effect: answer.effect, message, source: None }
}

fn told(error: &ErrorText) -> String {
    let mut text = format!("{} ({})", tidy(&error.message), tidy(&error.code));
    if let Some(suggestion) = error.suggestion.as_deref().filter(|text| !text.trim().is_empty()) {
        text.push_str(". ");
        text.push_str(&tidy(suggestion));
    }
    text
}

/// On one line, without control characters, not longer than a person reads.
pub(crate) fn tidy(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use trainyard_connector::http::{Bytes, HeaderMap};

    use super::*;

    fn answer(op: &'static str, status: u16, body: &str) -> Answer {
        let effect = if matches!(op, "list" | "get" | "keys") { Effect::None } else { Effect::Unknown };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let provider = "lambda".parse().unwrap();
        Answer { status, headers: HeaderMap::new(), body, provider, op, effect }
    }

    fn coded(op: &'static str, status: u16, code: &str) -> ConnectorError {
        let body =
            serde_json::json!({ "error": { "code": code, "message": "It says so.", "suggestion": null } });
        refusal(&answer(op, status, &body.to_string()))
    }

    /// What each code of the vendor's document means for a launch and for a termination.
    #[test]
    fn every_code_of_a_refusal() {
        use Effect::{None as Never, Unknown};
        use ErrorKind::{
            Internal, Invalid, NoCapacity, NoCredit, NotFound, RateLimited, Unauthorized, Unreachable,
        };
        let table = [
            ("launch", 401, "global/invalid-api-key", Unauthorized, Never),
            ("launch", 403, "global/account-inactive", NoCredit, Never),
            ("launch", 403, "global/invalid-address", NoCredit, Never),
            ("list", 403, "global/forbidden", Unauthorized, Never),
            ("launch", 400, "global/invalid-parameters", Invalid, Never),
            ("launch", 404, "global/object-does-not-exist", Invalid, Never),
            ("launch", 400, "global/object-does-not-exist", Invalid, Never),
            ("terminate", 404, "global/object-does-not-exist", NotFound, Never),
            ("get", 404, "global/object-does-not-exist", NotFound, Never),
            ("list", 404, "global/not-found", Invalid, Never),
            ("launch", 400, "global/quota-exceeded", NoCredit, Never),
            ("launch", 400, "instance-operations/launch/insufficient-capacity", NoCapacity, Never),
            ("launch", 400, "instance-operations/launch/file-system-in-wrong-region", Invalid, Never),
            ("launch", 400, "provider/internal-unavailable", NoCapacity, Never),
            ("launch", 503, "provider/internal-unavailable", NoCapacity, Unknown),
            ("terminate", 400, "provider/internal-unavailable", Unreachable, Never),
            ("terminate", 400, "global/unknown", Internal, Unknown),
            ("launch", 400, "global/unknown", Internal, Unknown),
            ("launch", 409, "global/internal-error", Internal, Unknown),
            ("launch", 429, "global/too-many", RateLimited, Unknown),
            ("launch", 418, "global/never-heard-of", Invalid, Never),
            ("launch", 502, "global/never-heard-of", Unreachable, Unknown),
            ("list", 500, "global/never-heard-of", Unreachable, Never),
        ];
        for (op, status, code, kind, effect) in table {
            let error = coded(op, status, code);
            assert_eq!((error.kind, error.effect), (kind, effect), "{op} {status} {code}");
            assert!(error.message.contains("It says so.") && error.message.contains(code), "{error}");
        }
    }

    #[test]
    fn what_is_not_the_apis_own_json_proves_nothing() {
        let bodies = [
            "",
            "<html>502 Bad Gateway</html>",
            "upstream connect error",
            "{\"error\":\"no\"}",
            "{\"data\":",
        ];
        for (status, body) in [301, 400, 403, 404, 500, 502, 503, 504].into_iter().zip(bodies.iter().cycle())
        {
            let error = refusal(&answer("launch", status, body));
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::Unreachable, Effect::Unknown),
                "{status} {body}"
            );
            assert!(!is_no_such(&refusal(&answer("get", status, body))));
        }
    }

    #[test]
    fn too_many_calls_are_known_by_status_and_by_cloudflares_words() {
        let page = "error code: 1015: the owner of this website has banned you temporarily";
        for (status, body) in [(429, ""), (429, page), (403, page)] {
            let error = refusal(&answer("launch", status, body));
            assert_eq!((error.kind, error.effect), (ErrorKind::RateLimited, Effect::Unknown), "{status}");
            assert_eq!(refusal(&answer("list", status, body)).effect, Effect::None);
        }
    }

    #[test]
    fn a_missing_key_is_told_from_other_missing_things() {
        let said = |message: &str| {
            let body = serde_json::json!({ "error": { "code": NO_SUCH, "message": message } });
            refusal(&answer("launch", 404, &body.to_string()))
        };
        assert!(names_missing_key(&said("SSH key with name 'x' does not exist.")));
        assert!(!names_missing_key(&said("Image family 'x' does not exist.")));
        assert!(!names_missing_key(&coded("launch", 400, "global/invalid-parameters")));
    }

    #[test]
    fn a_text_is_shown_on_one_line() {
        let error = coded("launch", 400, "global/\u{1b}[31m\n");
        assert!(!error.message.contains(char::is_control), "{:?}", error.message);
    }
}
