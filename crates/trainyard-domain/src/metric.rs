//! Metrics of a training and of its machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that may be not finite: in JSON a number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct MetricValue(pub f64);

/// What was logged at one step. `step`, `epoch`, `loss`, `learning_rate` are ordinary names among the values,
/// except that `step` orders points and is an integer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricPoint {
    /// The optimizer step, where the source tells one. Points of the machine itself have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Every other numeric field by name.
    pub values: BTreeMap<String, MetricValue>,
    /// An earlier attempt told this step already: what is shown from here on was trained again after a loss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

impl MetricPoint {
    /// Most names kept of one point; what is over is dropped, later names in the alphabet first.
    pub const NAMES_MAX: usize = 64;
    /// Longest name of a metric, in bytes.
    pub const NAME_BYTES_MAX: usize = 128;

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).map(|value| value.0)
    }

    /// Whether the point is about the machine (`system/…`) and not about the training.
    pub fn is_system(&self) -> bool {
        self.values.keys().all(|name| name.starts_with("system/"))
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            v if v.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            // Whole numbers are shown as such: `"epoch": 1`, as in the specification.
            v if v.fract() == 0.0 && v.abs() < 9e15 => serializer.serialize_i64(v as i64),
            v => serializer.serialize_f64(v),
        }
    }
}

impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MetricVisitor)
    }
}

struct MetricVisitor;

impl Visitor<'_> for MetricVisitor {
    type Value = MetricValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or one of \"NaN\", \"Infinity\", \"-Infinity\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<MetricValue, E> {
        Ok(MetricValue(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<MetricValue, E> {
        Ok(MetricValue(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<MetricValue, E> {
        Ok(MetricValue(value as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MetricValue, E> {
        match text {
            "NaN" => Ok(MetricValue(f64::NAN)),
            "Infinity" => Ok(MetricValue(f64::INFINITY)),
            "-Infinity" => Ok(MetricValue(f64::NEG_INFINITY)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{MetricPoint, MetricValue};

    #[test]
    fn values_are_shown_as_the_specification_shows_them() {
        for (value, shown) in [
            (1.0, "1"),
            (-0.0, "0"),
            (1000.0, "1000"),
            (0.5, "0.5"),
            (0.0002, "0.0002"),
            (-3.0, "-3"),
            (9e15, "9000000000000000.0"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(serde_json::to_string(&MetricValue(value)).expect("JSON"), shown);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for json in [
            json!("nan"),
            json!("inf"),
            json!(""),
            json!("1"),
            json!(null),
            json!(true),
            json!([1]),
            json!({}),
        ] {
            assert!(serde_json::from_value::<MetricValue>(json.clone()).is_err(), "{json} was taken");
        }
    }

    #[test]
    fn a_point_is_of_the_machine_or_of_the_training() {
        let point = |json| serde_json::from_value::<MetricPoint>(json).expect("a point");
        assert!(point(json!({"values": {"system/cpu": 0.5, "system/ram_gb": 3}})).is_system());
        assert!(!point(json!({"step": 1, "values": {"loss": "NaN", "system/cpu": 0.5}})).is_system());
        assert_eq!(point(json!({"step": 1, "values": {"loss": 2}})).get("loss"), Some(2.0));
        assert_eq!(point(json!({"values": {}})).step, None);
    }

    proptest! {
        /// Whole numbers exactly; others to the last but one place (serde_json without `float_roundtrip`).
        #[test]
        fn every_value_survives_json(real in prop::num::f32::NORMAL, whole in any::<i32>()) {
            for (value, tolerance) in [(f64::from(real) / 3.0, 1e-15), (f64::from(whole), 0.0)] {
                let json = serde_json::to_string(&MetricValue(value)).expect("JSON");
                let MetricValue(back) = serde_json::from_str(&json).expect("a value");
                prop_assert!((back - value).abs() <= value.abs() * tolerance, "{} became {}", value, back);
            }
        }

        #[test]
        fn what_is_not_finite_survives_json(value in prop::num::f64::INFINITE | prop::num::f64::QUIET_NAN) {
            let json = serde_json::to_string(&MetricValue(value)).expect("JSON");
            let MetricValue(back) = serde_json::from_str(&json).expect("a value");
            prop_assert!(back == value || value.is_nan() && back.is_nan(), "{} became {}", value, back);
        }
    }
}
