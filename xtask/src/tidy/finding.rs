//! What tidy has to say: where, what, and what to do.

use std::fmt;

/// One thing that does not belong where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the workspace's root, with `/`.
    pub(crate) path: String,
    /// Counted from 1; 0 speaks of the whole file.
    pub(crate) line: usize,
    pub(crate) what: String,
    /// A notice is said and does not fail the run.
    pub(crate) notice: bool,
}

impl Finding {
    pub(crate) fn error(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), notice: false }
    }

    pub(crate) fn notice(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { notice: true, ..Self::error(path, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.notice { "notice: " } else { "" };
        match self.line {
            0 => write!(f, "{}: {level}{}", self.path, self.what),
            line => write!(f, "{}:{line}: {level}{}", self.path, self.what),
        }
    }
}

/// Everything one run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) files: usize,
}

impl Report {
    pub(crate) fn passes(&self) -> bool {
        self.findings.iter().all(|finding| finding.notice)
    }

    pub(crate) fn summary(&self) -> String {
        let notices = self.findings.iter().filter(|finding| finding.notice).count();
        let errors = self.findings.len() - notices;
        format!("tidy: {} files, {errors} to mend, {notices} to think about", self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_alone_passes_and_an_error_does_not() {
        let notice = Finding::notice("a.rs", 3, "long");
        let error = Finding::error("a.rs", 0, "missing");
        assert_eq!(notice.to_string(), "a.rs:3: notice: long");
        assert_eq!(error.to_string(), "a.rs: missing");
        assert!(Report { findings: vec![notice.clone()], files: 1 }.passes());
        assert!(!Report { findings: vec![notice, error], files: 1 }.passes());
    }
}
