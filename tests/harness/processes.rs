//! Processes as the system tells of them (`/proc`), so that a test believes its own eyes and not the product's.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(
    /// Its id.
    pub i32,
);

impl Process {
    /// Every process that runs; one that has ended and waits to be reaped does not.
    pub fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.map(Process).filter(Process::is_alive).collect()
    }

    /// Every process that bears an environment variable with that value.
    pub fn with_variable(name: &str, value: &str) -> Vec<Process> {
        Process::all().into_iter().filter(|process| process.variable(name) == value).collect()
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.stat().first().is_some_and(|state| state != "Z" && state != "X")
    }

    /// Whether it is stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        self.stat().first().is_some_and(|state| state == "T")
    }

    /// Processor time that it has used, in ticks of the kernel (mostly 10 ms).
    pub fn ticks(&self) -> u64 {
        let stat = self.stat();
        let ticks = |at: usize| stat.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        ticks(11) + ticks(12)
    }

    /// Its arguments, program included.
    pub fn command_line(&self) -> Vec<String> {
        words(&self.read("cmdline"))
    }

    /// A variable of the environment that it was started with; empty where there is none.
    pub fn variable(&self, name: &str) -> String {
        let start = format!("{name}=");
        let variables = words(&self.read("environ"));
        variables.iter().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
    }

    /// Sends it a signal. One that is gone is as good as signalled.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.0), signal);
    }

    /// Kills it.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// The fields of its `stat` from the state on.
    fn stat(&self) -> Vec<String> {
        let stat = String::from_utf8_lossy(&self.read("stat")).into_owned();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter()
            .filter(|f| !f.is_empty())
            .collect()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{name}", self.0)).unwrap_or_default()
    }
}

fn words(bytes: &[u8]) -> Vec<String> {
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
