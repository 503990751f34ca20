//! Whether the suite can fail: one guard of the product is taken away at a time, in a copy of the tree, and a named test
//! must then go red. A mutant that does not fit the source any more, or does not compile, is an error of this table.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// One guard, taken away.
struct Mutant {
    /// What is missing.
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    /// The test of `tests/simulation` that must fail.
    test: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "no adopting of what an unanswered order made",
        file: "crates/trainyard-orchestrator/src/reconcile/settle.rs",
        find: "if let Some(machine) = provider.sightings.latest(&asked.order, None) {",
        replace: "if let Some(machine) = provider.sightings.latest(&asked.order, None).filter(|_| false) {",
        test: "points",
    },
    Mutant {
        name: "no settling time",
        file: "crates/trainyard-orchestrator/src/reconcile/settle.rs",
        find: "    let settled = asked.ordered_at + provider.settle();\n    match",
        replace: "    let settled = asked.ordered_at;\n    match",
        test: "seeds",
    },
    Mutant {
        name: "no comparing of digests",
        file: "crates/trainyard-storage/src/artifacts/ingest.rs",
        find: "if actual != expected {",
        replace: "if actual != expected && path.is_empty() {",
        test: "seeds",
    },
    Mutant {
        name: "no second reading of a bill",
        file: "crates/trainyard-orchestrator/src/money/settle.rs",
        find: "let settled = (same && enough)",
        replace: "let settled = enough",
        test: "seeds",
    },
    Mutant {
        name: "no clock that cannot be set for what is kept",
        file: "crates/trainyard-orchestrator/src/reconcile/keep.rs",
        find: "let left = still_kept(core, job, left);",
        replace: "let left = still_kept(core, job, left).max(left);",
        test: "seeds",
    },
    Mutant {
        name: "no fence",
        file: "crates/trainyard-storage/src/sqlite/commit.rs",
        find: " AND fence <= $3 RETURNING seq",
        replace: " AND $3 >= 0 RETURNING seq",
        test: "storage",
    },
    Mutant {
        name: "no fsync of a file",
        file: "crates/trainyard-storage/src/artifacts/ingest.rs",
        find: "bytes.sync_all()?;",
        replace: "drop(bytes);",
        test: "storage",
    },
];

/// Seeds that a mutant is tried with.
const SEEDS: &str = "3000";

/// Tries every mutant, or those whose name contains a word. Says of each whether it was caught.
///
/// # Errors
/// Where a mutant does not fit or the copy cannot be made.
pub(crate) fn run(root: &Path, word: Option<&str>, say: impl Fn(&str)) -> io::Result<bool> {
    let root = root.canonicalize()?;
    let copy = root.join("target/mutants");
    let mut caught = true;
    for mutant in MUTANTS.iter().filter(|mutant| word.is_none_or(|word| mutant.name.contains(word))) {
        renew(&root, &copy)?;
        apply(&copy, mutant)?;
        if !cargo(&root, &copy, mutant, &["--no-run"])? {
            return Err(io::Error::other(format!("{}: it does not compile", mutant.name)));
        }
        let passes = cargo(&root, &copy, mutant, &[])?;
        caught &= !passes;
        let found = if passes { "NOT CAUGHT" } else { "caught" };
        say(&format!("{}: {found} by `{}`", mutant.name, mutant.test));
    }
    Ok(caught)
}

/// Brings the copy up to date with every file that git knows or would take.
fn renew(root: &Path, copy: &Path) -> io::Result<()> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), copy.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        // What is the same keeps its time, so that it is not built again.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&to, bytes)?;
    }
    Ok(())
}

fn apply(copy: &Path, mutant: &Mutant) -> io::Result<()> {
    let path = copy.join(mutant.file);
    let text = fs::read_to_string(&path)?;
    if text.matches(mutant.find).count() != 1 {
        let what = format!("{}: `{}` is not there once in {}", mutant.name, mutant.find, mutant.file);
        return Err(io::Error::other(what));
    }
    fs::write(&path, text.replace(mutant.find, mutant.replace))
}

fn cargo(root: &Path, copy: &Path, mutant: &Mutant, arguments: &[&str]) -> io::Result<bool> {
    let manifest = copy.join("tests/simulation/Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--test", mutant.test, "--manifest-path"]).arg(manifest).args(arguments);
    // What it is built from besides is built once for both.
    cargo.env("CARGO_TARGET_DIR", root.join("tests/simulation/target"));
    // A count, and not a minute: what is caught must not hang on how busy the machine is.
    cargo.env("TRAINYARD_SIMULATION_SEEDS", SEEDS);
    let ran = cargo.output()?;
    Ok(ran.status.success())
}
