//! What the workspace does to itself, as `cargo xtask NAME`.
//!
//! `features` builds and tests what is embedded with one provider at a time. `mutants` takes guards of the product away
//! and sees the simulation go red. `tidy` reads every tracked file and says what does not belong there. It needs no
//! network and no build of the product, so that it is quick enough to run before every commit.

mod features;
mod mutants;
mod tidy;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask tidy              check every tracked file for what compilers do not see
       cargo xtask features [WORD]   build and test with one provider at a time
       cargo xtask mutants [WORD]    take a guard away at a time, and see a test go red";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => run_tidy(),
        ["features"] => run_features(None),
        ["features", word] => run_features(Some(word)),
        ["mutants"] => run_mutants(None),
        ["mutants", word] => run_mutants(Some(word)),
        _ => {
            say(USAGE);
            ExitCode::from(2)
        }
    }
}

/// Cargo says at run time whose manifest it runs, so that one build serves several checkouts. It lies one directory
/// under the workspace's root.
fn root() -> PathBuf {
    let crate_root =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(crate_root).join("..")
}

fn run_features(word: Option<&str>) -> ExitCode {
    match features::run(&root(), word, say) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("cargo could not be started: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run_mutants(word: Option<&str>) -> ExitCode {
    match mutants::run(&root(), word, say) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("mutants could not be tried: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run_tidy() -> ExitCode {
    match tidy::run(&root()) {
        Ok(report) => {
            report.findings.iter().for_each(|finding| say(&finding.to_string()));
            say(&report.summary());
            if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&format!("tidy could not look: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Prints a line; a reader that went away (a closed pipe) is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
