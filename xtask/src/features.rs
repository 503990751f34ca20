//! Whether every selection of features builds and passes, one provider at a time: the workspace's own build has them all
//! at once, so that a line which needs a neighbour's feature would not be seen there.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A package with features and without its defaults, and what Cargo does with it.
struct Selection {
    /// What it is, in a word.
    name: &'static str,
    package: &'static str,
    /// Separated by commas; may be empty.
    features: &'static str,
    /// What is run, one after the other. Lints come first: they need no linking.
    commands: &'static [&'static str],
}

const LINT: &[&str] = &["clippy"];
const WHOLE: &[&str] = &["clippy", "build", "test"];

/// What is embedded, by the provider it is for; and the one binary with fewer clouds.
const SELECTIONS: &[Selection] = &[
    Selection { name: "nothing", package: "trainyard", features: "", commands: LINT },
    Selection { name: "storage alone", package: "trainyard", features: "sqlite", commands: WHOLE },
    Selection { name: "local", package: "trainyard", features: "sqlite,local", commands: WHOLE },
    Selection { name: "runpod", package: "trainyard", features: "sqlite,runpod", commands: WHOLE },
    Selection { name: "lambda", package: "trainyard", features: "sqlite,lambda", commands: WHOLE },
    Selection { name: "vastai", package: "trainyard", features: "sqlite,vastai", commands: WHOLE },
    Selection { name: "binary without clouds", package: "trainyard-cli", features: "", commands: LINT },
    Selection { name: "binary with runpod", package: "trainyard-cli", features: "runpod", commands: LINT },
    Selection { name: "binary with lambda", package: "trainyard-cli", features: "lambda", commands: LINT },
    Selection { name: "binary with vastai", package: "trainyard-cli", features: "vastai", commands: LINT },
];

/// Tries every selection, or those whose name contains a word; says of each how long it took and whether it passed.
///
/// # Errors
/// Where Cargo cannot be started.
pub(crate) fn run(root: &Path, word: Option<&str>, say: impl Fn(&str)) -> io::Result<bool> {
    let (mut passes, mut tried) = (true, 0);
    for selection in SELECTIONS.iter().filter(|one| word.is_none_or(|word| one.name.contains(word))) {
        tried += 1;
        let began = Instant::now();
        let mut failed = None;
        for command in selection.commands {
            if !cargo(root, selection, command)? {
                failed = Some(command);
                break;
            }
        }
        let took = began.elapsed().as_secs();
        let (name, commands) = (selection.name, selection.commands.join(", "));
        match failed {
            None => say(&format!("{name}: {commands} passed in {took} s")),
            Some(command) => say(&format!("{name}: {command} FAILED after {took} s")),
        }
        passes &= failed.is_none();
    }
    say(&format!("features: {tried} selections, {}", if passes { "all passed" } else { "NOT all passed" }));
    Ok(passes && tried > 0)
}

fn cargo(root: &Path, selection: &Selection, command: &str) -> io::Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args([command, "--locked", "--quiet", "--package", selection.package]);
    cargo.args(["--no-default-features", "--features", selection.features]);
    if command == "clippy" {
        cargo.args(["--", "--deny", "warnings"]);
    }
    Ok(cargo.status()?.success())
}
