//! Names of things, each its own type, each checked where it is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

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
    |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let word = |part: &str, len| {
            part.len() == len && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        matches!(parts.as_slice(), ["ty", owner, attempt] if word(owner, 8) && word(attempt, 26))
    }
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

    /// When the attempt was begun, by the clock of whoever ordered; none where the name holds no ULID.
    pub fn made_at(&self) -> Option<Timestamp> {
        let ulid: ulid::Ulid = self.0.get(12..)?.to_ascii_uppercase().parse().ok()?;
        Timestamp::from_timestamp_millis(i64::try_from(ulid.timestamp_ms()).ok()?)
    }
}

/// Which attempt of a job: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
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

impl From<AttemptNumber> for u32 {
    fn from(number: AttemptNumber) -> u32 {
        number.0
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

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use super::{
        AttemptNumber, IdError, InstallationId, JobId, OrderName, ProviderJobId, ProviderName, SecretName,
        Sha256,
    };

    /// Texts that are nobody's id: they would leave a directory, hide, break a line or a shell.
    const HOSTILE: [&str; 21] = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/",
        "a\0b",
        "\0",
        "a\nb",
        "a b",
        " a",
        "a\t",
        "🦀",
        "é",
        "\u{202e}a",
        "-rf",
        "-",
        "~",
        "$HOME",
        "a;b",
    ];

    fn refuses<T: FromStr + Debug>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?} was taken as {:?}", text.parse::<T>().ok());
        }
    }

    fn takes<T: FromStr<Err = IdError> + ToString>(texts: &[&str]) {
        for text in texts {
            let id = text.parse::<T>().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(id.to_string(), *text);
        }
    }

    #[test]
    fn a_job_id_is_a_safe_file_name() {
        refuses::<JobId>(&HOSTILE);
        refuses::<JobId>(&["_a", ".hidden", "a:b", "a%2fb", "a\u{7f}", "x".repeat(129).as_str()]);
        takes::<JobId>(&["my_job_123", "a", "0", "A.b-c_d", "a..b", "x".repeat(128).as_str()]);
        takes::<JobId>(&[JobId::generate(ulid::Ulid(u128::MAX)).as_str()]);
    }

    #[test]
    fn the_other_ids_keep_their_rules() {
        refuses::<ProviderName>(&HOSTILE);
        refuses::<ProviderName>(&["RunPod", "a_b", "x".repeat(33).as_str()]);
        takes::<ProviderName>(&["runpod", "lambda", "vastai", "local", "my-cloud", "x".repeat(32).as_str()]);
        refuses::<ProviderJobId>(&["", "a b", "a\0b", "a\nb", "🦀", "x".repeat(257).as_str()]);
        takes::<ProviderJobId>(&["pod-1", "12345", "i/../x", "x".repeat(256).as_str()]);
        refuses::<InstallationId>(&HOSTILE);
        refuses::<InstallationId>(&["abcd123", "abcd12345", "ABCD1234", "abcd-123"]);
        takes::<InstallationId>(&["abcd1234"]);
        refuses::<SecretName>(&HOSTILE);
        refuses::<SecretName>(&["1A", "A-B", "A=B", "TRAINYARD_X", "x".repeat(129).as_str()]);
        takes::<SecretName>(&["HF_TOKEN", "_x", "a1", "TRAINYARD", "x".repeat(128).as_str()]);
    }

    #[test]
    fn an_order_is_named_after_its_installation_and_attempt() {
        let installation: InstallationId = "abcd1234".parse().expect("an id");
        let name = OrderName::new(&installation, ulid::Ulid(u128::MAX));
        assert_eq!(name.as_str(), "ty-abcd1234-7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(name.installation(), "abcd1234");
        let made = OrderName::new(&installation, ulid::Ulid::from_parts(1_700_000_000_123, 7)).made_at();
        assert_eq!(made.map(|at| at.timestamp_millis()), Some(1_700_000_000_123));
        let odd: OrderName = "ty-abcd1234-uuuuuuuuuuuuuuuuuuuuuuuuuu".parse().expect("26 letters");
        assert_eq!(odd.made_at(), None, "no ULID has a `u`");
        takes::<OrderName>(&[name.as_str()]);
        refuses::<OrderName>(&HOSTILE);
        refuses::<OrderName>(&[
            "ty-abcd1234-7zzzzzzzzzzzzzzzzzzzzzzzz",
            "ty-abcd1234-7zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "ty-abcd12347-zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ty-ABCD1234-7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "tx-abcd1234-7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ty-abcd1234-7zzzzzzzzzzzz-zzzzzzzzzzzz",
            "ty---------7-zzzzzzzzzzzzzzzzzzzzzzzzz",
            "ty-é123456-7zzzzzzzzzzzzzzzzzzzzzzzzzz",
        ]);
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let lower = "0123456789abcdef".repeat(4);
        takes::<Sha256>(&[&lower]);
        let upper: Sha256 = lower.to_uppercase().parse().expect("either case");
        assert_eq!(upper.to_string(), lower);
        assert_eq!(Sha256::from_bytes(*upper.as_bytes()), upper);
        refuses::<Sha256>(&[
            "",
            "ab",
            &lower[1..],
            &format!("{lower}0"),
            &lower.replace('0', "g"),
            &lower.replace('0', " "),
        ]);
    }

    #[test]
    fn a_message_shows_hostile_text_harmlessly() {
        let error =
            format!("\u{1b}[31m{}\n", "x".repeat(500)).parse::<JobId>().expect_err("an escape sequence");
        let shown = error.to_string();
        assert!(shown.is_ascii() && !shown.contains(char::is_control) && shown.len() < 250, "{shown}");
    }

    #[test]
    fn attempts_count_from_one() {
        assert_eq!(AttemptNumber::from(0), AttemptNumber::FIRST);
        assert_eq!(serde_json::from_str::<AttemptNumber>("0").expect("a number"), AttemptNumber::FIRST);
        assert_eq!(serde_json::to_string(&AttemptNumber::FIRST.next()).expect("JSON"), "2");
        assert_eq!(AttemptNumber::from(u32::MAX).next().get(), u32::MAX);
    }
}
