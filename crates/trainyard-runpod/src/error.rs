//! What RunPod's refusals mean: status and body to kind and effect.
//!
//! Pure. Promises that a refusal which may have happened all the same is never called one without effect: an order
//! answered with 408 or 5xx may have made a pod. A body that is not RunPod's own problem JSON (a page of the network
//! before it) is never taken for RunPod's word.

use trainyard_connector::http::Answer;
use trainyard_connector::{ConnectorError, Effect, ErrorKind};

use crate::wire::Problem;

/// What RunPod says where it has no such machine now; matched without regard to case. There is no code for it, only
/// these sentences in a plain 400.
const NO_CAPACITY: &[&str] = &[
    "no longer any instances available",
    "no instances currently available",
    "there are no instances available",
    "does not have the resources to deploy your pod",
    "not enough disk space",
    "with enough disk space",
    "out of stock",
    "please refresh and try again",
];

/// Most characters of a text of RunPod's in a message of ours.
const TEXT_CHARS_MAX: usize = 400;

/// What was being done: decides what a refusal leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Ordering a machine.
    Order,
    /// Anything else that changes something.
    Change,
    /// Reading.
    Reading,
}

/// What an answer without success means. `doing` in words completes the sentence "RunPod … while …".
pub(crate) fn refusal(doing: Doing, answer: &Answer) -> ConnectorError {
    let problem = problem(answer);
    let said = match &problem {
        Some(problem) => told(problem),
        None => page(answer),
    };
    let (kind, sure, hint) = meaning(doing, answer, problem.as_ref(), &said);
    let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    let message = format!("RunPod answered `{}` with {}: {said}{hint}", answer.op, answer.status);
    let effect = if sure || doing == Doing::Reading { Effect::None } else { Effect::Unknown };
    ConnectorError { kind, effect, message, source: None }
}

/// Whether this is RunPod's own word that there is no such thing. A 404 of anything before RunPod is not.
pub(crate) fn is_not_found(answer: &Answer) -> bool {
    answer.status == 404 && problem(answer).is_some()
}

/// The kind, whether it is certain that nothing happened, and what a person can do about it.
fn meaning(
    doing: Doing,
    answer: &Answer,
    problem: Option<&Problem>,
    said: &str,
) -> (ErrorKind, bool, &'static str) {
    if problem.is_none() {
        return foreign(answer);
    }
    match answer.status {
        400 if doing == Doing::Order && is_no_capacity(said) => (ErrorKind::NoCapacity, true, ""),
        400 | 405 | 409 | 413 | 422 => (ErrorKind::Invalid, true, ""),
        401 => (ErrorKind::Unauthorized, true, "the API key is missing, wrong or revoked"),
        402 => (
            ErrorKind::NoCredit,
            true,
            "the account's balance is too low: RunPod wants an hour of the machine in advance",
        ),
        403 => (
            ErrorKind::Unauthorized,
            true,
            "the API key lacks this right (pods need read and write), or the account may not use that GPU",
        ),
        404 if doing == Doing::Order => (ErrorKind::Invalid, true, ""),
        404 => (ErrorKind::NotFound, true, ""),
        410 => (ErrorKind::Unsupported, true, "this API was retired; the address must be that of version 2"),
        429 => (ErrorKind::RateLimited, true, ""),
        // 408, 5xx and what was never heard of.
        _ => (ErrorKind::Unreachable, false, ""),
    }
}

/// An answer of something before RunPod.
fn foreign(answer: &Answer) -> (ErrorKind, bool, &'static str) {
    match answer.status {
        401 => (ErrorKind::Unauthorized, true, "the API key is missing, wrong or revoked"),
        402 => (ErrorKind::NoCredit, true, "the account's balance is too low"),
        403 => (
            ErrorKind::Unreachable,
            true,
            "the network before RunPod refused this program or this address, not the key",
        ),
        413 => (ErrorKind::Invalid, true, ""),
        429 => (ErrorKind::RateLimited, true, ""),
        _ => (ErrorKind::Unreachable, false, ""),
    }
}

fn is_no_capacity(said: &str) -> bool {
    let said = said.to_lowercase();
    NO_CAPACITY.iter().any(|text| said.contains(text))
}

/// The body, where it is the problem JSON of RunPod's API and speaks of this status.
fn problem(answer: &Answer) -> Option<Problem> {
    let problem: Problem = serde_json::from_slice(&answer.body).ok()?;
    let speaks = !problem.title.0.is_empty() || !problem.detail.0.is_empty();
    (speaks && problem.status.0 == Some(f64::from(answer.status))).then_some(problem)
}

fn told(problem: &Problem) -> String {
    let mut text = if problem.detail.0.is_empty() { &problem.title.0 } else { &problem.detail.0 }.clone();
    for error in problem.errors.iter().take(5) {
        text.push_str(" · ");
        text.push_str(&error.0);
    }
    tidy(&text)
}

