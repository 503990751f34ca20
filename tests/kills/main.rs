//! The real server and real agents, killed with SIGKILL at named points and at random, at the simulated clouds and
//! here. What was accepted ends, nothing stays on an invoice, and a stream that comes back misses nothing.
//!
//! In the suite a share of it runs. `TRAINYARD_KILLS=1000 cargo test -p trainyard-tests --test kills -- kill` makes that many
//! kills, `TRAINYARD_KILLS_SEED` repeats a run's choices; each run says its seed.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod corrupt;
mod crowd;
mod dice;
mod here;
mod judge;
mod points;
mod recovery;
mod storm;
mod trouble;
mod yard;

/// How many kills this run makes, where it is to make more than the suite's share.
#[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
fn kills_wanted() -> Option<usize> {
    std::env::var("TRAINYARD_KILLS").ok().map(|text| text.parse().expect("`TRAINYARD_KILLS` is a number"))
}
