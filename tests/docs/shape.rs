//! Whether a shown answer and a real one are of the same shape.
//!
//! Values differ from run to run, fields do not: both have the same names, and the same kind of value under each
//! unless one is null. Of lists the first items are compared.

use serde_json::Value;

/// Where the two differ, in words; empty where they do not.
pub(crate) fn differences(shown: &Value, real: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", shown, real, &mut found);
    found
}

fn compare(at: &str, shown: &Value, real: &Value, found: &mut Vec<String>) {
    match (shown, real) {
        (Value::Null, _) | (_, Value::Null) => {}
        // Names that differ from machine to machine are not shown.
        (Value::Object(a), Value::Object(_)) if a.is_empty() => {}
        (Value::Object(a), Value::Object(b)) => {
            found.extend(
                a.keys()
                    .filter(|key| !b.contains_key(*key))
                    .map(|key| format!("{at}/{key} is shown and not there")),
            );
            found.extend(
                b.keys()
                    .filter(|key| !a.contains_key(*key))
                    .map(|key| format!("{at}/{key} is there and not shown")),
            );
            for (key, value) in a {
                if let Some(other) = b.get(key) {
                    compare(&format!("{at}/{key}"), value, other, found);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if let (Some(a), Some(b)) = (a.first(), b.first()) {
                compare(&format!("{at}/0"), a, b, found);
            }
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => {
            found.push(format!("{at} is shown as {a} and is {b}"));
        }
        _ => {}
    }
}

#[test]
fn names_and_kinds_are_compared_and_values_are_not() {
    let check = |shown: &str, real: &str| {
        let read = |text| serde_json::from_str(text).expect("JSON");
        differences(&read(shown), &read(real)).len()
    };
    assert_eq!(check(r#"{"a": 1, "b": [{"c": "x"}]}"#, r#"{"a": 2, "b": [{"c": "y"}, 1]}"#), 0);
    assert_eq!(check(r#"{"a": null}"#, r#"{"a": {"b": 1}}"#), 0);
    assert_eq!(check(r#"{"a": {}}"#, r#"{"a": {"b": 1}}"#), 0);
    assert_eq!(check(r#"{"a": 1}"#, r#"{"b": 1}"#), 2);
    assert_eq!(check(r#"{"a": [{"c": 1}]}"#, r#"{"a": [{"c": "1"}]}"#), 1);
}
