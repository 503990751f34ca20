//! Status and body of an answer: did it work, and if not, what kind of failure is it and may it have happened?
//!
//! Vast.ai's codes alone tell little: a wrong key may be a 404, a lost offer a 400, and a 200 may say `success: false`.
//! So success is a 2xx with JSON that does not deny it, and a failure is read from its words. Only the vendor's
//! `error` and `msg` are shown, shortened; nothing of a request is.

use serde::de::DeserializeOwned;
use serde_json::Value;
use trainyard_connector::{ConnectorError, Effect, ErrorKind};

use crate::wire::Verdict;

/// Most characters of the vendor's text in a message.
const TEXT_CHARS_MAX: usize = 300;

/// What an order came to.
#[derive(Debug)]
pub(crate) enum OrderOutcome {
    /// Accepted: the instance's id.
    Placed(u64),
    /// Not placed, or not known: the error's effect says which.
    Failed(ConnectorError),
    /// Refused, and yet there is an instance of that id, stopped and billed for its disk.
    RefusedButCreated(u64, ConnectorError),
}

/// Reads an answer that is not an order's.
///
/// # Errors
/// The failure that the answer tells, or `Unreachable` with effect unknown where a success cannot be read.
pub(crate) fn read<T: DeserializeOwned>(doing: &str, status: u16, body: &[u8]) -> Result<T, ConnectorError> {
    let value = success(doing, status, body)?;
    serde_json::from_value(value).map_err(|error| unreadable(doing, status).because(error))
}

/// Reads an answer that is not an order's and of which only the success counts.
///
/// # Errors
/// As [`read`].
pub(crate) fn success(doing: &str, status: u16, body: &[u8]) -> Result<Value, ConnectorError> {
    let value = serde_json::from_slice::<Value>(body).ok();
    let verdict = verdict_of(value.as_ref());
    match value {
        Some(value) if (200..300).contains(&status) && verdict.success != Some(false) => Ok(value),
        None if (200..300).contains(&status) => Err(unreadable(doing, status)),
        _ => Err(failure(doing, status, &verdict, body)),
    }
}

/// Whether a failed call about one instance says that there is no such instance. A wrong key is a 404 too, so the body
/// decides.
pub(crate) fn says_absent(status: u16, body: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(body).ok();
    let code = verdict_of(value.as_ref()).error;
    status == 404 && matches!(code.as_deref(), Some("no_such_instance" | "not_found" | "invalid_id"))
}

/// Reads the answer to an order.
pub(crate) fn order_outcome(status: u16, body: &[u8]) -> OrderOutcome {
    let doing = "ordering a machine";
    let value = serde_json::from_slice::<Value>(body).ok();
    let verdict = verdict_of(value.as_ref());
    let id = verdict.new_contract.and_then(|number| number.whole());
    let accepted = (200..300).contains(&status) && verdict.success != Some(false);
    match (value.is_some(), accepted, id) {
        (true, true, Some(id)) => OrderOutcome::Placed(id),
        (true, false, Some(id)) => {
            OrderOutcome::RefusedButCreated(id, failure(doing, status, &verdict, body))
        }
        (_, true, _) => OrderOutcome::Failed(unreadable(doing, status)),
        (_, false, _) => {
            let mut error = failure(doing, status, &verdict, body);
            error.effect = order_effect(status, &verdict, value.is_some());
            OrderOutcome::Failed(error)
        }
    }
}

/// Whether a refused order may have made an instance: not where Vast gives a reason in JSON with a code that means a
/// refusal; otherwise it may.
fn order_effect(status: u16, verdict: &Verdict, json: bool) -> Effect {
    let told = verdict.error.is_some() || verdict.text().is_some();
    let refusal = match status {
        408 | 409 | 425 | 429 => false,
        400..500 => true,
        // A 2xx that denies its success: only with a code that is known to refuse.
        200..300 => matches!(kind_of(status, verdict), ErrorKind::NoCapacity | ErrorKind::NoCredit),
        _ => false,
    };
    if json && told && refusal { Effect::None } else { Effect::Unknown }
}

fn verdict_of(value: Option<&Value>) -> Verdict {
    let object = value.filter(|value| value.is_object()).cloned();
    object.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

fn failure(doing: &str, status: u16, verdict: &Verdict, body: &[u8]) -> ConnectorError {
    let kind = kind_of_body(status, verdict, body);
    let said = match (&verdict.error, verdict.text()) {
        (Some(code), Some(text)) => format!("{code}: {text}"),
        (Some(one), None) => one.clone(),
        (None, Some(one)) => one.to_owned(),
        (None, None) => plain_text(body).unwrap_or_else(|| "no reason given".to_owned()),
    };
    let message = format!("{doing} at Vast.ai failed ({status}): {}", short(&said));
    let refused = (400..500).contains(&status) && status != 408;
    if refused { ConnectorError::refused(kind, message) } else { ConnectorError::unknown(kind, message) }
}

/// A body that is neither JSON nor a page.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (!text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| text.to_owned())
}

