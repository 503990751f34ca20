//! Budgets of the installation: what all jobs of a label may cost in a calendar month.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::{Money, Timestamp};

/// What the jobs that bear a label, or all of them, may cost together in each calendar month, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Name and value of the label; none: every job is paid from it.
    pub label: Option<(String, String)>,
    /// US dollars in each month.
    pub per_month: Money,
}

impl Budget {
    /// Whether a machine of a job with those labels is paid from it.
    pub fn pays_for(&self, labels: &BTreeMap<String, String>) -> bool {
        self.label.as_ref().is_none_or(|(name, value)| labels.get(name) == Some(value))
    }

    /// How it is called: `team:search`, or `all jobs`.
    pub fn name(&self) -> String {
        match &self.label {
            Some((name, value)) => format!("{name}:{value}"),
            None => "all jobs".to_owned(),
        }
    }
}

/// A calendar month, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Month {
    year: i32,
    month: u32,
}

impl Month {
    /// The month of a moment.
    pub fn of(moment: Timestamp) -> Month {
        Month { year: moment.year(), month: moment.month() }
    }

    /// Its first moment.
    pub fn begins(self) -> Timestamp {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or(NaiveDate::MIN);
        first.and_time(chrono::NaiveTime::MIN).and_utc()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Budget, Month};
    use crate::{Money, Timestamp};

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_budget_pays_for_what_bears_its_label() {
        let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let search = Budget {
            label: Some(("team".to_owned(), "search".to_owned())),
            per_month: "100".parse().unwrap_or(Money::ZERO),
        };
        assert!(search.pays_for(&label("team", "search")));
        assert!(!search.pays_for(&label("team", "ads")) && !search.pays_for(&BTreeMap::new()));
        let all = Budget { label: None, ..search.clone() };
        assert!(all.pays_for(&BTreeMap::new()) && all.pays_for(&label("team", "ads")));
        assert_eq!((search.name(), all.name()), ("team:search".to_owned(), "all jobs".to_owned()));
    }

    #[test]
    fn a_month_begins_at_midnight_utc() {
        let month = Month::of(moment("2026-02-28T23:59:59.999Z"));
        assert_eq!(
            (month.to_string(), month.begins()),
            ("2026-02".to_owned(), moment("2026-02-01T00:00:00Z"))
        );
        assert!(Month::of(moment("2026-03-01T00:00:00Z")) > month);
    }
}
