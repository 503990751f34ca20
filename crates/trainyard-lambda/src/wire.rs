//! Lambda's JSON, as far as it is used.
//!
//! Every field that the vendor may leave out may also be null here, unknown fields are ignored, and words of closed lists
//! are plain texts: the live service sends what its own document does not have. An instance's `jupyter_token` and
//! `jupyter_url` open a shell on the machine; they are not read, so they cannot be told.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What every success is wrapped in.
#[derive(Debug, Deserialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// `GET /instance-types`: by name, those without capacity too. One that cannot be read is left out: it is not for rent then,
/// and the others are.
#[derive(Debug, Clone, Default)]
pub(crate) struct InstanceTypes(pub(crate) BTreeMap<String, InstanceTypeEntry>);

impl<'de> Deserialize<'de> for InstanceTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InstanceTypes, D::Error> {
        let all = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let some = !all.is_empty();
        let entry = |(name, value)| Some((name, InstanceTypeEntry::deserialize(value).ok()?));
        let read: BTreeMap<String, InstanceTypeEntry> = all.into_iter().filter_map(entry).collect();
        if some && read.is_empty() {
            return Err(D::Error::custom("none of the instance types can be read"));
        }
        Ok(InstanceTypes(read))
    }
}

/// A type and where it can be had.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct InstanceTypeEntry {
    pub(crate) instance_type: InstanceType,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) regions_with_capacity_available: Vec<Region>,
}

/// A type of machine.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct InstanceType {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) description: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) gpu_description: String,
    /// Of the whole machine.
    #[serde(deserialize_with = "whole")]
    pub(crate) price_cents_per_hour: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) specs: Specs,
    /// Not in the document; seen live.
    #[serde(default)]
    pub(crate) architecture: Option<String>,
}

/// What is in it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Specs {
    #[serde(default, deserialize_with = "whole")]
    pub(crate) storage_gib: u64,
    #[serde(default, deserialize_with = "whole")]
    pub(crate) gpus: u64,
}

/// A region.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Region {
    pub(crate) name: String,
}

/// A machine. Only its id is sure to be there.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) ip: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) region: Option<Region>,
    #[serde(default)]
    pub(crate) instance_type: Option<InstanceType>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) tags: Vec<Tag>,
    #[serde(default)]
    pub(crate) actions: Option<Actions>,
}

/// What may be done with a machine now, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Actions {
    #[serde(default)]
    pub(crate) terminate: Option<Action>,
}

/// Whether one thing may be done.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Action {
    #[serde(default)]
    pub(crate) available: Option<bool>,
}

/// A tag, asked for and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The body of a launch. `ssh_key_names` takes exactly one. `quantity` is gone from the document, and more than one was
/// refused.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Launch {
    pub(crate) region_name: String,
    pub(crate) instance_type_name: String,
    pub(crate) ssh_key_names: [String; 1],
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) image: ImageFamily,
    pub(crate) user_data: String,
    pub(crate) tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_system_names: Option<[String; 1]>,
}

/// `GET /file-systems`: one of them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FileSystem {
    pub(crate) name: String,
    pub(crate) region: Region,
}

/// The newest image of a family.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageFamily {
    pub(crate) family: String,
}

/// What a launch answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Launched {
    pub(crate) instance_ids: Vec<String>,
}

/// What a termination answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Terminated {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) terminated_instances: Vec<Instance>,
}

/// A registered SSH key.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RegisteredKey {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) public_key: String,
}

/// Every refusal of the API itself.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorText,
}

/// What it says. `code` is to branch on, the rest to read.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorText {
    pub(crate) code: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) suggestion: Option<String>,
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A whole number, also one that is written as a text.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| D::Error::custom("a whole number was expected"))
}
