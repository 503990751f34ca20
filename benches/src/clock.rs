//! The wall clock, by which two processes of one machine agree.

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "measures real time, across processes")]
pub(crate) fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
