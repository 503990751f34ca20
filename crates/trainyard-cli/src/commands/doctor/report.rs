//! The report of the doctor: what was looked at and what was found, in words and as JSON. It holds no secret, so it
//! can be shown to others.

use serde_json::{Value, json};

use crate::out;

/// What a look gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// As it should be.
    Good,
    /// It must be mended.
    Bad,
    /// It could not be told.
    Unknown,
}

impl Found {
    fn word(self) -> &'static str {
        match self {
            Found::Good => "ok",
            Found::Bad => "FAILED",
            Found::Unknown => "not known",
        }
    }
}

/// What was found, in the order it was looked at.
#[derive(Debug)]
pub(super) struct Report {
    provider: String,
    found: Vec<(String, Found, String)>,
}

impl Report {
    pub(super) fn of(provider: &str) -> Report {
        Report { provider: provider.to_owned(), found: Vec::new() }
    }

    pub(super) fn add(&mut self, what: impl Into<String>, found: Found, detail: impl Into<String>) {
        self.found.push((what.into(), found, detail.into()));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.found.iter().any(|(_, found, _)| *found == Found::Bad)
    }

    pub(super) fn json(&self) -> Value {
        let looks: Vec<Value> = self
            .found
            .iter()
            .map(|(what, found, detail)| json!({"what": what, "found": found.word(), "detail": detail}))
            .collect();
        json!({"provider": self.provider, "ok": !self.has_failed(), "looks": looks})
    }

    pub(super) fn words(&self) -> String {
        let rows = self
            .found
            .iter()
            .map(|(what, found, detail)| vec![what.clone(), found.word().to_owned(), detail.clone()]);
        out::table(&["WHAT", "FOUND", "DETAIL"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_look_fails_the_report_and_one_unknown_does_not() {
        let mut report = Report::of("runpod");
        report.add("key", Found::Good, "taken");
        report.add("credit", Found::Unknown, "not told");
        assert!(!report.has_failed());
        report.add("offers", Found::Bad, "none");
        assert!(report.has_failed());
        assert_eq!(report.json()["ok"], false);
        assert!(report.words().contains("FAILED"));
    }
}
