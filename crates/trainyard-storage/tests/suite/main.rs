//! Storage held to the cases of the test kit, and to what only a database on disk can promise.

#![expect(clippy::expect_used, reason = "test code; the helpers of tests too")]

mod sqlite;
