//! What only Linux has: the process table under `/proc`, and the subreaper.

use std::fs;
use std::io;

/// One row of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its id.
    pub(crate) pid: i32,
    /// Its parent's.
    pub(crate) ppid: i32,
    /// When it started, in the system's ticks since boot: with the id it names one process for ever.
    pub(crate) start_time: u64,
    /// Its state as one letter.
    pub(crate) state: u8,
}

impl Row {
    /// Whether it has ended and only waits to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it cannot run before it is told to go on.
    pub(crate) fn is_still(&self) -> bool {
        self.is_dead() || matches!(self.state, b'T' | b't')
    }
}

/// Lets orphans of everything below this process come to it instead of to the system.
pub(crate) fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)
}

/// Every process that can be seen.
pub(crate) fn table() -> Vec<Row> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(row).collect()
}

/// One process.
pub(crate) fn row(pid: i32) -> Option<Row> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &stat)
}

fn parse(pid: i32, stat: &[u8]) -> Option<Row> {
    // The second field is the program's name in parentheses, which may itself hold blanks and parentheses.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let ppid = fields.next()?.parse().ok()?;
    // Fields count from 1 in proc(5): the state is the third, the start time the 22nd.
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(Row { pid, ppid, start_time, state })
}

/// Whether the environment that the process was started with holds exactly this `NAME=value`.
pub(crate) fn environment_has(pid: i32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|found| found == entry.as_bytes()))
}

/// Whether one of the arguments that the process was started with is that word.
pub(crate) fn arguments_have(pid: i32, word: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|&byte| byte == 0).any(|found| found == word.as_bytes()))
}

/// The id of this boot of the machine.
pub(crate) fn machine_boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// How often the kernel killed for lack of memory in this control group; none where that is not told.
pub(crate) fn out_of_memory_kills() -> Option<u64> {
    let text = fs::read_to_string("/sys/fs/cgroup/memory.events")
        .or_else(|_| fs::read_to_string("/sys/fs/cgroup/memory/memory.oom_control"))
        .ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Whether there is an NVIDIA card at all, with a driver or without.
pub(crate) fn has_nvidia() -> bool {
    let is_card = |device: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(device.path().join(name)).unwrap_or_default();
        // NVIDIA's number among the makers of devices, and the class of displays.
        read("vendor").trim() == "0x10de" && read("class").starts_with("0x03")
    };
    gpu_count() > 0 || fs::read_dir("/sys/bus/pci/devices").is_ok_and(|all| all.flatten().any(is_card))
}

/// How many NVIDIA cards this machine shows.
pub(crate) fn gpu_count() -> usize {
    fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |cards| cards.flatten().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_table() {
        let stat = b"42 (a) b (c)) S 7 1 1 0 -1 4 0 0 0 0 3 4 0 0 20 0 1 0 9876 1 2 3";
        assert_eq!(parse(42, stat), Some(Row { pid: 42, ppid: 7, start_time: 9876, state: b'S' }));
        assert_eq!(parse(42, b"42 (cut"), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = std::process::id() as i32;
        let found = table().into_iter().find(|row| row.pid == me).unwrap();
        assert!(!found.is_dead());
        assert_eq!(row(me).unwrap().start_time, found.start_time);
    }
}
