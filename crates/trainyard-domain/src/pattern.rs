//! Patterns over relative paths: which files are outputs, which directories are checkpoints.

/// Whether a pattern matches a whole relative path, case and all.
///
/// Parts are separated by `/`. In a part `*` stands for any characters and `?` for one; a part that is `**` stands
/// for any number of parts, none included, except at the end, where it is everything inside (at least one part).
/// A leading dot is a character like any other. Every other character stands for itself. Takes at most as many
/// steps as the product of the two lengths, whatever the pattern.
///
/// ```
/// use trainyard_domain::matches_pattern;
/// assert!(matches_pattern("checkpoint-*/**", "checkpoint-500/optimizer.pt"));
/// assert!(!matches_pattern("checkpoint-*/**", "adapter_model.safetensors"));
/// ```
pub fn matches_pattern(pattern: &str, path: &str) -> bool {
    let mut parts: Vec<&str> = pattern.split('/').collect();
    if parts.last() == Some(&"**") {
        parts.push("*");
    }
    let names: Vec<&str> = path.split('/').collect();
    if names.iter().any(|name| name.is_empty()) {
        return false;
    }
    greedy(&parts, &names, |part| *part == "**", |part, name| matches_name(part, name))
}

/// One part against one name.
fn matches_name(part: &str, name: &str) -> bool {
    let part: Vec<char> = part.chars().collect();
    let name: Vec<char> = name.chars().collect();
    greedy(&part, &name, |c| *c == '*', |wanted, c| *wanted == '?' || wanted == c)
}

/// Matches a sequence against one with wildcards for any number of items. Only the last wildcard is ever tried
/// again: one before it has a match already, and a longer one could only leave less for what follows.
fn greedy<P, N>(pattern: &[P], items: &[N], is_any: fn(&P) -> bool, fits: fn(&P, &N) -> bool) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while i < items.len() {
        match pattern.get(p) {
            Some(part) if is_any(part) => {
                last_any = Some((p, i));
                p += 1;
            }
            Some(part) if fits(part, &items[i]) => {
                p += 1;
                i += 1;
            }
            _ => {
                let Some((any, from)) = last_any else { return false };
                last_any = Some((any, from + 1));
                p = any + 1;
                i = from + 1;
            }
        }
    }
    pattern[p..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn patterns_match_whole_paths() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("**", &["a", "a/b", ".hidden/x"], &["", "a//b", "/a"]),
            ("*", &["a", "a.txt", ".a"], &["a/b"]),
            ("*.txt", &["a.txt", ".txt"], &["a.txt.gz", "a/b.txt", "atxt"]),
            ("a/*.txt", &["a/b.txt"], &["b.txt", "a/b/c.txt"]),
            ("**/*.txt", &["b.txt", "a/b.txt", "a/b/c.txt"], &["a/b.md"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab", "b/a"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z", "a/z/z"], &["az", "a/z/y", "z"]),
            ("**/a/**", &["a/b", "x/a/b", "a/a"], &["a", "x/a"]),
            ("checkpoint-*", &["checkpoint-500", "checkpoint-"], &["checkpoint-1/x", "my-checkpoint-1"]),
            (
                "checkpoint-*/**",
                &["checkpoint-1/a", "checkpoint-1/a/b"],
                &["checkpoint-1", "adapter_model.safetensors"],
            ),
            ("?.txt", &["a.txt", "ä.txt", "🦀.txt"], &["ab.txt", ".txt", "/.txt"]),
            ("a?c*e", &["abcde", "abce", "a?c*e"], &["ace", "abcdef"]),
            ("*a*b*c", &["abc", "xaybzc", "aabbcc"], &["abcx", "acb"]),
            ("[a].txt", &["[a].txt"], &["a.txt"]),
            ("A", &["A"], &["a"]),
            ("**/**", &["a/b", "a"], &[]),
        ];
        for (pattern, yes, no) in table {
            for path in *yes {
                assert!(matches_pattern(pattern, path), "`{pattern}` should match `{path}`");
            }
            for path in *no {
                assert!(!matches_pattern(pattern, path), "`{pattern}` should not match `{path}`");
            }
        }
    }

    /// Backtracking over every star would take longer than the universe has.
    #[test]
    fn a_hostile_pattern_is_answered_at_once() {
        assert!(!matches_pattern(&format!("{}b", "a*".repeat(200)), &"a".repeat(1000)));
        assert!(!matches_pattern(&format!("{}b", "**/a/".repeat(100)), &vec!["a"; 500].join("/")));
    }
}
