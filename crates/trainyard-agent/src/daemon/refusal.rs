//! A request that is answered with an error.

use hyper::StatusCode;

/// What the caller is told instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    /// The status.
    pub(crate) status: StatusCode,
    /// A stable word to branch on.
    pub(crate) code: &'static str,
    /// One sentence.
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Refusal {
        Refusal { status, code, text: text.into() }
    }

    /// The request is at fault.
    pub(crate) fn invalid(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", text)
    }

    /// There is no such thing.
    pub(crate) fn not_found(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// Not in this state.
    pub(crate) fn state(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, "wrong_state", text)
    }

    /// This machine failed at it.
    pub(crate) fn broken(what: &str, error: &dyn std::fmt::Display) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("{what}: {error}"))
    }
}
