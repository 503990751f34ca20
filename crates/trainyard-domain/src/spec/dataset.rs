//! The dataset: an object, or a plain string that is a source or a hub id.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Source;

/// What to train on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Where it is.
    pub source: Source,
    /// How its records look; left out, told from the first record.
    pub format: Option<DatasetFormat>,
    /// Which split of a hub dataset.
    pub split: Option<String>,
}

/// How a record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// `{"text": …}`.
    Text,
    /// `{"prompt": …, "completion": …}`: loss on the completion only.
    PromptCompletion,
    /// `{"messages": [{"role", "content"}, …]}`: loss on the assistant's turns only.
    Messages,
}

impl Dataset {
    /// A dataset at that source, all else by default.
    pub fn at(source: Source) -> Dataset {
        Dataset { source, format: None, split: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetObject {
    source: Source,
    #[serde(default)]
    format: Option<DatasetFormat>,
    #[serde(default)]
    split: Option<String>,
}

impl<'de> Deserialize<'de> for Dataset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatasetVisitor)
    }
}

struct DatasetVisitor;

impl<'de> Visitor<'de> for DatasetVisitor {
    type Value = Dataset;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source as a string, or an object with `source`, `format`, `split`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Dataset, E> {
        text.parse().map(Dataset::at).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dataset, A::Error> {
        let object = DatasetObject::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Dataset { source: object.source, format: object.format, split: object.split })
    }
}
