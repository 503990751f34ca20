//! Strict bodies: every field is known, of its type and in its bounds, or the answer is 422 with what is wrong.

use serde_json::{Map, Value};

/// What a field must be.
pub(super) enum Rule {
    /// A text that is not empty.
    Word,
    /// Any text.
    Text,
    /// A text or null.
    TextOrNull,
    /// A whole number, at least this.
    AtLeast(i64),
    /// Yes or no.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// `12.8`.
    Version,
    /// A list of these.
    Versions,
    /// Texts by name.
    TextMap,
    /// A list of at most one object with these fields.
    One(&'static [Field]),
    /// An object with these fields.
    Object(&'static [Field]),
}

/// A field of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) required: bool,
}

/// One that may be left out.
pub(super) const fn may(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, required: false }
}

/// One that must be there.
pub(super) const fn must(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, required: true }
}

/// The body as an object of these fields.
///
/// # Errors
/// What is wrong with it, in RunPod's form: `$.gpu: missing property 'id'`.
pub(super) fn body(json: Option<Value>, fields: &[Field]) -> Result<Map<String, Value>, Vec<String>> {
    let Some(Value::Object(object)) = json else { return Err(vec!["$: value must be an object".to_owned()]) };
    let mut errors = Vec::new();
    object_of(&object, fields, "$", &mut errors);
    if errors.is_empty() { Ok(object) } else { Err(errors) }
}

fn object_of(object: &Map<String, Value>, fields: &[Field], at: &str, errors: &mut Vec<String>) {
    for name in object.keys() {
        if !fields.iter().any(|field| field.name == name) {
            errors.push(format!("{at}: additional properties '{name}' not allowed"));
        }
    }
    for field in fields {
        match object.get(field.name) {
            Some(value) => look(value, &field.rule, &format!("{at}.{}", field.name), errors),
            None if field.required => errors.push(format!("{at}: missing property '{}'", field.name)),
            None => {}
        }
    }
}

fn look(value: &Value, rule: &Rule, at: &str, errors: &mut Vec<String>) {
    let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let wrong = match rule {
        Rule::Word if value.as_str() == Some("") => Some("length must be >= 1".to_owned()),
        Rule::Word | Rule::Text => expected(value.is_string(), "a string"),
        Rule::TextOrNull => expected(value.is_string() || value.is_null(), "a string or null"),
        Rule::AtLeast(least) => match value.as_i64() {
            None => expected(false, "an integer"),
            Some(number) => (number < *least).then(|| format!("must be >= {least}")),
        },
        Rule::Flag => expected(value.is_boolean(), "a boolean"),
        Rule::OneOf(words) => {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let known = value.as_str().is_some_and(|word| words.contains(&word));
            (!known).then(|| format!("value must be one of {}", quoted.join(", ")))
        }
        Rule::Texts => expected(texts(value), "an array of strings"),
        Rule::Version => expected(value.as_str().is_some_and(is_version), "of the form major.minor"),
        Rule::Versions => {
            let all = |list: &Vec<Value>| list.iter().all(|one| one.as_str().is_some_and(is_version));
            expected(value.as_array().is_some_and(all), "an array of versions of the form major.minor")
        }
        Rule::TextMap => {
            let fine = |map: &Map<String, Value>| map.values().all(Value::is_string);
            expected(value.as_object().is_some_and(fine), "an object of strings")
        }
        Rule::One(fields) => match value.as_array().map(Vec::as_slice) {
            Some([]) => None,
            Some([one]) => {
                look(one, &Rule::Object(fields), &format!("{at}[0]"), errors);
                None
            }
            Some(_) => Some("length must be <= 1".to_owned()),
            None => expected(false, "an array"),
        },
        Rule::Object(fields) => match value.as_object() {
            Some(object) => {
                object_of(object, fields, at, errors);
                None
            }
            None => expected(false, "an object"),
        },
    };
    errors.extend(wrong.map(|wrong| format!("{at}: {wrong}")));
}

fn expected(fine: bool, what: &str) -> Option<String> {
    (!fine).then(|| format!("value must be {what}"))
}

/// Whether a text is `major.minor`.
pub(super) fn is_version(text: &str) -> bool {
    version(text).is_some()
}

/// The two numbers of `12.8`, compared as numbers: 12.11 is above 12.2.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(major) && digits(minor)).then(|| Some((major.parse().ok()?, minor.parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Rule, body, may, must};

    #[test]
    fn every_field_is_known_and_as_it_must_be() {
        const GPU: &[super::Field] = &[must("id", Rule::Word), may("count", Rule::AtLeast(1))];
        let fields =
            [must("name", Rule::Word), may("gpu", Rule::Object(GPU)), may("cloud", Rule::OneOf(&["A", "B"]))];
        let errors = |json| body(Some(json), &fields).err().unwrap_or_default().join("; ");
        assert_eq!(errors(json!({"name": "x", "gpu": {"id": "y", "count": 2}, "cloud": "A"})), "");
        assert_eq!(
            errors(json!({"bogus": 1})),
            "$: additional properties 'bogus' not allowed; $: missing property 'name'"
        );
        assert_eq!(
            errors(json!({"name": "x", "gpu": {"count": 0}})),
            "$.gpu: missing property 'id'; $.gpu.count: must be >= 1"
        );
        assert_eq!(errors(json!({"name": "x", "cloud": "C"})), "$.cloud: value must be one of 'A', 'B'");
        assert_eq!(errors(json!([])), "$: value must be an object");
    }
}