fn kind_of_body(status: u16, verdict: &Verdict, body: &[u8]) -> ErrorKind {
    let html =
        verdict.error.is_none() && verdict.text().is_none() && body.trim_ascii_start().starts_with(b"<");
    match status {
        // The proxy before the API refuses bursts with a page of its own; that says nothing about the key.
        403 if html => ErrorKind::Unreachable,
        _ => kind_of(status, verdict),
    }
}

fn kind_of(status: u16, verdict: &Verdict) -> ErrorKind {
    let code = verdict.error.as_deref().unwrap_or_default();
    let text = verdict.text().unwrap_or_default();
    let says = |word: &str| code.contains(word) || text.contains(word);
    let lower = text.to_ascii_lowercase();
    if says("no_such_ask") || code == "resources_unavailable" || code == "invalid_price" {
        ErrorKind::NoCapacity
    } else if says("insufficient_credit") || code == "missing_billing" || lower.contains("spend rate limit") {
        ErrorKind::NoCredit
    } else if code == "auth_error" || is_about_the_key(&lower) || status == 401 {
        ErrorKind::Unauthorized
    } else if status == 429 || code == "rate_limit_exceeded" || code == "search_quota_exceeded" {
        ErrorKind::RateLimited
    } else {
        match status {
            403 => ErrorKind::Unauthorized,
            404 => ErrorKind::NotFound,
            400 | 405..=407 | 410 | 422 => ErrorKind::Invalid,
            _ => ErrorKind::Unreachable,
        }
    }
}

/// A session that expired, a second factor that is missing and a right that is lacking come with various codes.
fn is_about_the_key(lower: &str) -> bool {
    ["invalid user key", "session expired", "two factor", "permission group", "due to a constraint"]
        .iter()
        .any(|words| lower.contains(words))
}

fn unreadable(doing: &str, status: u16) -> ConnectorError {
    let message = format!("{doing} at Vast.ai gave an answer ({status}) that cannot be read");
    ConnectorError::unknown(ErrorKind::Unreachable, message)
}

