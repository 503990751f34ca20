//! Corruptions of artifact transfers, manifests and resumes, by chance over a corpus of kinds: none is accepted.
//!
//! The orchestrator, its client of agents and its stores are the real ones; the agents are liars. A share runs in the
//! suite; `TRAINYARD_CORRUPTIONS=100000` makes that many, half of them of transfers and manifests, half of resumes, and a
//! tenth as many of checkpoints: on their way home and where they lie.

mod checkpoints;
mod copies;
mod depot;
mod kinds;
mod liar;
mod resumes;
mod transfers;

/// How many corruptions a test makes: half of what is asked for, else its share.
#[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
fn wanted(share: usize) -> usize {
    std::env::var("TRAINYARD_CORRUPTIONS")
        .ok()
        .map_or(share, |text| text.parse::<usize>().expect("`TRAINYARD_CORRUPTIONS` is a number").div_ceil(2))
}
