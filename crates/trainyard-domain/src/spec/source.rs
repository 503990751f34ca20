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
        if let Some(rest) = text.strip_prefix("https://") {
            let is_url = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace);
            return if is_url { Ok(Source::Https(text.to_owned())) } else { Err(bad()) };
        }
        // A plain string is a hub id.
        let hub = text.strip_prefix("hf:").unwrap_or(text);
        let (repo, revision) = match hub.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (hub, None),
        };
        // The hub's own rule, and no part can be `..` or an option of a program.
        let word = |w: &str| {
            w.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && w.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
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

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn a_source_is_shown_as_it_is_read() {
        let digest = "0123456789abcdef".repeat(4);
        for text in [
            format!("input:{digest}").as_str(),
            "path:/data/train.jsonl",
            "path:relative dir/x",
            "https://example.org/a?b=c#d",
            "hf:owner/name",
            "hf:owner/name@main",
            "hf:owner/name@refs/pr/1",
        ] {
            let source: Source = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_value(&source).expect("JSON");
            assert_eq!(json, text);
            assert_eq!(serde_json::from_value::<Source>(json).expect("a source"), source);
        }
        let plain: Source = "tatsu-lab/alpaca".parse().expect("a plain string is a hub id");
        assert_eq!(plain.to_string(), "hf:tatsu-lab/alpaca");
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "x",
            "a/b/c",
            "/a",
            "a/",
            "input:",
            "input:abc",
            "path:",
            "path:/a\0b",
            "https://",
            "https:///x",
            "http://example.org/x",
            "ftp://example.org/x",
            "file:///etc/passwd",
            "hf:",
            "hf:a",
            "hf:a/b@",
            "hf:a/b@x//y",
            "hf:../b",
            "a/b c",
            "s3://bucket/key",
            "hf:a/🦀",
            "https://a\nb",
            "hf:./b",
            "hf:a/..",
            "hf:a/b@..",
            "hf:a/b@x/../y",
            "hf:-a/b",
            "https://a b/c",
        ] {
            assert!(
                text.parse::<Source>().is_err(),
                "{text:?} was taken as {:?}",
                text.parse::<Source>().ok()
            );
        }
        let long = format!("path:{}", "x".repeat(Source::BYTES_MAX));
        let error = long.parse::<Source>().expect_err("too long").to_string();
        assert!(error.len() < 400, "{error}");
    }
}
