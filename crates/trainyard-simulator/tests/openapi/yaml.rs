//! YAML as JSON: Vast.ai's document comes in it. Whoever takes this file needs `yaml-rust2`.

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Reads the first document of a text.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    documents.first().map(json).ok_or_else(|| "it is empty".to_owned())
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) => text.parse::<f64>().map_or_else(|_| Value::from(text.as_str()), Value::from),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(fields) => {
            fields.iter().map(|(name, value)| (name_of(name), json(value))).collect::<Map<_, _>>().into()
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}

/// The name of a field: `200` is one too.
fn name_of(yaml: &Yaml) -> String {
    match json(yaml) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
