//! Between the domain's types and columns: times as nanoseconds, JSON as text, errors with what was being done.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use trainyard_domain::Timestamp;

use super::StorageError;

/// Nanoseconds since 1970; times beyond the years 1678 to 2262 are kept at the edge.
pub(super) fn nanos(at: Timestamp) -> i64 {
    at.timestamp_nanos_opt().unwrap_or(if at.timestamp() < 0 { i64::MIN } else { i64::MAX })
}

/// The moment of those nanoseconds.
pub(super) fn moment(nanos: i64) -> Timestamp {
    Timestamp::from_timestamp_nanos(nanos)
}

/// A count for SQLite, whose integers are signed.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count from SQLite.
pub(super) fn count(int: i64) -> u64 {
    u64::try_from(int).unwrap_or(0)
}

/// A limit for SQLite.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// JSON text of a value.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StorageError> {
    serde_json::to_string(value)
        .map_err(|source| StorageError::Database { doing: "writing JSON", source: Box::new(source) })
}

/// A value from JSON text of that column.
pub(super) fn parsed<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|error| StorageError::Corrupt(format!("{what}: {error}")))
}

/// A word from a column.
pub(super) fn word<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, StorageError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StorageError::Corrupt(format!("{what}: {error}")))
}

/// A column's value.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: usize) -> Result<T, StorageError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// Turns the database's error into ours.
pub(super) fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StorageError {
    move |error| StorageError::Database { doing, source: Box::new(error) }
}
