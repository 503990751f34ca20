//! Rust text with everything blanked that is not code.
//!
//! Comments and the insides of strings become spaces, line breaks stay, so that a line number in the
//! mask is a line number in the file and a brace in it is a brace of the program. This is a lexer for
//! rules of thumb, not a parser: macros that build tokens from pieces are read as they stand.

/// Blanks comments, strings and character literals.
pub(crate) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself where none begins.
fn blank_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => line_end(chars, at),
        '/' if next == Some('*') => block_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' if !follows_word(chars, at) => raw_end(chars, at + 1).unwrap_or(at),
        'b' | 'c' if next == Some('r') && !follows_word(chars, at) => raw_end(chars, at + 2).unwrap_or(at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

fn block_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0_usize, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `at` stands behind the `r` of what may be `r"…"` or `r#"…"#`; none where it is `r#name`.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    let mut i = at + hashes;
    if chars.get(i) != Some(&'"') {
        return None;
    }
    i += 1;
    while i < chars.len() {
        let closes =
            chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// A character literal's end; a lifetime is code.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let close = (at + 3..chars.len()).find(|i| chars[*i] == '\'');
            close.map_or(chars.len(), |i| i + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    /// What is left of `text`, spaces taken out; its places stay what they were.
    fn check(text: &str, left: &str) {
        let masked = mask(text);
        assert_eq!(masked.chars().filter(|c| *c != ' ').collect::<String>(), left, "mask of {text:?}");
        assert_eq!(masked.chars().count(), text.chars().count(), "mask of {text:?}");
    }

    #[test]
    fn what_is_not_code_is_blank() {
        check("a // {\nb", "a\nb");
        check("a /* { /* } */ { */ b", "ab");
        check(r#"f("{ \" {", 1)"#, "f(,1)");
        check(r##"f(r#"{"{"#, br"{")"##, "f(,)");
        check(r"m('{', '\'', b'\n', '}')", "m(,,b,)");
    }

    #[test]
    fn lifetimes_raw_names_and_lines_stay() {
        check("fn f<'a>(x: &'a str) {}", "fnf<'a>(x:&'astr){}");
        check("r#type + for_r\"x\"", "r#type+for_r");
        check("\"a\nb\"\nc", "\n\nc");
    }
}
