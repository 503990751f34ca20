//! The machine lease: what an agent does while nobody speaks to it. One pure decision; who acts on it is `agent`.
//!
//! It promises: a training whose orchestrator is silent goes on to its end unless its owner said otherwise; its outputs
//! are held for `hold_s` counted from the later of its end and the last word, so that a laptop that slept through both
//! finds them; a machine that its vendor gave the means to goes at the end of the hold and at the end of its budget,
//! whichever comes first, and whatever runs on it. The deadline of a training is the training's own: `supervise` keeps
//! it, pauses left out.

use std::time::Duration;

use trainyard_domain::{Limits, WhenOrchestratorLost};

use super::attempt::Why;

/// What an agent knows at one moment.
#[derive(Debug, Clone)]
pub(super) struct Standing<'a> {
    pub(super) stage: Stage<'a>,
    /// How long nobody who may command has spoken, beyond what a renewal promised.
    pub(super) silence: Duration,
    /// How long until the machine has to be gone; none: no such time.
    pub(super) machine_left: Option<Duration>,
    /// Silence that is borne before anything was started.
    pub(super) unstarted_for: Duration,
}

/// How far the agent is.
#[derive(Debug, Clone)]
pub(super) enum Stage<'a> {
    /// Nothing was started by this boot of it.
    Idle,
    /// A training is prepared or runs.
    Working { limits: &'a Limits, paused: bool, stopping: bool },
    /// It ended, with that exit code and so long ago.
    Ended { limits: &'a Limits, code: i32, ago: Duration },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Wait,
    /// Stop the training with that grace.
    Stop { grace: Duration, why: Why },
    /// The machine is of no more use to anybody: why.
    Go(&'static str),
}

/// Decides. It knows no clock: what it is told is all that counts.
pub(super) fn decide(standing: &Standing<'_>) -> Verdict {
    if standing.machine_left == Some(Duration::ZERO) {
        return Verdict::Go("what may be spent on this machine is used up");
    }
    match &standing.stage {
        Stage::Idle if standing.silence > standing.unstarted_for => {
            Verdict::Go("nothing was started on this machine and nobody speaks to it")
        }
        Stage::Ended { limits, code, ago } if standing.silence.min(*ago) > hold(limits, *code) => {
            Verdict::Go("the outputs were held for long enough and nobody came for them")
        }
        Stage::Working { stopping: true, .. } | Stage::Idle | Stage::Ended { .. } => Verdict::Wait,
        Stage::Working { limits, paused, stopping: false } => working(standing, limits, *paused),
    }
}

fn working(standing: &Standing<'_>, limits: &Limits, paused: bool) -> Verdict {
    let grace = Duration::from_secs(limits.grace_period_s);
    if standing.machine_left.is_some_and(|left| left <= grace) {
        return Verdict::Stop { grace, why: Why::Budget };
    }
    let patience = match (limits.when_orchestrator_lost, paused) {
        (WhenOrchestratorLost::Stop, _) => Some(limits.max_silence_s),
        // The deadline does not count while a training is paused: without its orchestrator it would never end.
        (WhenOrchestratorLost::Finish, true) => Some(limits.hold_s),
        (WhenOrchestratorLost::Finish, false) => None,
    };
    match patience {
        Some(seconds) if standing.silence > Duration::from_secs(seconds) => {
            Verdict::Stop { grace, why: Why::Silence }
        }
        Some(_) | None => Verdict::Wait,
    }
}

/// How long outputs wait to be fetched.
fn hold(limits: &Limits, code: i32) -> Duration {
    let seconds = if code == 0 { limits.hold_s } else { limits.hold_s.max(limits.hold_on_failure_s) };
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;
