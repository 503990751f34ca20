//! Where bytes come from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// A source of bytes: `input:SHA256`, `path:…`, `https:…` or `hf:owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// An uploaded file, by its digest.
    Input(Sha256),
    /// A file on the server's machine, under a directory that its configuration allows.
    Path(String),
    /// Fetched by the machine itself.
    Https(String),
    /// A repository of the Hugging Face hub, fetched by the machine itself.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
}

/// A text that is not a source; says what is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a source: use `input:SHA256` (uploaded), `path:/a/file`, `https://…` or `hf:owner/name@revision`"
)]
pub struct SourceError(String);

impl Source {
    /// Longest text of a source, in bytes.
    pub const BYTES_MAX: usize = 4096;
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError(text.chars().take(80).flat_map(char::escape_default).collect());
        if text.len() > Self::BYTES_MAX || text.chars().any(char::is_control) {
            return Err(bad());
        }
        if let Some(digest) = text.strip_prefix("input:") {
            return digest.parse().map(Source::Input).map_err(|_| bad());
        }
        if let Some(path) = text.strip_prefix("path:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Source::Path(path.to_owned())) };
        }
        if text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
            return Ok(Source::Https(text.to_owned()));
        }
        // A plain string is a hub id.
        let hub = text.strip_prefix("hf:").unwrap_or(text);
        let (repo, revision) = match hub.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (hub, None),
        };
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = repo.split('/').collect();
        let named = matches!(parts.as_slice(), [owner, name] if word(owner) && word(name));
        let revised = revision.as_deref().is_none_or(|r| !r.is_empty() && r.split('/').all(word));
        if named && revised { Ok(Source::Hub { repo: repo.to_owned(), revision }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, SourceError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Input(digest) => write!(f, "input:{digest}"),
            Source::Path(path) => write!(f, "path:{path}"),
            Source::Https(url) => f.write_str(url),
            Source::Hub { repo, revision: Some(revision) } => write!(f, "hf:{repo}@{revision}"),
            Source::Hub { repo, revision: None } => write!(f, "hf:{repo}"),
        }
    }
}
