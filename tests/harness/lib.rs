//! What tests of the whole need: a real server, a directory of its own, and patience with a limit.
//!
//! A test passes `env!("CARGO_BIN_EXE_trainyard-under-test")`, which Cargo builds before it. Trainings outlive a
//! server by design; [`Server`], when it is dropped, stops the server and then kills whatever was started below its
//! directory, so that a test that fails leaves nothing running.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod http;
mod processes;
mod websocket;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

pub use http::{Answer, Call, Http, Open};
pub use processes::Process;
pub use websocket::{Heard, WebSocket};

/// Longest time for a server to be ready, for a loaded machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest time for a server to end once asked.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks at something that has no event of its own.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// The workspace's root. Cargo says at run time whose tests it runs, so that one build serves several checkouts.
pub fn root() -> PathBuf {
    let tests = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(tests).join("..")
}

/// Says aloud what could not be tested here. Past the capture of output, so that it is seen when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The program to test: the one that Cargo built, or the one that `TRAINYARD_UNDER_TEST` names, a release for instance.
pub fn program(built: &str) -> String {
    let named = std::env::var_os("TRAINYARD_UNDER_TEST").filter(|path| !path.is_empty());
    named.map_or_else(|| built.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Waits until there is something to return.
///
/// # Panics
/// If there is nothing within that time; says what was waited for.
#[track_caller]
pub fn until<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}");
        // waits: for the state that the caller names
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A running `trainyard serve` on a free port with a fresh data directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    set_up: SetUp,
    directory: tempfile::TempDir,
}

/// How a server is started.
#[derive(Debug, Clone)]
struct SetUp {
    binary: String,
    address: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
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
        Server::with_variables(binary, address, arguments, &[])
    }

    /// Starts one that listens there, with environment variables.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    pub fn with_variables(
        binary: &str,
        address: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Server {
        let set_up = SetUp {
            binary: program(binary),
            address: address.to_owned(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            variables: variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (child, url) = spawn(&set_up, directory.path());
        Server { child, url, set_up, directory }
    }

    /// Where it listens: `http://127.0.0.1:PORT`. Another port after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client for it.
    pub fn http(&self) -> Http {
        Http::to(&self.url)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("trainyard-data")
    }

    /// The directory it was started in, for files of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it wrote to its standard error, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.directory.path())).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The same, to be looked at and signalled.
    pub fn process(&self) -> Process {
        Process(self.child.id().cast_signed())
    }

    /// Kills it, as a crash would.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn crash(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn end(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended()
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn ended(&mut self) -> ExitStatus {
        until(END_MAX, "the server to end", || self.child.try_wait().expect("a child of ours"))
    }

    /// Asks it to end (SIGTERM).
    pub fn ask_to_end(&self) {
        Process(self.child.id().cast_signed()).signal(Signal::SIGTERM);
    }

    /// Starts it again on the same directory, after it ended or crashed.
    ///
    /// # Panics
    /// If it is not ready within a minute.
    pub fn start_again(&mut self) {
        (self.child, self.url) = spawn(&self.set_up, self.directory.path());
    }

    /// The same, where it may refuse to start.
    ///
    /// # Errors
    /// What it said then.
    ///
    /// # Panics
    /// If it neither starts nor ends within a minute.
    pub fn try_start_again(&mut self) -> Result<(), String> {
        let before = self.log().len();
        let mut child = launch(&self.set_up, self.directory.path());
        let Some(url) = ready(&mut child) else {
            until(END_MAX, "the server to give up", || child.try_wait().expect("a child of ours"));
            return Err(self.log().split_off(before));
        };
        (self.child, self.url) = (child, url);
        Ok(())
    }

    /// Runs the program with these arguments and the server's variables in its directory, and gives what it printed.
    ///
    /// # Panics
    /// If it does not end with 0.
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.set_up.binary);
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.envs(self.set_up.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Every agent that it started and that runs.
    pub fn agents(&self) -> Vec<Process> {
        let data = self.data().display().to_string();
        let is_agent = |line: &[String]| {
            line.iter().any(|word| word == "__agent") && line.iter().any(|word| word.starts_with(&data))
        };
        Process::all().into_iter().filter(|process| is_agent(&process.command_line())).collect()
    }

    fn trainings(&self) -> Vec<Process> {
        let data = self.data().display().to_string();
        let of_ours = |process: &Process| process.variable("TRAINYARD_OUTPUT_DIR").starts_with(&data);
        Process::all().into_iter().filter(of_ours).collect()
    }
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

fn spawn(set_up: &SetUp, directory: &Path) -> (Child, String) {
    let mut child = launch(set_up, directory);
    let url = ready(&mut child).unwrap_or_else(|| {
        panic!("not ready: {}", std::fs::read_to_string(log_file(directory)).unwrap_or_default())
    });
    (child, url)
}

fn launch(set_up: &SetUp, directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log_file(directory)).expect("a log");
    let mut command = Command::new(&set_up.binary);
    command.args(["serve", "--listen", &set_up.address, "--ready-json", "--data"]);
    command.arg(directory.join("trainyard-data")).args(&set_up.arguments);
    command.envs(set_up.variables.iter().map(|(name, value)| (name, value)));
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    command.spawn().expect("the server starts")
}

/// The URL of the line that the server prints when it is ready; none where it ends instead.
fn ready(child: &mut Child) -> Option<String> {
    let output = child.stdout.take().expect("a pipe");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines();
        let _ = tell.send(lines.next());
        // What it prints later must not fill the pipe.
        lines.for_each(drop);
    });
    let line = told.recv_timeout(READY_MAX).ok().flatten().and_then(Result::ok)?;
    let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
    assert_eq!(ready["pid"], child.id(), "{line}");
    assert!(ready["version"].is_string(), "{line}");
    Some(ready["url"].as_str().expect("`url`").to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_end();
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            // waits: for a process to end; there is no event for it in the standard library
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in self.agents().into_iter().chain(self.trainings()) {
            process.signal(Signal::SIGKILL);
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            say(&format!("--- the end of the server's log:\n{}", &log[from..]));
        }
    }
}
