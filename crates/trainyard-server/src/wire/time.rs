//! Moments on the wire.

use chrono::SecondsFormat;
use serde::{Serialize, Serializer};
use trainyard_domain::Timestamp;

/// A moment, RFC 3339 in UTC with `Z`: whole seconds where there is no fraction, else milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2024-01-15T10:30:00Z")]
pub(crate) struct Time(pub(crate) Timestamp);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0.timestamp_subsec_millis() == 0;
        let format = if whole { SecondsFormat::Secs } else { SecondsFormat::Millis };
        f.write_str(&self.0.to_rfc3339_opts(format, true))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Time {
        Time(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_shown_only_where_there_are_some() {
        let shown = |text: &str| Time(text.parse().unwrap()).to_string();
        assert_eq!(shown("2024-01-15T10:30:00Z"), "2024-01-15T10:30:00Z");
        assert_eq!(shown("2024-01-15T10:30:00.5Z"), "2024-01-15T10:30:00.500Z");
        assert_eq!(shown("2024-01-15T10:30:00.123456Z"), "2024-01-15T10:30:00.123Z");
        assert_eq!(shown("2024-01-15T10:30:00.000999Z"), "2024-01-15T10:30:00Z");
        assert_eq!(shown("2024-01-15T12:30:00+02:00"), "2024-01-15T10:30:00Z");
    }
}
