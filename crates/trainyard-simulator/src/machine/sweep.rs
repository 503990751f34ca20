//! Nothing of a machine outlives it.
//!
//! An agent leaves its session and takes in orphans, and it starts its training with an environment of its own; so
//! neither a process group nor the environment alone tells what belongs to a machine. A process does where it was
//! started with the mark, works inside the machine's directory, or descends from one that does. They are stopped
//! first and killed then, so that none forks away in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that hangs in the kernel cannot be killed: it is given up after that.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the process table.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Kills them all and waits until they are gone; says how many there were. Blocks, at most 10 s.
pub(crate) fn kill_all(mark: &str, root: &Path) -> usize {
    let until = Instant::now() + WITHIN;
    let mut killed = BTreeSet::new();
    loop {
        let found = freeze(mark, root);
        if found.is_empty() || Instant::now() > until {
            return killed.len();
        }
        for pid in found {
            signal(pid, Signal::SIGKILL);
            killed.insert(pid);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// How many there are.
pub(crate) fn count(mark: &str, root: &Path) -> usize {
    members(mark, root).len()
}

/// Stops them until nobody new is found.
fn freeze(mark: &str, root: &Path) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    loop {
        let fresh: Vec<i32> = members(mark, root).difference(&all).copied().collect();
        if fresh.is_empty() {
            return all;
        }
        for pid in fresh {
            signal(pid, Signal::SIGSTOP);
            all.insert(pid);
        }
    }
}

fn signal(pid: i32, signal: Signal) {
    // One that has ended meanwhile is as good as signalled.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Who belongs to the machine and has not ended.
fn members(mark: &str, root: &Path) -> BTreeSet<i32> {
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    let parents: BTreeMap<i32, i32> =
        processes().filter(|pid| *pid != me).filter_map(|pid| Some((pid, living_parent(pid)?))).collect();
    let own = parents.keys().copied().filter(|pid| is_marked(*pid, mark) || is_inside(*pid, root));
    let mut members: BTreeSet<i32> = own.collect();
    loop {
        let below = parents.iter().filter(|(pid, parent)| members.contains(parent) && !members.contains(pid));
        let below: Vec<i32> = below.map(|(pid, _)| *pid).collect();
        if below.is_empty() {
            return members;
        }
        members.extend(below);
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// None of one that has ended.
fn living_parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself hold blanks and parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(parent)
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
}

fn is_inside(pid: i32, root: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(root))
}
