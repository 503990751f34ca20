//! Reading JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` stand there bare.
//!
//! Promises: any text gives an answer, in time linear to its length. Sizes are limited by the callers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};
use trainyard_domain::{MetricPoint, MetricValue};

/// Longest text that is tried as a number: `-1.7976931348623157e+308` is 24.
const NUMBER_BYTES_MAX: usize = 64;
/// The greatest step: above it a float no longer tells neighbours apart.
const STEP_MAX: f64 = 9_007_199_254_740_992.0;

/// The JSON value in the text; `None` where there is none.
pub(super) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(&quoted_literals(text)).ok()
}

/// The JSON object in the text; `None` where it is something else.
pub(super) fn parse_object(text: &str) -> Option<Map<String, Value>> {
    match parse(text)? {
        Value::Object(map) => Some(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// A number, or a string that is one (`"NaN"`, `"2.345"`).
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number_in(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The number that the text is, not finite ones included.
pub(super) fn number_in(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.len() > NUMBER_BYTES_MAX { None } else { text.parse().ok() }
}

/// A value that counts steps: whole, not negative, exact as a float.
pub(super) fn step(value: f64) -> Option<u64> {
    (value.fract() == 0.0 && (0.0..=STEP_MAX).contains(&value)).then_some(value as u64)
}

/// Seconds as a whole number; `None` where it is no duration.
pub(super) fn seconds(value: f64) -> Option<u64> {
    step(value.round())
}

/// The first four digits, as `Trainer` prints them (`%.4g`): what two sources agree on.
pub(super) fn digits(value: f64) -> String {
    format!("{value:.3e}")
}

/// The numeric fields as a point: `step` orders, the names in `without` are left out, limits are kept.
pub(super) fn point(map: &Map<String, Value>, without: &[&str]) -> MetricPoint {
    let numbers = map
        .iter()
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), number(value)?)));
    point_of(numbers)
}

/// A point of numbers by name; `step` orders, limits are kept.
pub(super) fn point_of(numbers: impl IntoIterator<Item = (String, f64)>) -> MetricPoint {
    let mut at = None;
    let mut values = BTreeMap::new();
    for (name, value) in numbers {
        if name == "step" {
            at = step(value);
        } else if !name.is_empty() && name.len() <= MetricPoint::NAME_BYTES_MAX {
            values.insert(name, MetricValue(value));
        }
    }
    while values.len() > MetricPoint::NAMES_MAX {
        values.pop_last();
    }
    MetricPoint { step: at, values, ..MetricPoint::default() }
}

/// The text with bare `NaN` and `Infinity` put in quotes; the same text where there are none.
fn quoted_literals(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped, mut rest) = (false, false, text);
    while let Some(first) = rest.chars().next() {
        let literal = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, literal) {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        if in_string {
            in_string = escaped || first != '"';
            escaped = !escaped && first == '\\';
        } else {
            in_string = first == '"';
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_literals_are_numbers_and_strings_stay() {
        let map = parse_object(
            r#"{"step": 3, "loss": NaN, "a": [NaN, -Infinity], "up": Infinity, "text": "is NaN \" NaN", "s": "-Infinity"}"#,
        )
        .unwrap();
        let point = point(&map, &[]);
        assert_eq!(point.step, Some(3));
        assert!(point.get("loss").unwrap().is_nan());
        assert_eq!(point.get("up"), Some(f64::INFINITY));
        assert_eq!(point.get("s"), Some(f64::NEG_INFINITY));
        assert_eq!(map["text"], "is NaN \" NaN");
        assert_eq!(point.values.len(), 3);
    }

    #[test]
    fn steps_are_whole() {
        for (value, expected) in [
            (60.0, Some(60)),
            (0.0, Some(0)),
            (-1.0, None),
            (1.5, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            assert_eq!(step(value), expected, "{value}");
        }
    }

    #[test]
    fn names_and_their_number_are_limited() {
        let numbers =
            (0..100).map(|n| (format!("n{n:03}"), 1.0)).chain([("x".repeat(129), 1.0), (String::new(), 1.0)]);
        let point = point_of(numbers);
        assert_eq!(point.values.len(), MetricPoint::NAMES_MAX);
        assert_eq!(point.values.keys().next_back().map(String::as_str), Some("n063"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn any_text_around_literals_gives_an_answer(text in "[\"\\\\NaInfty{}:,-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
