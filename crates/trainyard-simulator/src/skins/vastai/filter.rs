//! Vast's filters: `{"field": {"gte": 1, "lt": "2"}}`, on rows as they are shown. Numbers may come as strings.

use std::cmp::Ordering;

use serde_json::Value;

/// Why a filter is refused: the text of the answer.
pub(super) type Refused = String;

/// Whether a row passes one field's conditions.
///
/// # Errors
/// What Vast says of a filter that is none.
pub(super) fn passes(field: &str, there: &Value, conditions: &Value) -> Result<bool, Refused> {
    let Some(conditions) = conditions.as_object() else {
        return Err(format!("q.{field}: Input should be a valid dictionary; got {conditions}"));
    };
    let mut passed = true;
    for (operator, wanted) in conditions {
        passed &= holds(operator, there, wanted)
            .ok_or_else(|| format!("q.{field}.{operator}: Extra inputs are not permitted"))?;
    }
    Ok(passed)
}

fn holds(operator: &str, there: &Value, wanted: &Value) -> Option<bool> {
    let order = || compare(there, wanted);
    let among =
        || wanted.as_array().map(|all| all.iter().any(|one| compare(there, one) == Some(Ordering::Equal)));
    match operator {
        "eq" => Some(order() == Some(Ordering::Equal)),
        "neq" => Some(order() != Some(Ordering::Equal)),
        "gt" => Some(order() == Some(Ordering::Greater)),
        "gte" => Some(matches!(order(), Some(Ordering::Greater | Ordering::Equal))),
        "lt" => Some(order() == Some(Ordering::Less)),
        "lte" => Some(matches!(order(), Some(Ordering::Less | Ordering::Equal))),
        "in" => among(),
        "notin" => among().map(|found| !found),
        _ => None,
    }
}

/// How two values of JSON compare; none where they do not.
pub(super) fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(one), other) => one.partial_cmp(&truth(other)?),
        (Value::String(one), Value::String(other)) => Some(plain(one).cmp(&plain(other))),
        _ => number(one)?.partial_cmp(&number(other)?),
    }
}

/// Names of cards may be written with `_` for a blank.
fn plain(text: &str) -> String {
    text.replace('_', " ")
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    }
}

/// The order for sorting: what does not compare comes last.
pub(super) fn sorting(one: &Value, other: &Value) -> Ordering {
    compare(one, other).unwrap_or_else(|| one.is_null().cmp(&other.is_null()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::passes;

    #[test]
    fn filters_hold_what_they_say() {
        for (there, conditions, passed) in [
            (json!(24564), json!({"gte": 24000.0}), true),
            (json!(1), json!({"eq": "1"}), true),
            (json!(0.98), json!({"gt": "0.99"}), false),
            (json!(true), json!({"eq": true}), true),
            (json!(false), json!({"neq": false}), false),
            (json!("RTX 4090"), json!({"in": ["RTX_4090", "H100"]}), true),
            (json!("RTX 4090"), json!({"notin": ["RTX 4090"]}), false),
            (json!(5), json!({"gte": 1, "lte": 4}), false),
            (json!(null), json!({"gte": 1}), false),
            (json!(null), json!({"eq": "x"}), false),
        ] {
            assert_eq!(passes("x", &there, &conditions), Ok(passed), "{there} {conditions}");
        }
        let refused = |conditions: Value| passes("gpu_name", &json!("x"), &conditions).unwrap_err();
        assert!(refused(json!("x")).starts_with("q.gpu_name: Input should be a valid dictionary"));
        assert!(refused(json!({"like": "x"})).starts_with("q.gpu_name.like"));
    }
}
