//! Which files there are, and what is said of a file as a whole: its size, its length, its neighbours.

use super::Finding;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Command;

/// Files longer than this are split; generated ones (snapshots, lock files) do not count.
const LINES_MAX: usize = 500;
/// Past this one asks what second thing moved in.
const LINES_NOTICE: usize = 400;
/// A clone should stay quick; larger things are made by a command or fetched by the user.
const BYTES_MAX: u64 = 3 * 1024 * 1024;

/// A tracked file that is UTF-8 text.
#[derive(Debug)]
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The working tree as git sees it.
#[derive(Debug)]
pub(crate) struct Tree {
    texts: Vec<TextFile>,
    sizes: Vec<(String, u64)>,
    paths: BTreeSet<String>,
}

impl Tree {
    /// Reads what git tracks, and what is new and not ignored.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let output = Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let mut tree = Self { texts: Vec::new(), sizes: Vec::new(), paths: BTreeSet::new() };
        for path in String::from_utf8_lossy(&output.stdout).split('\0').filter(|path| !path.is_empty()) {
            tree.add(root, path)?;
        }
        Ok(tree)
    }

    fn add(&mut self, root: &Path, path: &str) -> io::Result<()> {
        let bytes = match std::fs::read(root.join(path)) {
            Ok(bytes) => bytes,
            // Deleted in the working tree and not yet in the index.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.sizes.push((path.to_owned(), bytes.len() as u64));
        self.paths.insert(path.to_owned());
        if let Ok(text) = String::from_utf8(bytes) {
            self.texts.push(TextFile { path: path.to_owned(), text });
        }
        Ok(())
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &TextFile> {
        self.texts.iter()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether `path` is a tracked file, or a directory that holds one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.iter().any(|known| known.starts_with(&inside))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            texts: files
                .iter()
                .map(|(path, text)| TextFile { path: (*path).into(), text: (*text).into() })
                .collect(),
            sizes: files.iter().map(|(path, text)| ((*path).into(), text.len() as u64)).collect(),
            paths: files.iter().map(|(path, _)| (*path).into()).collect(),
        }
    }
}

/// What is wrong with the tree as a whole, or with a file's size.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, bytes) in tree.sizes.iter().filter(|(_, bytes)| *bytes > BYTES_MAX) {
        findings.push(Finding::error(
            path,
            0,
            format!("{bytes} bytes, more than {BYTES_MAX}: let a command make it, or keep it elsewhere"),
        ));
    }
    findings.extend(tree.texts.iter().filter_map(|file| length(&file.path, &file.text)));
    findings.extend(changelog(tree));
    findings
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let counted = [".rs", ".py", ".sh", ".sql", ".js", ".css"].iter().any(|end| path.ends_with(end));
    let lines = text.lines().count();
    match counted {
        true if lines > LINES_MAX => Some(Finding::error(
            path,
            0,
            format!("{lines} lines, more than {LINES_MAX}: move the second subject into a file of its own"),
        )),
        true if lines > LINES_NOTICE => {
            Some(Finding::notice(path, 0, format!("{lines} lines: which second thing moved in?")))
        }
        _ => None,
    }
}

fn changelog(tree: &Tree) -> Option<Finding> {
    let text = tree.text("CHANGELOG.md").unwrap_or_default();
    let there = text.lines().any(|line| line.trim_end() == "## [Unreleased]");
    (!there).then(|| {
        Finding::error(
            "CHANGELOG.md",
            0,
            "no section `## [Unreleased]`: add it; changes that users see go there",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: (&str, &str) = ("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n");

    #[test]
    fn long_files_are_named_by_degree() {
        let (fine, thoughtful, long) = ("x\n".repeat(400), "x\n".repeat(401), "x\n".repeat(501));
        let tree =
            Tree::of(&[CHANGES, ("a.rs", &fine), ("b.rs", &thoughtful), ("c.rs", &long), ("d.snap", &long)]);
        let seen: Vec<_> = check(&tree).into_iter().map(|found| (found.path, found.notice)).collect();
        assert_eq!(seen, [("b.rs".to_owned(), true), ("c.rs".to_owned(), false)]);
    }

    #[test]
    fn large_files_and_a_changelog_without_a_place_for_news_are_named() {
        let large = " ".repeat(3 * 1024 * 1024 + 1);
        let findings = check(&Tree::of(&[("model.bin", &large), ("CHANGELOG.md", "## [0.1.0]\n")]));
        let paths: Vec<_> = findings.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["model.bin", "CHANGELOG.md"]);
    }

    #[test]
    fn directories_are_there_by_what_they_hold() {
        let tree = Tree::of(&[("docs/api.md", "")]);
        assert!(tree.has("docs") && tree.has("docs/") && tree.has("docs/api.md"));
        assert!(!tree.has("doc") && !tree.has("docs/api"));
    }
}
