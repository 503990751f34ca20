//! From JSON to a specification, with every error at its field.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::JobSpec;
use super::validate::{Findings, InvalidSpec, looks_like_token};

/// Most errors of shape told at once. Each costs one more reading of the JSON.
const ERRORS_MAX: usize = 20;

impl JobSpec {
    /// Reads and validates a specification. Wrong types and unknown fields are told by their paths, several at once;
    /// where the shape is right, all that [`JobSpec::validate`] finds. The body of `POST /jobs` has a `job_id` as well,
    /// which is no part of a specification: whoever reads that body takes it out first.
    ///
    /// # Errors
    /// [`InvalidSpec`], never empty.
    pub fn from_json(mut value: Value) -> Result<JobSpec, InvalidSpec> {
        let mut found = Findings::default();
        if not_objects(&mut value, &mut found) {
            return Err(found.into_invalid());
        }
        for _ in 0..ERRORS_MAX {
            let error = match serde_path_to_error::deserialize::<_, JobSpec>(&value) {
                Ok(spec) => return found.into_result().and_then(|()| spec.validate()).map(|()| spec),
                Err(error) => error,
            };
            let (field, message) = told(error.path(), &error.inner().to_string());
            // A value that was taken out may be missed next: that was told already.
            if found.names(&field) {
                break;
            }
            found.wrong(field, message);
            if !take_out(&mut value, error.path()) {
                break;
            }
        }
        Err(found.into_invalid())
    }
}

/// Sections that are objects.
const OBJECTS: [&str; 8] =
    ["hyperparameters", "trainer", "environment", "resources", "limits", "retry", "outputs", "checkpoints"];

/// Takes out what must be an object and is a list, which serde would read as the fields in their order. Whether
/// nothing is left to read.
fn not_objects(value: &mut Value, found: &mut Findings) -> bool {
    let Value::Object(fields) = value else {
        found.wrong(
            "body",
            "is not an object: write a specification such as {\"model_name\": \"trainyard-tiny\"}",
        );
        return true;
    };
    for name in OBJECTS {
        if fields.get(name).is_some_and(Value::is_array) {
            found.wrong(name, "is a list: write an object");
            fields.remove(name);
        }
    }
    for name in ["inputs", "webhooks"] {
        let items = fields.get(name).and_then(Value::as_array);
        if let Some(i) = items.and_then(|items| items.iter().position(Value::is_array)) {
            found.wrong(format!("{name}[{i}]"), "is a list: write an object");
            fields.remove(name);
        }
    }
    false
}

/// Takes out the value at that path, or the list it is in, so that what else is wrong can be found. Whether it did.
fn take_out(value: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    let Some(last) = segments.iter().rposition(|segment| matches!(segment, Segment::Map { .. })) else {
        return false;
    };
    let mut at = value;
    for segment in &segments[..last] {
        let next = match segment {
            Segment::Map { key } => at.get_mut(key.as_str()),
            Segment::Seq { index } => at.get_mut(*index),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match (segments[last], at) {
        (Segment::Map { key }, Value::Object(fields)) => fields.remove(key.as_str()).is_some(),
        _ => false,
    }
}

/// The field and the message of one of serde's errors, in the words of JSON and not of Rust.
fn told(path: &Path, error: &str) -> (String, String) {
    let field = path.to_string();
    let field = if field == "." { String::new() } else { field };
    if let Some(missing) = error.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let dot = if field.is_empty() { "" } else { "." };
        return (format!("{field}{dot}{missing}"), "is missing".to_owned());
    }
    let field = if field.is_empty() { "body".to_owned() } else { field };
    let message = if let Some(kind) = looks_like_token("", error) {
        format!(
            "holds what looks like {kind}, which is not repeated here: store it as a secret and write its name"
        )
    } else if let Some((_, known)) =
        error.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, "))
    {
        format!("is not a field: {known}")
    } else if let Some(variant) = error.strip_prefix("unknown variant ") {
        let (is, expected) = variant.split_once(", expected ").unwrap_or((variant, "another"));
        format!("is {is}: write {expected}")
    } else if let Some((is, expected)) = wrong_type(error) {
        format!("is {}: write {}", words(is), words(expected))
    } else {
        format!("is not right: {error}")
    };
    (field, message)
}

fn wrong_type(error: &str) -> Option<(&str, &str)> {
    let rest = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "))?;
    rest.rsplit_once(", expected ")
}

/// Rust's names of types, as JSON has them.
fn words(text: &str) -> String {
    let word = match text {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number, not negative",
        "f64" | "f32" => "a number",
        "a map" | "map" => "an object",
        "a sequence" | "sequence" => "a list",
        _ if text.starts_with("struct ") => "an object",
        _ => text,
    };
    word.to_owned()
}
