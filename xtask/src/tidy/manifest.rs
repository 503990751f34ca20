//! Manifests: one dependency table, one set of lints, one edition, for every member.

use super::Finding;
use toml::{Table, Value};

/// Fields that every member takes from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];
const TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the manifest of a member; the workspace's own holds the table and is not held to it.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::error(path, 0, format!("cannot be read: {error}"))],
    };
    let Some(package) = manifest.get("package").and_then(Value::as_table) else { return Vec::new() };
    // A package that is a workspace of its own has nothing to take from this one.
    if manifest.contains_key("workspace") {
        return Vec::new();
    }
    let mut findings: Vec<Finding> =
        package_findings(package, &manifest).into_iter().map(|what| Finding::error(path, 0, what)).collect();
    let targets =
        manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|table| table.values());
    for table in std::iter::once(&manifest).chain(targets.filter_map(Value::as_table)) {
        for (name, value) in TABLES.iter().filter_map(|key| table.get(*key)?.as_table()).flatten() {
            let found = dependency(name, value).map(|what| Finding::error(path, line_of(text, name), what));
            findings.extend(found);
        }
    }
    findings
}

fn package_findings(package: &Table, manifest: &Table) -> Vec<String> {
    let mut found = Vec::new();
    let description = package.get("description").and_then(Value::as_str).unwrap_or_default();
    if description.trim().is_empty() {
        found.push("no `description`: say in one line what the crate is".to_owned());
    }
    for field in INHERITED.iter().filter(|field| !from_workspace(package.get(**field))) {
        found.push(format!("`{field}` is not the workspace's: write `{field}.workspace = true`"));
    }
    if !from_workspace(manifest.get("lints")) {
        found.push("does not take the workspace's lints: add `[lints]` with `workspace = true`".to_owned());
    }
    found
}

fn dependency(name: &str, value: &Value) -> Option<String> {
    if !from_workspace(Some(value)) {
        return Some(format!(
            "`{name}` names its own version: move it to [workspace.dependencies] of the root"
        ));
    }
    // Crates of our own may say which part of each other they use.
    let ours = name == "trainyard" || name.starts_with("trainyard-");
    if !ours && (value.get("features").is_some() || value.get("default-features").is_some()) {
        return Some(format!(
            "`{name}` chooses features: they stand in [workspace.dependencies] of the root only"
        ));
    }
    None
}

fn from_workspace(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

fn line_of(text: &str, name: &str) -> usize {
    let starts = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    text.lines().position(starts).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[package]\nname = \"a\"\ndescription = \"An example\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
        publish.workspace = true\n[lints]\nworkspace = true\n";

    fn whats(text: &str) -> Vec<String> {
        check("crates/a/Cargo.toml", text).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn a_member_takes_everything_from_the_workspace() {
        let fine = "[dependencies]\nserde.workspace = true\nsqlx = { workspace = true, optional = true }\n";
        assert_eq!(whats(&format!("{HEAD}{fine}")), [""; 0]);
        assert_eq!(whats("[workspace]\nmembers = []\n"), [""; 0]);
        assert_eq!(whats("[package]\nname = \"a\"\n").len(), 7);
    }

    #[test]
    fn versions_and_features_stand_in_the_root() {
        let check = |table: &str, line: &str| whats(&format!("{HEAD}[{table}]\n{line}\n")).len();
        for table in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            assert_eq!(check(table, "serde = \"1\""), 1, "{table}");
            assert_eq!(check(table, "serde = { workspace = true, features = [\"rc\"] }"), 1, "{table}");
            assert_eq!(check(table, "serde = { workspace = true }"), 0, "{table}");
            let ours = "trainyard-agent = { workspace = true, features = [\"client\"] }";
            assert_eq!(check(table, ours), 0, "{table}");
        }
    }

    #[test]
    fn a_finding_names_the_line() {
        let found = check("a/Cargo.toml", &format!("{HEAD}[dependencies]\nserde = \"1\"\n"));
        assert_eq!(found[0].line, 12);
    }
}
