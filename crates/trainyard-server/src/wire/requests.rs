//! Bodies that come in. Unknown fields are errors that name them.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::Deserialize;
use trainyard_domain::{JobId, LimitsPatch};
use utoipa::ToSchema;

/// Body of `submit`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitRequest {
    /// `local`, `runpod`, `lambda`, `vastai`, or `auto` for the cheapest.
    #[schema(example = "local")]
    pub(crate) provider: String,
    /// A warm machine of the ledger, by the name of its order or the provider's id: one that an ended job keeps
    /// (`resources.keep_warm_s`). The provider is its own, or `auto`.
    #[serde(default)]
    pub(crate) machine: Option<String>,
}

/// Body of `pause`; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseRequest {
    /// `signal` (keeps memory and slot; the default) or `checkpoint`.
    #[schema(value_type = Option<String>)]
    pub(crate) mode: Option<PauseModeWord>,
}

/// How to pause.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PauseModeWord {
    Signal,
    Checkpoint,
}

/// Body of `clone`; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloneRequest {
    /// The new job's id; made by the server where left out.
    #[schema(value_type = Option<String>)]
    pub(crate) job_id: Option<JobId>,
    /// Whether it starts from the last checkpoint held.
    #[serde(default)]
    pub(crate) from_checkpoint: bool,
}

/// Body of `PATCH`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchRequest {
    /// New labels, all of them.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Limits to change, by name; what is left out stays.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "limits")]
    pub(crate) limits: Option<LimitsPatch>,
}

/// By name only: serde alone would take a list too, by place.
fn limits<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<LimitsPatch>, D::Error> {
    struct Names;
    impl<'de> serde::de::Visitor<'de> for Names {
        type Value = Option<LimitsPatch>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            LimitsPatch::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Names)
}

/// Body of `validate`; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidateRequest {
    /// The provider to check against; left out, all checks that need none.
    pub(crate) provider: Option<String>,
}

/// Body of `PUT /secrets/{name}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretRequest {
    /// The value. It cannot be read back.
    #[schema(value_type = String, format = Password)]
    #[serde(deserialize_with = "secret")]
    pub(crate) value: SecretString,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    struct Text;
    impl serde::de::Visitor<'_> for Text {
        type Value = SecretString;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretString, E> {
            Ok(SecretString::from(text))
        }

        fn visit_string<E: serde::de::Error>(self, text: String) -> Result<SecretString, E> {
            Ok(SecretString::from(text))
        }
    }
    deserializer.deserialize_string(Text)
}

impl fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretRequest")
    }
}
