//! What machines were billed for: seconds that a job needed, and others.
//!
//! A machine is needed from the moment on from which its vendor bills it until the attempt that it serves last is over,
//! and for as long after that as was asked for (kept warm, or held for a look). An attempt is over
//!
//! - that ended by itself or by a limit: when its end is written down, which is when what it left is home;
//! - that its user stopped: when its training ended, or where it had not begun, when that was asked for;
//! - whose agent was lost with the training, or never came up: at that very moment, though nobody knows yet.
//!
//! What is billed after that is of no use to any job. It is counted in four parts: see [`Use`].

use std::fmt;

use tokio::time::Instant;
use trainyard_domain::{AttemptNumber, JobId};

use crate::memory::{Disk, How, locked};
use crate::run::Ended;
use crate::world::{Machine, Run, Vendor};

/// Seconds that machines were billed, and what of them no job needed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Use {
    /// All of them.
    pub billed_s: f64,
    /// Until somebody first asked for the removal of a machine that no job needed any more.
    pub idle_s: f64,
    /// The same where its agent was lost or never came: until it could be told from one that is slow.
    pub silent_s: f64,
    /// From when its removal was first asked for until it was gone: the vendor took its time, refused, or ignored it.
    pub leaving_s: f64,
    /// Machines that nobody ordered: made beside another one by the vendor, or planted.
    pub unasked_s: f64,
}

impl Use {
    /// Adds another scenario's.
    pub fn add(&mut self, other: &Use) {
        self.billed_s += other.billed_s;
        self.idle_s += other.idle_s;
        self.silent_s += other.silent_s;
        self.leaving_s += other.leaving_s;
        self.unasked_s += other.unasked_s;
    }

    /// What of the time was idle, in percent: what is ours to avoid.
    pub fn idle_percent(&self) -> f64 {
        100.0 * self.idle_s / self.billed_s.max(1.0)
    }

    /// What of the time no job needed, whoever is to blame for it, in percent.
    pub fn unneeded_percent(&self) -> f64 {
        let unneeded = self.idle_s + self.silent_s + self.leaving_s + self.unasked_s;
        100.0 * unneeded / self.billed_s.max(1.0)
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |seconds: f64| 100.0 * seconds / self.billed_s.max(1.0);
        write!(
            f,
            "of {:.0} billed seconds no job needed {:.2} %: {:.2} % idle, {:.2} % silent, {:.2} % leaving, {:.2} % unasked",
            self.billed_s,
            self.unneeded_percent(),
            percent(self.idle_s),
            percent(self.silent_s),
            percent(self.leaving_s),
            percent(self.unasked_s)
        )
    }
}

/// Until when a machine was needed, and whether it was lost then.
struct Need {
    until: Instant,
    lost: bool,
}

/// Judges every machine that cost something.
pub(super) fn use_of_time(ended: &Ended) -> Use {
    let disk = locked(&ended.disk);
    let mut sum = Use::default();
    ended.world.with(|state| {
        for machine in &state.machines {
            let vendor = Vendor::named(&machine.vendor).filter(|vendor| vendor.costs);
            let Some((vendor, end)) = vendor.zip(machine.end()) else { continue };
            let Some(from) = machine.billed_from(vendor.billing.from_up).filter(|from| *from < end) else {
                continue;
            };
            let seconds = |a: Instant, b: Instant| b.saturating_duration_since(a.max(from)).as_secs_f64();
            sum.billed_s += seconds(from, end);
            let wanted_gone = machine.wanted_gone.map_or(end, |at| at.min(end));
            match need(ended, &disk, machine, end) {
                None => sum.unasked_s += seconds(from, end),
                Some(Need { until, lost }) => {
                    let idle = seconds(until, wanted_gone);
                    if lost {
                        sum.silent_s += idle;
                    } else {
                        sum.idle_s += idle;
                    }
                    sum.leaving_s += seconds(until.max(wanted_gone), end);
                    note(ended, machine, idle, lost);
                }
            }
        }
    });
    sum
}

/// Something to look at where a machine was idle for long.
fn note(ended: &Ended, machine: &Machine, idle: f64, lost: bool) {
    const LONG_S: f64 = 30.0;
    if idle > LONG_S && !lost {
        ended.world.note(|| format!("{} was idle for {idle:.1} s", machine.order));
    }
}

/// Until when a machine was needed; none: the ledger does not know it.
fn need(ended: &Ended, disk: &Disk, machine: &Machine, end: Instant) -> Option<Need> {
    let (_, entry) = disk.machines.get(&machine.order)?;
    if entry.provider_job_id.as_ref().is_some_and(|id| *id != machine.id) {
        return None;
    }
    let (job, attempt) = entry.attempts.last()?;
    let Some(over) = disk.over.get(&(job.clone(), *attempt)) else {
        return Some(Need { until: end, lost: false });
    };
    let run = run_of(machine, job, *attempt);
    Some(match over.how {
        How::Ended(more) => Need { until: over.at + more, lost: false },
        How::Stopped => {
            let cancelled = ended.told.get(job).and_then(|told| told.cancelled_at).unwrap_or(over.at);
            let trained = run.map(|run| run.ended.unwrap_or(end));
            Need { until: trained.unwrap_or(cancelled).min(over.at), lost: false }
        }
        How::Lost => {
            let dead = machine.lost_its_run.filter(|at| *at < over.at);
            let never_up = machine.up_from.is_none().then_some(machine.born);
            let lost = dead.or(never_up);
            Need { until: lost.unwrap_or(over.at), lost: lost.is_some() }
        }
    })
}

fn run_of<'a>(machine: &'a Machine, job: &JobId, attempt: AttemptNumber) -> Option<&'a Run> {
    machine.runs().find(|run| run.job == *job && run.attempt == attempt)
}

/// Billed seconds that no job needed and that are ours to avoid: of all of them at most so many percent.
pub const IDLE_PERCENT_MAX: f64 = 1.0;
