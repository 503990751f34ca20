//! Which machine it was, how busy it was, and how much memory a process has.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::Fault;

/// The machine that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gb: f64,
    /// Of the last minute, before and after.
    load: [String; 2],
    /// Milliseconds for 4 KiB to be on the disk, the median.
    fsync_ms: f64,
    release: bool,
    command: String,
    took_s: u64,
}

impl Machine {
    pub(crate) fn new(load_before: String, fsync_s: f64, took_s: u64) -> Machine {
        let memory_kb = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo run --release -p trainyard-benches -- {}", arguments.join(" "));
        Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor(),
            memory_gb: memory_kb.unwrap_or(0) as f64 * 1024.0 / 1e9,
            load: [load_before, load()],
            fsync_ms: fsync_s * 1e3,
            release: !cfg!(debug_assertions),
            command: command.trim_end_matches([' ', '-']).to_owned(),
            took_s,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = &self.load;
        writeln!(f, "machine: {} cores of {}, {:.0} GB", self.cores, self.processor, self.memory_gb)?;
        writeln!(f, "disk: {:.2} ms for 4 KiB to be durable (write, fdatasync; median)", self.fsync_ms)?;
        writeln!(f, "load of the last minute: {before} before, {after} after, this run included")?;
        if !self.release {
            writeln!(f, "NOT A RELEASE BUILD: the figures say nothing")?;
        }
        write!(f, "command: {} ({} s)", self.command, self.took_s)
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The load of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// A number of a file of `/proc`, by the word before it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// In memory now.
    pub(crate) resident: u64,
    /// At most since it was last reset.
    pub(crate) peak: u64,
    /// Of `resident`, pages of files: the program itself.
    pub(crate) of_files: u64,
}

/// What a process holds. Only Linux tells.
pub(crate) fn memory(pid: u32) -> Result<Memory, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes =
        |name| field(&status, name).map(|kb| kb * 1024).ok_or_else(|| format!("no `{name}` of {pid}"));
    Ok(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")?, of_files: bytes("RssFile:")? })
}

/// What Linux counts the time of processes in, towards programs, whatever it does inside.
const TICKS_A_SECOND: f64 = 100.0;

/// Seconds of a processor that a process has used, all its threads together.
pub(crate) fn processor_s(pid: u32) -> Result<f64, Fault> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; what follows its last bracket are numbers, the twelfth and the next in ticks.
    let (_, after) = stat.rsplit_once(')').ok_or("no name in the process's numbers")?;
    let ticks: Vec<u64> =
        after.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / TICKS_A_SECOND)
}

/// Begins a new peak.
pub(crate) fn reset_peak(pid: u32) -> Result<(), Fault> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
