//! Processes by identity, by descent and by mark; how all of them are stopped or ended.
//!
//! A pid alone is not a name: it is used again. With the start time it is. A set of processes is stopped first and
//! killed then, so that none can fork away in between: a stopped process makes no children, and a look at the table
//! that finds nobody new after everybody known was stopped has found everybody.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::entry::AGENT;
use crate::system::{self, Row};

/// The environment variable that every process of a training inherits; its value is the order's name.
pub const MARK: &str = crate::protocol::MARK;

/// How long stopped processes are waited for: a signal is taken at the next return from the kernel.
const STILL_WITHIN: Duration = Duration::from_secs(1);
/// Rounds of stopping before killing begins regardless: a fork bomb is met by several looks at the table.
const ROUNDS_MAX: usize = 64;
/// How long [`sweep`] tries: a process that hangs in the kernel (a dead network disk) cannot be killed.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the table.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One process for ever: its id and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// When it started, in a unit of the system's own; only compared.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this id now; none where there is none.
    pub fn of(pid: i32) -> Option<ProcessId> {
        system::row(pid).map(|row| ProcessId { pid, start_time: row.start_time })
    }

    /// This process.
    pub fn own() -> Option<ProcessId> {
        i32::try_from(std::process::id()).ok().and_then(ProcessId::of)
    }

    /// Whether it runs. One that has ended and waits to be reaped does not.
    pub fn is_alive(&self) -> bool {
        system::row(self.pid).is_some_and(|row| row.start_time == self.start_time && !row.is_dead())
    }

    /// Kills it (SIGKILL) if it is still the one meant. Says whether a signal was sent.
    pub fn kill(&self) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), Signal::SIGKILL).is_ok()
    }
}

/// Kills every process that bears the mark of this order, its agent, and every descendant of one, and waits until none
/// is left (at most 10 s). For whoever starts agents on this machine: what it finds are trainings whose agent and warden
/// are both dead, and an agent that had not yet written down who it is when its starter crashed. Blocks. Says how many
/// were killed.
pub fn sweep(order: &str) -> usize {
    let entry = format!("{MARK}={order}");
    let me = std::process::id() as i32;
    let select = |table: &[Row]| -> Vec<Row> {
        let marked: Vec<i32> = table
            .iter()
            .filter(|row| row.pid != me && !row.is_dead())
            .filter(|row| system::environment_has(row.pid, &entry) || is_agent_of(row.pid, order))
            .map(|row| row.pid)
            .collect();
        below(table, &marked, true)
    };
    let until = Instant::now() + SWEEP_WITHIN;
    let mut killed = HashSet::new();
    loop {
        let found = exterminate(select);
        if found.is_empty() || Instant::now() > until {
            return killed.len();
        }
        killed.extend(found.into_iter().map(|row| (row.pid, row.start_time)));
        thread::sleep(LOOK_EVERY);
    }
}

/// The agent of an order by its command line: it is found before it has written down who it is. None where none runs.
pub fn agent_of(order: &str) -> Option<ProcessId> {
    let me = std::process::id() as i32;
    let table = system::table();
    let agent = table.iter().find(|row| row.pid != me && !row.is_dead() && is_agent_of(row.pid, order));
    agent.map(|row| ProcessId { pid: row.pid, start_time: row.start_time })
}

/// An agent's command line names its order; see [`entry`](crate::entry).
fn is_agent_of(pid: i32, order: &str) -> bool {
    system::arguments_have(pid, order) && system::arguments_have(pid, AGENT)
}

/// The living descendants of some processes; with the processes themselves where asked.
pub(crate) fn below(table: &[Row], roots: &[i32], with_roots: bool) -> Vec<Row> {
    let mut known: HashSet<i32> = roots.iter().copied().collect();
    loop {
        let before = known.len();
        known.extend(
            table.iter().filter(|row| known.contains(&row.ppid)).map(|row| row.pid).collect::<Vec<_>>(),
        );
        if known.len() == before {
            break;
        }
    }
    let wanted =
        |row: &&Row| known.contains(&row.pid) && !row.is_dead() && (with_roots || !roots.contains(&row.pid));
    table.iter().filter(wanted).copied().collect()
}

/// Every living descendant of this process.
pub(crate) fn descendants(table: &[Row]) -> Vec<Row> {
    below(table, &[std::process::id() as i32], false)
}

/// Sends one signal to each.
pub(crate) fn signal_all(rows: &[Row], signal: Signal) {
    for row in rows {
        // One that has ended meanwhile is as good as signalled.
        let _ = kill(Pid::from_raw(row.pid), signal);
    }
}

/// Stops (SIGSTOP) every process that `select` finds, until it finds nobody new. Returns them.
fn freeze(select: impl Fn(&[Row]) -> Vec<Row>) -> Vec<Row> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let fresh: Vec<Row> = select(&system::table())
            .into_iter()
            .filter(|row| seen.insert((row.pid, row.start_time)))
            .collect();
        if fresh.is_empty() {
            break;
        }
        signal_all(&fresh, Signal::SIGSTOP);
        all.extend(fresh);
    }
    all
}

/// Stops every process that `select` finds and waits until none of them runs (at most a second).
pub(crate) fn stop_all(select: impl Fn(&[Row]) -> Vec<Row>) {
    let until = Instant::now() + STILL_WITHIN;
    loop {
        freeze(&select);
        if select(&system::table()).iter().all(Row::is_still) || Instant::now() > until {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Kills every process that `select` finds, stopped before so that none forks away. One round: those that were
/// found. They may still be dying when this returns.
pub(crate) fn exterminate(select: impl Fn(&[Row]) -> Vec<Row>) -> Vec<Row> {
    let all = freeze(select);
    signal_all(&all, Signal::SIGKILL);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: i32, ppid: i32, state: u8) -> Row {
        Row { pid, ppid, start_time: 1, state }
    }

    #[test]
    fn descent_is_followed_through_the_dead() {
        let table = [row(5, 4, b'S'), row(4, 3, b'Z'), row(3, 2, b'S'), row(2, 1, b'S'), row(9, 1, b'S')];
        let pids = |rows: Vec<Row>| rows.into_iter().map(|row| row.pid).collect::<Vec<_>>();
        assert_eq!(pids(below(&table, &[2], false)), [5, 3]);
        assert_eq!(pids(below(&table, &[2], true)), [5, 3, 2]);
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        let earlier = ProcessId { start_time: own.start_time.wrapping_sub(1), ..own };
        assert!(!earlier.is_alive());
        assert!(!earlier.kill());
    }

    #[test]
    fn a_sweep_for_a_name_that_nobody_bears_finds_nothing() {
        assert_eq!(sweep("ty-nobody00-00000000000000000000000000"), 0);
    }
}
