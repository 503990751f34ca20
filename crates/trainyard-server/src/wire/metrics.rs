//! Metrics on the wire: `step`, `epoch`, `loss` and `learning_rate` always stand there (null where they have no
//! value), every other number beside them under its own name. `repeated: true` marks what an earlier attempt told already.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use trainyard_domain::{MetricPoint, Timestamp};
use utoipa::ToSchema;

use super::Time;

/// The names that every point shows.
const ALWAYS: [&str; 3] = ["epoch", "loss", "learning_rate"];

/// One point. Numbers that are not finite are the strings `"NaN"`, `"Infinity"`, `"-Infinity"`.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = Object, example = json!({"step": 1000, "epoch": 1, "loss": 0.5, "learning_rate": 0.0002}))]
pub(crate) struct MetricsWire(pub(crate) MetricPoint);

impl Serialize for MetricsWire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entries(&self.0, &mut map)?;
        map.end()
    }
}

/// A point with its moment, in a series.
#[derive(Debug, Clone)]
pub(crate) struct SeriesPoint(pub(crate) Timestamp, pub(crate) MetricPoint);

impl Serialize for SeriesPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ts", &Time(self.0))?;
        entries(&self.1, &mut map)?;
        map.end()
    }
}

fn entries<M: SerializeMap>(point: &MetricPoint, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("step", &point.step)?;
    for name in ALWAYS {
        map.serialize_entry(name, &point.values.get(name))?;
    }
    if point.repeated {
        map.serialize_entry("repeated", &true)?;
    }
    // A training may log under any name; those that stand already are not written twice.
    let taken = |name: &str| {
        ALWAYS.contains(&name) || ["step", "ts"].contains(&name) || point.repeated && name == "repeated"
    };
    for (name, value) in point.values.iter().filter(|(name, _)| !taken(name)) {
        map.serialize_entry(name, value)?;
    }
    Ok(())
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricsAnswer {
    pub(crate) job_id: String,
    /// Every name that occurs in the series, sorted.
    pub(crate) names: Vec<String>,
    /// The points in the order they came.
    #[schema(value_type = Vec<Object>, example = json!([{"ts": "2024-01-15T10:30:00Z", "step": 1000, "epoch": 1, "loss": 0.5, "learning_rate": 0.0002}]))]
    pub(crate) points: Vec<SeriesPoint>,
    /// How many points there were before they were thinned out.
    pub(crate) total: usize,
    /// Whether there are more after these: ask again with `after` the last step.
    pub(crate) more: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trainyard_domain::MetricValue;

    use super::*;

    #[test]
    fn points_show_the_four_names_and_whatever_else_was_logged() {
        let point = |step, values: &[(&str, f64)]| {
            let values: BTreeMap<_, _> =
                values.iter().map(|(name, value)| ((*name).to_owned(), MetricValue(*value))).collect();
            MetricPoint { step, values, repeated: step == Some(7) }
        };
        let full = [("epoch", 1.0), ("loss", 0.5), ("learning_rate", 0.0002), ("grad_norm", 1.25)];
        let odd =
            [("loss", f64::NAN), ("a", f64::INFINITY), ("b", f64::NEG_INFINITY), ("ts", 1.0), ("step", 2.0)];
        let at: Timestamp = "2024-01-15T10:30:00.25Z".parse().unwrap();
        insta::assert_json_snapshot!((
            MetricsWire(point(Some(1000), &full)),
            MetricsWire(point(None, &[("system/gpu_util", 97.0)])),
            SeriesPoint(at, point(Some(7), &odd)),
        ));
    }
}
