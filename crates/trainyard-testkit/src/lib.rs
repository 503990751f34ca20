//! Cases that every implementation of a Trainyard trait is held to: one promise each, named, run as one visible
//! test.
//!
//! [`storage`] holds the cases of `trainyard_storage::Storage`, [`connector`] those of
//! `trainyard_connector::{Connector, Workload}`. An implementation writes a harness and one macro:
//!
//! ```text
//! trainyard_testkit::storage_conformance!(MyHarness::new());
//! trainyard_testkit::connector_conformance!(MyHarness::new());
//! ```
//!
//! [`program`] runs the tests of a program that is its own agent.
//!
//! A case that a harness cannot run says so on standard output, with the reason; it never counts as passed in
//! silence.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "the whole crate is test code, run by test binaries"
)]

pub mod connector;
pub mod program;
pub mod storage;
