//! `cargo xtask tidy`: the rules that no compiler and no formatter holds.
//!
//! Each rule is a function from text to findings, in a file of its subject, with tests beside it.
//! This file only fetches the texts and adds up. It promises to name file, line and remedy, and
//! leaves formatting to rustfmt and code to clippy.

mod files;
mod finding;
mod functions;
mod manifest;
mod markdown;
mod mask;
mod rust;
mod words;

use std::io;
use std::path::Path;

pub(crate) use finding::Finding;
use finding::Report;

/// Checks every file of the working tree that git tracks or would track.
pub(crate) fn run(root: &Path) -> io::Result<Report> {
    let tree = files::Tree::read(root)?;
    let mut findings = files::check(&tree);
    for file in tree.texts() {
        findings.extend(words::check(&file.path, &file.text));
        if file.path.ends_with(".rs") {
            findings.extend(rust::check(&file.path, &file.text));
        }
        if file.path.ends_with(".md") {
            findings.extend(markdown::check(&file.path, &file.text, &tree));
        }
        if file.path.ends_with("Cargo.toml") {
            findings.extend(manifest::check(&file.path, &file.text));
        }
    }
    findings.extend(functions::check_all(&tree));
    findings.sort();
    Ok(Report { findings, files: tree.len() })
}
