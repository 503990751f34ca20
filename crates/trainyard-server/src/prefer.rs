//! The `Prefer` header of a submit (RFC 7240). Preferences that we do not know are ignored, as the RFC wants.

use std::time::Duration;

use actix_web::http::header::HeaderMap;

/// How long a submit waits unless told.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a submit waits at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What the client prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// How long to wait for the job to run.
    pub(crate) wait: Duration,
    /// Whether 202 is the answer where the job is still on its way.
    pub(crate) respond_async: bool,
    waits_as_asked: bool,
}

impl Prefer {
    pub(crate) fn of(headers: &HeaderMap) -> Prefer {
        let lines = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
        let (mut wait, mut respond_async) = (None, false);
        for preference in lines.flat_map(|line| line.split(',')) {
            let preference = preference.split(';').next().unwrap_or("").trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => respond_async = true,
                "wait" if wait.is_none() => wait = value.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        let waits_as_asked = wait.is_some();
        let otherwise = if respond_async { Duration::ZERO } else { WAIT_DEFAULT };
        Prefer { wait: wait.unwrap_or(otherwise).min(WAIT_MAX), respond_async, waits_as_asked }
    }

    /// `Preference-Applied`: what of it was honoured.
    pub(crate) fn applied(&self) -> Option<String> {
        let mut applied = Vec::new();
        if self.respond_async {
            applied.push("respond-async".to_owned());
        }
        if self.waits_as_asked {
            applied.push(format!("wait={}", self.wait.as_secs()));
        }
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn of(value: &'static str) -> (u64, bool, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static(value));
        let prefer = Prefer::of(&headers);
        (prefer.wait.as_secs(), prefer.respond_async, prefer.applied())
    }

    #[test]
    fn preferences_are_honoured_or_ignored() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(""), (10, false, None));
        assert_eq!(of("wait=3"), (3, false, some("wait=3")));
        assert_eq!(of("wait=600"), (60, false, some("wait=60")));
        assert_eq!(of("wait=soon"), (10, false, None));
        assert_eq!(of("respond-async"), (0, true, some("respond-async")));
        assert_eq!(
            of("Respond-Async, wait=\"5\"; x=y, handling=lenient"),
            (5, true, some("respond-async, wait=5"))
        );
        assert_eq!(of("wait=1, wait=2"), (1, false, some("wait=1")));
    }
}
