//! Names of things, each its own type, each checked where it is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the id it should be; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{shown}` is not valid: {rule}")]
pub struct IdError {
    what: &'static str,
    shown: String,
    rule: &'static str,
}

impl IdError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
        IdError { what, shown, rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text as it is shown and stored.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.into())) } else { Err(IdError::new($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_word(text: &str, max: usize, also: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= max
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || also.contains(b))
}

text_id!(
    /// A job's id: the client's choice or made by the server. It is also a directory name.
    JobId, "job_id", "use 1 to 128 of letters, digits, `.`, `_`, `-`, the first one a letter or digit",
    |text| is_word(text, 128, b"._-")
);
text_id!(
    /// A provider's name: `local`, `runpod` … A checked string, so that a plug-in brings its own.
    ProviderName, "provider", "use 1 to 32 lower-case letters, digits or `-`, the first one a letter or digit",
    |text| is_word(text, 32, b"-") && !text.bytes().any(|b| b.is_ascii_uppercase())
);
text_id!(
    /// What a provider calls the machine it rented to us; opaque.
    ProviderJobId, "provider_job_id", "use 1 to 256 printable ASCII characters",
    |text| !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
);
text_id!(
    /// The exact name of an order and mark on its machine: `ty-{installation}-{attempt's ULID}`, never reused.
    OrderName, "order name", "made by `OrderName::new` only: `ty-`, 8 and 26 of `[a-z0-9]`",
    |text| text.len() == 38
        && text.starts_with("ty-")
        && text.as_bytes()[11] == b'-'
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_id!(
    /// The installation that rents: 8 of `[a-z0-9]`, from the file `DIR/installation`.
    InstallationId, "installation id", "8 lower-case letters or digits",
    |text| text.len() == 8 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
);
text_id!(
    /// A secret's name, which is also the environment variable that the training sees.
    SecretName, "secret name", "use 1 to 128 of letters, digits and `_`, not starting with a digit or with `TRAINYARD_`",
    |text| !text.is_empty()
        && text.len() <= 128
        && !text.as_bytes()[0].is_ascii_digit()
        && !text.starts_with("TRAINYARD_")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
);

impl JobId {
    /// A fresh, time-sorted id: `job_` and a ULID in lower case.
    pub fn generate(ulid: ulid::Ulid) -> JobId {
        JobId(format!("job_{}", ulid.to_string().to_ascii_lowercase()).into())
    }
}

impl OrderName {
    /// The name of one attempt's order, computed before anything is asked of a provider.
    pub fn new(installation: &InstallationId, attempt: ulid::Ulid) -> OrderName {
        OrderName(format!("ty-{installation}-{}", attempt.to_string().to_ascii_lowercase()).into())
    }

    /// The installation whose order this is.
    pub fn installation(&self) -> &str {
        &self.0[3..11]
    }
}

/// Which attempt of a job: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptNumber(u32);

impl AttemptNumber {
    /// The first attempt of a job.
    pub const FIRST: AttemptNumber = AttemptNumber(1);

    /// The attempt after this one.
    pub fn next(self) -> AttemptNumber {
        AttemptNumber(self.0.saturating_add(1))
    }

    /// The number itself, from 1.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for AttemptNumber {
    /// Attempts count from 1; 0 is read as 1.
    fn from(number: u32) -> Self {
        AttemptNumber(number.max(1))
    }
}

impl fmt::Display for AttemptNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest. Written as 64 lower-case hexadecimal digits; read in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Sha256 {
        Sha256(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| IdError::new("SHA-256", text, "write 64 hexadecimal digits"))?;
        Ok(Sha256(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}
