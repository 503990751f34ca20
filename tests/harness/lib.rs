//! What tests of the whole need: a real server, a directory of its own, and patience with a limit.
//!
//! A test passes `env!("CARGO_BIN_EXE_trainyard-under-test")`, which Cargo builds before it. Trainings outlive a
//! server by design, so a test ends its jobs; [`Server`] stops the server and nothing else.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time for a server to be ready, for a loaded machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest time for a server to end once asked.
const END_MAX: Duration = Duration::from_secs(20);

/// Says aloud what could not be tested here. Past the capture of output, so that it is seen when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A running `trainyard serve` on a free port with a fresh data directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts one on a free port, with further arguments for `serve`.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    pub fn start(binary: &str, arguments: &[&str]) -> Server {
        Server::listening(binary, "127.0.0.1:0", arguments)
    }

    /// Starts one that listens there.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    pub fn listening(binary: &str, address: &str, arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", address, "--ready-json", "--data"]);
        command.arg(directory.path().join("trainyard-data")).args(arguments);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let url = ready(&mut child);
        Server { child, url, directory }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("trainyard-data")
    }

    /// The directory it was started in, for files of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The URL of the line that the server prints when it is ready.
fn ready(child: &mut Child) -> String {
    let output = child.stdout.take().expect("a pipe");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines();
        let _ = tell.send(lines.next());
        // What it prints later must not fill the pipe.
        lines.for_each(drop);
    });
    let line = told.recv_timeout(READY_MAX).expect("ready in time").expect("a line").expect("UTF-8");
    let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
    ready["url"].as_str().expect("`url`").to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            // waits: for a process to end; there is no event for it in the standard library
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
