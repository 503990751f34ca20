//! The orchestrator over a small scripted provider that costs money: choice, rounds, proof that machines are gone,
//! `auto`, waiting for capacity, and what is seen while a machine comes up. Real storage, no network.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it must be"
)]

mod clock;
mod cloud;
mod keys;
mod ordering;
mod retention;
mod rig;
mod sweeping;
mod trouble;
mod watching;