/// The vendor's text on one line, shortened.
pub(crate) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use trainyard_connector::{Effect, ErrorKind};

    use super::{OrderOutcome, order_outcome, read, says_absent, success};
    use crate::wire::InstanceAnswer;

    #[derive(Debug, PartialEq)]
    enum Said {
        Placed(u64),
        Refused(ErrorKind),
        Unknown(ErrorKind),
        Leftover(u64, ErrorKind),
    }

    fn order(status: u16, body: &str) -> Said {
        match order_outcome(status, body.as_bytes()) {
            OrderOutcome::Placed(id) => Said::Placed(id),
            OrderOutcome::RefusedButCreated(id, error) => Said::Leftover(id, error.kind),
            OrderOutcome::Failed(error) if error.effect == Effect::None => Said::Refused(error.kind),
            OrderOutcome::Failed(error) => Said::Unknown(error.kind),
        }
    }

    #[test]
    fn an_order_is_refused_only_where_vast_says_so() {
        use ErrorKind::{NoCapacity, Unreachable};
        let table = [
            (
                200,
                r#"{"success":true,"new_contract":7835610,"instance_api_key":"ab"}"#,
                Said::Placed(7_835_610),
            ),
            (200, r#"{"new_contract":"7835610"}"#, Said::Placed(7_835_610)),
            (200, r#"{"success":true}"#, Said::Unknown(Unreachable)),
            (200, r#"{"success":true,"new_contract":-4}"#, Said::Unknown(Unreachable)),
            (200, r#"{"success":true,"new_con"#, Said::Unknown(Unreachable)),
            (200, "", Said::Unknown(Unreachable)),
            (200, "<html>", Said::Unknown(Unreachable)),
            (
                400,
                r#"{"success":false,"error":"invalid_args","msg":"error 404/3603: no_such_ask  Instance type by id 123 is not available.","ask_id":123}"#,
                Said::Refused(NoCapacity),
            ),
            (
                404,
                r#"{"success":false,"error":"invalid_args","msg":"error 404/3603: no_such_ask"}"#,
                Said::Refused(NoCapacity),
            ),
            (
                410,
                r#"{"success":false,"error":"no_such_ask","msg":"error 410/3907: no_such_ask"}"#,
                Said::Refused(NoCapacity),
            ),
            (200, r#"{"success":false,"error":"no_such_ask"}"#, Said::Refused(NoCapacity)),
            (200, r#"{"success":false,"error":"new_words"}"#, Said::Unknown(Unreachable)),
        ];
        check(&table);
    }

    #[test]
    fn money_and_keys_are_told_apart_from_what_is_unknown() {
        use ErrorKind::{Invalid, NoCapacity, NoCredit, NotFound, RateLimited, Unauthorized, Unreachable};
        let table = [
            (
                400,
                r#"{"success":false,"error":"insufficient_credit","msg":"Your account lacks credit; see the billing page."}"#,
                Said::Refused(NoCredit),
            ),
            (400, r#"{"success":false,"msg":"Spend rate limit reached"}"#, Said::Refused(NoCredit)),
            (
                400,
                r#"{"success":false,"error":"invalid_args","msg":"error 400/3467: Invalid args"}"#,
                Said::Refused(Invalid),
            ),
            (
                400,
                r#"{"success":false,"error":"invalid_price","msg":"bid too low"}"#,
                Said::Refused(NoCapacity),
            ),
            (
                400,
                r#"{"success":false,"error":"invalid_price","msg":"x","new_contract":9}"#,
                Said::Leftover(9, NoCapacity),
            ),
            (
                200,
                r#"{"success":false,"msg":"bid is too low","new_contract":9}"#,
                Said::Leftover(9, Unreachable),
            ),
            (
                404,
                r#"{"success":false,"error":"auth_error","msg":"Invalid user key"}"#,
                Said::Refused(Unauthorized),
            ),
            (
                401,
                r#"{"msg":"requires you to have logged in using Two Factor Authentication"}"#,
                Said::Refused(Unauthorized),
            ),
            (404, r#"{"msg":"Session expired. Please log in again."}"#, Said::Refused(Unauthorized)),
            (404, r#"{"msg":"what"}"#, Said::Refused(NotFound)),
            (
                429,
                r#"{"detail":"API requests too frequent endpoint threshold=4.5"}"#,
                Said::Unknown(RateLimited),
            ),
            (403, "<html><h1>403 Forbidden</h1>nginx</html>", Said::Unknown(Unreachable)),
            (400, "plain words", Said::Unknown(Invalid)),
            (409, r#"{"error":"conflict","msg":"x"}"#, Said::Unknown(Unreachable)),
            (502, "<html>", Said::Unknown(Unreachable)),
            (503, r#"{"error":"no_such_ask"}"#, Said::Unknown(NoCapacity)),
        ];
        check(&table);
    }

    fn check(table: &[(u16, &str, Said)]) {
        for (status, body, want) in table {
            assert_eq!(order(*status, body), *want, "{status} {body}");
        }
    }

    /// Every prefix of a good answer, cut in transit, is no success and no refusal.
    #[test]
    fn an_answer_cut_anywhere_is_unknown() {
        let whole = r#"{"success":true,"new_contract":7835610}"#;
        for cut in 0..whole.len() {
            assert_eq!(order(200, &whole[..cut]), Said::Unknown(ErrorKind::Unreachable), "cut at {cut}");
        }
    }

    #[test]
    fn a_reading_is_a_success_only_where_nothing_denies_it() {
        let kind = |status, body: &str| success("reading", status, body.as_bytes()).err().map(|e| e.kind);
        assert_eq!(kind(200, r#"{"success":true}"#), None);
        assert_eq!(kind(200, "{}"), None);
        assert_eq!(
            kind(200, r#"{"success":false,"msg":"instance not running"}"#),
            Some(ErrorKind::Unreachable)
        );
        assert_eq!(kind(410, r#"{"success":false,"error":"deprecated_endpoint"}"#), Some(ErrorKind::Invalid));
        assert_eq!(kind(429, "API requests too frequent"), Some(ErrorKind::RateLimited));
        assert_eq!(kind(403, "<html>"), Some(ErrorKind::Unreachable));
        assert_eq!(
            kind(403, r#"{"msg":"your key lacks the instance_read permission group"}"#),
            Some(ErrorKind::Unauthorized)
        );
        let absent = read::<InstanceAnswer>("reading", 200, br#"{"instances": null}"#).expect("it is said");
        assert!(absent.instances.is_none());
        assert!(read::<InstanceAnswer>("reading", 200, b"{}").is_err(), "nothing said is not absence");
    }

    #[test]
    fn a_404_is_absence_only_by_its_words() {
        assert!(says_absent(404, br#"{"error":"no_such_instance","msg":"Instance 3 not found."}"#));
        assert!(says_absent(404, br#"{"success":false,"error":"not_found"}"#));
        assert!(!says_absent(404, br#"{"success":false,"error":"auth_error","msg":"Invalid user key"}"#));
        assert!(!says_absent(404, b"<html>"));
        assert!(!says_absent(400, br#"{"error":"not_found"}"#));
    }

    #[test]
    fn a_message_is_one_short_line() {
        let text = format!(r#"{{"error":"invalid_args","msg":"one\ntwo {}"}}"#, "x".repeat(900));
        let error = success("reading", 400, text.as_bytes()).expect_err("it is refused").to_string();
        assert!(error.chars().count() < 400 && !error.contains('\n'), "{error}");
    }
}
