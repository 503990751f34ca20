//! Functions fit a screen: a ratchet.
//!
//! No function grows past [`LINES_MAX`]. Those that once had to are listed in [`BASELINE`] with the
//! length they may have at most; an entry that is no longer needed must go, so the list only shrinks.

use super::Finding;
use super::files::Tree;
use super::mask::mask;
use std::collections::BTreeMap;

/// The bell, from the first line of the signature to the closing brace.
pub(crate) const LINES_MAX: usize = 70;
/// Lines of `path function lines`.
const BASELINE: &str = "xtask/long-functions.txt";

/// A function and how many lines it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Every function in `text` that has a body, nested ones too.
pub(crate) fn functions(text: &str) -> Vec<Function> {
    let code: Vec<char> = mask(text).chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..code.len() {
        if code[at] == '\n' {
            line += 1;
        }
        let Some((name, behind)) = name_of_function_at(&code, at) else { continue };
        let Some(end) = body_end(&code, behind) else { continue };
        let lines = code[at..end].iter().filter(|c| **c == '\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

/// The name, and where it ends, if the word `fn` and a name begin at `at`.
fn name_of_function_at(code: &[char], at: usize) -> Option<(String, usize)> {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_' || *c == '#';
    let starts = code[at..].starts_with(&['f', 'n', ' ']) && (at == 0 || !is_word(&code[at - 1]));
    if !starts {
        return None;
    }
    let name: String = code[at + 3..].iter().take_while(|c| is_word(c)).collect();
    let end = at + 3 + name.chars().count();
    (!name.is_empty()).then_some((name, end))
}

/// Where the body that follows a signature closes; none for a signature without one.
fn body_end(code: &[char], from: usize) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (i, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Holds every function of the tree to the bell, or to its line in the baseline.
pub(crate) fn check_all(tree: &Tree) -> Vec<Finding> {
    let (baseline, mut findings) = read_baseline(tree.text(BASELINE).unwrap_or_default());
    let mut used = Vec::new();
    for file in tree.texts().filter(|file| file.path.ends_with(".rs")) {
        for function in functions(&file.text).into_iter().filter(|function| function.lines > LINES_MAX) {
            let key = (file.path.clone(), function.name.clone());
            let allowed = baseline.get(&key).map_or(LINES_MAX, |entry| entry.lines);
            if function.lines > allowed {
                let Function { name, lines, .. } = function;
                let what = format!(
                    "`{name}` takes {lines} lines, at most {allowed}: give a step of it a name of its own"
                );
                findings.push(Finding::error(&file.path, function.line, what));
            }
            used.push(key);
        }
    }
    for (key, entry) in baseline.iter().filter(|(key, _)| !used.contains(key)) {
        let what = format!("`{}` in {} is no longer long: delete this line", key.1, key.0);
        findings.push(Finding::error(BASELINE, entry.at, what));
    }
    findings
}

struct Entry {
    lines: usize,
    at: usize,
}

fn read_baseline(text: &str) -> (BTreeMap<(String, String), Entry>, Vec<Finding>) {
    let (mut entries, mut findings) = (BTreeMap::new(), Vec::new());
    let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    for (at, line) in numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            [path, name, lines] if lines.parse::<usize>().is_ok() => {
                let lines = lines.parse().unwrap_or(LINES_MAX);
                entries.insert(((*path).to_owned(), (*name).to_owned()), Entry { lines, at });
            }
            _ => findings.push(Finding::error(BASELINE, at, "not `path function lines`: write it so")),
        }
    }
    (entries, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn bodies_are_measured_and_signatures_are_not() {
        let text = "trait T {\n    fn a(&self) -> [u8; 4];\n    fn b(&self) {\n        \"}\";\n    }\n}\n\
                    fn c<F: Fn() -> u8>(f: fn(u8) -> u8)\nwhere\n    F: Send,\n{\n    fn d() {}\n}\n";
        let seen: Vec<_> = functions(text).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(seen, [("b".into(), 3, 3), ("c".into(), 7, 6), ("d".into(), 11, 1)]);
    }

    #[test]
    fn seventy_lines_pass_and_one_more_does_not() {
        let tree = Tree::of(&[("a.rs", &(long("fits", 70) + &long("grown", 71)))]);
        let found = check_all(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 71);
        assert!(found[0].what.starts_with("`grown` takes 71 lines, at most 70"));
    }

    #[test]
    fn the_baseline_only_shrinks() {
        let check = |lines, baseline: &str| {
            check_all(&Tree::of(&[("a.rs", &long("old", lines)), (BASELINE, baseline)])).len()
        };
        assert_eq!(check(80, "# longest first\na.rs old 80\n"), 0);
        assert_eq!(check(81, "a.rs old 80\n"), 1, "grown past its entry");
        assert_eq!(check(70, "a.rs old 80\n"), 1, "an entry nobody needs");
        assert_eq!(check(70, "a.rs old\n"), 1, "an entry nobody can read");
    }
}
