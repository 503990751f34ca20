//! The process table where there is no `/proc`: by asking `ps`. Best effort, never run on such a system by us.
//!
//! There is no subreaper: a descendant whose parent died belongs to the system, so only [`crate::sweep`] of a
//! caller and the process group reach it.

use std::io;
use std::process::{Command, Stdio};

/// One row of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its id.
    pub(crate) pid: i32,
    /// Its parent's.
    pub(crate) ppid: i32,
    /// A number made from the start time as `ps` shows it.
    pub(crate) start_time: u64,
    /// Its state as one letter.
    pub(crate) state: u8,
}

impl Row {
    /// Whether it has ended and only waits to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        self.state == b'Z'
    }

    /// Whether it cannot run before it is told to go on.
    pub(crate) fn is_still(&self) -> bool {
        self.is_dead() || self.state == b'T'
    }
}

/// There is none here.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// Every process that can be seen.
pub(crate) fn table() -> Vec<Row> {
    ask(&["-axo", "pid=,ppid=,state=,lstart="])
}

/// One process.
pub(crate) fn row(pid: i32) -> Option<Row> {
    ask(&["-o", "pid=,ppid=,state=,lstart=", "-p", &pid.to_string()]).pop()
}

fn ask(arguments: &[&str]) -> Vec<Row> {
    let output = Command::new("ps").args(arguments).stdin(Stdio::null()).output();
    let Ok(output) = output else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let pid = words.next()?.parse().ok()?;
    let ppid = words.next()?.parse().ok()?;
    let state = *words.next()?.as_bytes().first()?;
    // FNV-1a: any stable number will do, it is only compared with itself.
    let start_time = words.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Some(Row { pid, ppid, start_time, state })
}

/// Whether the environment that the process was started with holds exactly this `NAME=value`.
pub(crate) fn environment_has(pid: i32, entry: &str) -> bool {
    let output = Command::new("ps").args(["eww", "-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_ascii_whitespace().any(|word| word == entry)
    })
}

/// Whether one of the arguments that the process was started with is that word.
pub(crate) fn arguments_have(pid: i32, word: &str) -> bool {
    let output = Command::new("ps").args(["ww", "-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_ascii_whitespace().any(|found| found == word)
    })
}

/// Not told here.
pub(crate) fn machine_boot() -> Option<String> {
    None
}

/// Not told here.
pub(crate) fn out_of_memory_kills() -> Option<u64> {
    None
}

/// No NVIDIA cards here.
pub(crate) fn has_nvidia() -> bool {
    false
}

/// No NVIDIA cards here.
pub(crate) fn gpu_count() -> usize {
    0
}
