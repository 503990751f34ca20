//! Commands as pages show them, each line run by `sh` beside the page's server.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use trainyard_tests::{Server, say};

/// Longest time for one line, in seconds; `timeout` of the test run is the last resort.
const ASKED_FOR: &[(&str, &str)] = &[("curl", "curl --version"), ("python3", "python3 --version")];

/// Runs every line; all must end with 0.
pub(crate) fn check(binary: &str, server: &Server, variables: &[(&str, &str)], text: &str, place: &str) {
    let programs = server.directory().join("bin");
    if !programs.exists() {
        fs::create_dir(&programs).expect("a directory");
        symlink(binary, programs.join("trainyard")).expect("a link");
    }
    let text = text
        .replace("cargo run --release -- ", "trainyard ")
        .replace("http://127.0.0.1:8000", server.url())
        // `.ci/run` does all of it; here it is enough that it works, beside the page's server.
        .replace("trainyard quickstart", "trainyard quickstart --quick --dir quickstart-data");
    for line in joined(&text) {
        let missing = ASKED_FOR.iter().find(|(name, probe)| line.contains(name) && !succeeds(probe));
        if let Some((name, _)) = missing {
            say(&format!("NOT RUN, there is no {name} here: {line}"));
            continue;
        }
        run(&line, &programs, server, variables, place);
    }
}

/// Lines, with those that end in `\` joined to the next; comments and the start of the server and of the simulated
/// clouds left out: both run already.
fn joined(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let runs_already = |line: &&str| line.starts_with("trainyard serve") || line.starts_with("trainyard sim");
    lines.filter(|line| !runs_already(line)).map(str::to_owned).collect()
}

fn run(line: &str, programs: &Path, server: &Server, variables: &[(&str, &str)], place: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path)));
    let output = Command::new("sh")
        .args(["-eu", "-c", line])
        .current_dir(server.directory())
        .env("PATH", path.expect("a path"))
        .env("TRAINYARD_SERVER", server.url())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{place}: `{line}` gave {}\n{out}\n{err}", output.status);
}

fn succeeds(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}
