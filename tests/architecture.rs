//! Who may import whom, and what no crate does, read from the manifests and the sources.
//!
//! The table below is the one of `docs/ARCHITECTURE.md`. A new crate, or a new arrow between two, is
//! a decision: it changes this table and that page in the same commit.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use trainyard_tests::root;

/// Every crate under `crates/`, with the crates of the workspace that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("trainyard-domain", &[]),
    ("trainyard-trainer", &[]),
    ("trainyard-connector", &["trainyard-domain"]),
    ("trainyard-storage", &["trainyard-domain"]),
    ("trainyard-agent", &["trainyard-domain", "trainyard-connector"]),
    ("trainyard-local", &["trainyard-domain", "trainyard-connector", "trainyard-agent"]),
    ("trainyard-runpod", &["trainyard-domain", "trainyard-connector", "trainyard-agent"]),
    ("trainyard-simulator", &["trainyard-domain", "trainyard-connector", "trainyard-agent"]),
    ("trainyard-vastai", &["trainyard-domain", "trainyard-connector", "trainyard-agent"]),
    ("trainyard-lambda", &["trainyard-domain", "trainyard-connector", "trainyard-agent"]),
    ("trainyard-orchestrator", &["trainyard-domain", "trainyard-connector", "trainyard-storage"]),
    ("trainyard-testkit", &["trainyard-domain", "trainyard-connector", "trainyard-storage"]),
    (
        "trainyard",
        &[
            "trainyard-agent",
            "trainyard-connector",
            "trainyard-domain",
            "trainyard-lambda",
            "trainyard-local",
            "trainyard-orchestrator",
            "trainyard-runpod",
            "trainyard-storage",
            "trainyard-trainer",
            "trainyard-vastai",
        ],
    ),
    ("trainyard-server", &["trainyard-domain", "trainyard-orchestrator", "trainyard-storage"]),
    (
        "trainyard-cli",
        &["trainyard", "trainyard-server", "trainyard-agent", "trainyard-simulator", "trainyard-trainer"],
    ),
];

/// What tests of a crate may import beside that.
const FOR_TESTS: &[&str] = &["trainyard-simulator", "trainyard-testkit"];

/// Members outside `crates/`: they may import everything, and nobody imports them.
const LEAVES: &[&str] =
    &["trainyard-benches", "trainyard-examples", "trainyard-kit", "trainyard-tests", "xtask"];

/// The crates from outside that the domain is made of: words, numbers, times as data, and serde.
const OF_THE_DOMAIN: &[&str] = &[
    "chrono",
    "hex",
    "rust_decimal",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "sha2",
    "thiserror",
    "ulid",
];

/// Runtimes, networks, databases: none of them is under the domain, however far down.
const NEVER_UNDER_THE_DOMAIN: &[&str] = &[
    "actix-web",
    "async-trait",
    "futures-core",
    "hyper",
    "mio",
    "reqwest",
    "rustls",
    "socket2",
    "sqlx",
    "tokio",
    "tracing",
];

fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

/// The members of the workspace, with the names they depend on, by kind of dependency.
struct Member {
    name: String,
    manifest: PathBuf,
    normal: BTreeSet<String>,
    dev: BTreeSet<String>,
}

fn members() -> Vec<Member> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]))
            .expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Member {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let of_kind = |dev: bool| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        dependencies.filter(|one| (one["kind"] == "dev") == dev).map(|one| text(&one["name"])).collect()
    };
    Member {
        name: text(&package["name"]),
        manifest: PathBuf::from(text(&package["manifest_path"])),
        normal: of_kind(false),
        dev: of_kind(true),
    }
}

/// Every Rust file under `dir`, in the order of names.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn crates_import_only_along_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let members = members();
    let ours: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
    let mut wrong = Vec::new();
    for member in members.iter().filter(|member| !LEAVES.contains(&member.name.as_str())) {
        let Some(allowed) = arrows.get(member.name.as_str()) else {
            wrong.push(format!("{} is not in the table", member.name));
            continue;
        };
        for used in member.normal.intersection(&ours).filter(|used| !allowed.contains(&used.as_str())) {
            wrong.push(format!("{} → {used}", member.name));
        }
        let for_tests =
            |used: &str| allowed.contains(&used) || FOR_TESTS.contains(&used) || used == member.name;
        for used in member.dev.intersection(&ours).filter(|used| !for_tests(used)) {
            wrong.push(format!("{} → {used} (tests)", member.name));
        }
    }
    for (name, _) in ARROWS.iter().filter(|(name, _)| !ours.contains(*name)) {
        wrong.push(format!("{name} is in the table and not in the workspace"));
    }
    assert!(wrong.is_empty(), "arrows that docs/ARCHITECTURE.md does not draw:\n{}", wrong.join("\n"));
}

#[test]
fn a_crate_bears_the_name_of_its_directory() {
    for member in members().iter().filter(|member| !LEAVES.contains(&member.name.as_str())) {
        let directory = member.manifest.parent().expect("a directory");
        assert!(directory.ends_with(Path::new("crates").join(&member.name)), "{}", member.manifest.display());
    }
}

#[test]
fn nobody_imports_a_leaf() {
    for member in members() {
        let used: Vec<_> =
            member.normal.union(&member.dev).filter(|used| LEAVES.contains(&used.as_str())).collect();
        assert!(used.is_empty(), "{} imports {used:?}", member.name);
    }
}

#[test]
fn the_domain_is_pure() {
    let domain = members().into_iter().find(|member| member.name == "trainyard-domain").expect("the domain");
    let strange: Vec<_> =
        domain.normal.iter().filter(|used| !OF_THE_DOMAIN.contains(&used.as_str())).collect();
    assert!(strange.is_empty(), "the domain imports {strange:?}");

    let tree = cargo(&["tree", "-p", "trainyard-domain", "-e", "normal", "--prefix", "none", "--offline"]);
    let under: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(under.contains("serde"), "cargo tree was understood:\n{tree}");
    let impure: Vec<_> = NEVER_UNDER_THE_DOMAIN.iter().filter(|name| under.contains(**name)).collect();
    assert!(impure.is_empty(), "under the domain lies {impure:?}");
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let read = |path: &Path| -> toml::Table {
        std::fs::read_to_string(path).expect("a manifest").parse().expect("a manifest in TOML")
    };
    let workspace = read(&root().join("Cargo.toml"));
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for member in members() {
        let inherits =
            read(&member.manifest).get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(inherits, Some(true), "{} takes the workspace's lints", member.name);
    }
}

/// What would loosen or tighten the workspace's rules for one crate. An `expect` with its reason is an exception
/// that says so, and is fine.
const OWN_RULES: &[&str] = &["#![allow", "#![warn", "#![deny", "#![forbid", "#![feature", "#![cfg_attr"];

#[test]
fn no_crate_sets_its_own_rules() {
    let paths = sources(&root().join("crates"));
    assert!(paths.len() > 50, "the sources are found");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let sets = |line: &&str| OWN_RULES.iter().any(|rule| line.trim_start().starts_with(rule));
        assert_eq!(text.lines().find(sets), None, "{}", path.display());
    }
}