/// What a page says that is none of RunPod's.
fn page(answer: &Answer) -> String {
    let text = answer.text(120);
    match answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "nothing".to_owned(),
        Some(b'<') => "a web page".to_owned(),
        Some(_) => format!("`{}`", tidy(&text)),
    }
}

/// On one line, without control characters, not longer than a person reads.
pub(crate) fn tidy(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use trainyard_connector::http::{Answer, Bytes, HeaderMap};
    use trainyard_connector::{Effect, ErrorKind};

    use super::{Doing, is_not_found, refusal};

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            provider: "runpod".parse().expect("a name"),
            op: "order",
            effect: Effect::Unknown,
        }
    }

    fn problem(status: u16, detail: &str) -> String {
        serde_json::json!({"title": "x", "status": status, "detail": detail}).to_string()
    }

    /// Status, RunPod's `detail`; the kind and effect for an order.
    const ORDERS: &[(u16, &str, ErrorKind, Effect)] = &[
        (
            400,
            "There are no longer any instances available with the requested specifications. Please refresh and try again.",
            ErrorKind::NoCapacity,
            Effect::None,
        ),
        (400, "There are NO INSTANCES currently available", ErrorKind::NoCapacity, Effect::None),
        (
            400,
            "This machine does not have the resources to deploy your pod. Please try a different machine",
            ErrorKind::NoCapacity,
            Effect::None,
        ),
        (400, "could not find any pods with enough disk space", ErrorKind::NoCapacity, Effect::None),
        (400, "request could not be processed", ErrorKind::Invalid, Effect::None),
        (401, "missing bearer token", ErrorKind::Unauthorized, Effect::None),
        (402, "insufficient balance", ErrorKind::NoCredit, Effect::None),
        (403, "access denied", ErrorKind::Unauthorized, Effect::None),
        (404, "resource not found", ErrorKind::Invalid, Effect::None),
        (408, "request timeout", ErrorKind::Unreachable, Effect::Unknown),
        (409, "action not allowed", ErrorKind::Invalid, Effect::None),
        (410, "gone", ErrorKind::Unsupported, Effect::None),
        (413, "request body too large", ErrorKind::Invalid, Effect::None),
        (422, "Request validation failed.", ErrorKind::Invalid, Effect::None),
        (429, "rate limit exceeded for the minute window", ErrorKind::RateLimited, Effect::None),
        (500, "internal", ErrorKind::Unreachable, Effect::Unknown),
        (502, "bad gateway", ErrorKind::Unreachable, Effect::Unknown),
        (503, "out of stock", ErrorKind::Unreachable, Effect::Unknown),
    ];

    #[test]
    fn every_refusal_of_an_order_has_its_kind_and_tells_whether_it_may_have_happened() {
        for (status, detail, kind, effect) in ORDERS {
            let error = refusal(Doing::Order, &answer(*status, &problem(*status, detail)));
            assert_eq!((error.kind, error.effect), (*kind, *effect), "{status} {detail}");
            assert!(error.message.contains(detail), "{error}");
        }
    }

    #[test]
    fn pages_of_the_network_before_runpod_are_not_its_word() {
        let blocked = refusal(Doing::Order, &answer(403, "error code: 1010"));
        assert_eq!((blocked.kind, blocked.effect), (ErrorKind::Unreachable, Effect::None));
        assert!(blocked.message.contains("error code: 1010") && blocked.message.contains("not the key"));
        for (status, body) in
            [(404, "<html>"), (502, "<html>502"), (520, "error code: 520"), (400, ""), (200, "")]
        {
            let error = refusal(Doing::Order, &answer(status, body));
            assert_eq!(
                (error.kind, error.effect),
                (ErrorKind::Unreachable, Effect::Unknown),
                "{status} {body}"
            );
            let error = refusal(Doing::Reading, &answer(status, body));
            assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None), "{status} {body}");
        }
    }

    #[test]
    fn only_runpods_own_404_says_that_there_is_no_such_pod() {
        assert!(is_not_found(&answer(404, &problem(404, "pod not found"))));
        for (status, body) in [
            (404, "<html>not found".to_owned()),
            (404, "{}".to_owned()),
            (404, String::new()),
            (404, problem(500, "x")),
            (410, problem(410, "gone")),
        ] {
            assert!(!is_not_found(&answer(status, &body)), "{status} {body}");
        }
    }

    #[test]
    fn texts_are_kept_short_and_on_one_line() {
        let body = serde_json::json!({"title": "Unprocessable Entity", "status": 422,
            "detail": format!("Request\u{1b}[31m\nfailed {}", "x".repeat(9000)), "errors": ["$.gpu: bad"]});
        let error = refusal(Doing::Order, &answer(422, &body.to_string()));
        assert!(error.message.len() < 600 && !error.message.contains(['\n', '\u{1b}']), "{error}");
    }
}
