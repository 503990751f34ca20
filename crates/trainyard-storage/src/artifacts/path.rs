//! Which paths an artifact's files may have: those that mean the same inside on every machine, and nothing outside.

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Longest name within it, in bytes: what common file systems take.
const NAME_BYTES_MAX: usize = 255;

/// A path that cannot be a file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be a path within an artifact: {rule}", .path.chars().take(120).flat_map(char::escape_default).collect::<String>())]
pub struct BadPath {
    /// The path as it came.
    pub path: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Checks a path of an artifact: relative, `/`-separated, plain names only.
///
/// # Errors
/// [`BadPath`] with the rule that it breaks.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    let bad = |rule| Err(BadPath { path: path.to_owned(), rule });
    if path.is_empty() {
        return bad("it is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return bad("it has more than 1024 bytes");
    }
    if path.starts_with('/') {
        return bad("it is absolute");
    }
    if path.contains('\\') {
        return bad("it has a backslash: separate names with `/`");
    }
    if path.chars().any(char::is_control) {
        return bad("it has a control character");
    }
    for name in path.split('/') {
        match name {
            "" => return bad("it has an empty name"),
            "." | ".." => return bad("it has a `.` or `..`"),
            long if long.len() > NAME_BYTES_MAX => return bad("a name in it has more than 255 bytes"),
            _ => {}
        }
    }
    if path.split('/').next() == Some(".part") {
        return bad("`.part` is reserved");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken() {
        let longest = "n".repeat(255);
        let deep = "ab/".repeat(341) + "a";
        assert_eq!(deep.len(), 1024);
        for path in [
            "a",
            "adapter_model.safetensors",
            "checkpoint-1/optimizer.pt",
            "a b/ä/漢字.txt",
            ".hidden",
            "a/.part",
            "..a",
            "a..",
            "...",
            "a/...",
            "-rf",
            "~",
            "$HOME",
            "%2e%2e",
            "C:",
            "a:b",
            "nul",
            "a/b/c/d/e/f",
            "*",
            "a?b",
            "'; DROP TABLE jobs",
            "part",
            "..part",
            longest.as_str(),
            deep.as_str(),
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    /// What a manifest from a foreign machine may try.
    const REFUSED: &[&str] = &[
        "",
        "/",
        "//",
        "/etc/passwd",
        "//etc/passwd",
        ".",
        "..",
        "./a",
        "a/.",
        "a/./b",
        "../a",
        "a/..",
        "a/../b",
        "a/../../b",
        "../../../../etc/passwd",
        "a/b/..",
        "/..",
        "/.",
        "./",
        "../",
        "a//b",
        "a/",
        "a/b/",
        "//a",
        "a///b",
        "\\",
        "a\\b",
        "..\\a",
        "\\\\server\\share",
        "C:\\a",
        "a/..\\b",
        "a\0",
        "\0",
        "a\0/b",
        "a/\0",
        "a\nb",
        "\n",
        "a\rb",
        "a\r\nb",
        "a\tb",
        "\t",
        "a\x1b[31m",
        "\x7f",
        "a\x08b",
        "a\u{80}b",
        "a\u{9f}",
        "a\u{85}b",
        ".part",
        ".part/a",
        ".part/job.1/files/a",
        ".part/",
        "../.part",
        "./.part",
        "/.part",
        "a/../.part",
        "a/b/c/../../../../d",
        "....//../a",
        "a/ /../b",
    ];

    #[test]
    fn what_leaves_or_cannot_stand_is_refused() {
        let name = "n".repeat(256);
        let inner = format!("a/{name}/b");
        let wide = "é".repeat(128);
        let deep = "ab/".repeat(341) + "ab";
        let made = [name.as_str(), inner.as_str(), wide.as_str(), deep.as_str()];
        for path in REFUSED.iter().copied().chain(made) {
            assert!(check_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn the_message_shows_no_control_characters() {
        let shown = check_path("a\x1b[31m\n").expect_err("refused").to_string();
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert!(check_path(&"x/".repeat(5000)).expect_err("refused").to_string().len() < 300);
    }
}
