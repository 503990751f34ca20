//! What the checks have found so far, and the few kinds of checks that most fields need.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

/// One field that is not right, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path as in the JSON, `hyperparameters.lora_r`.
    pub field: String,
    /// What is wrong and what to do; reads on after the field's name.
    pub message: String,
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.message)
    }
}

/// A specification with at least one wrong field. `Display` names them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSpec {
    /// Every wrong field, in the order of the specification; never empty, at most 100.
    pub errors: Vec<FieldError>,
}

impl Display for InvalidSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSpec {}

/// Findings kept of one specification: more than anyone reads, few enough for an answer.
const FINDINGS_MAX: usize = 100;

/// Collects what is wrong.
#[derive(Default)]
pub(in crate::spec) struct Findings {
    errors: Vec<FieldError>,
}

impl Findings {
    pub(in crate::spec) fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.errors.len() < FINDINGS_MAX {
            self.errors.push(FieldError { field: field.into(), message: message.into() });
        }
    }

    pub(in crate::spec) fn into_result(self) -> Result<(), InvalidSpec> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.into_invalid()) }
    }

    /// What was found, where something was.
    pub(in crate::spec) fn into_invalid(self) -> InvalidSpec {
        InvalidSpec { errors: self.errors }
    }

    pub(in crate::spec) fn names(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field)
    }

    /// A number in a range, whose unit is told (`""` for none).
    pub(super) fn number<T: PartialOrd + Display>(
        &mut self,
        field: &str,
        value: T,
        range: RangeInclusive<T>,
        unit: &str,
    ) {
        if !range.contains(&value) {
            let (least, most) = range.into_inner();
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            self.wrong(field, format!("is {value}: write a number from {least} to {most}{unit}"));
        }
    }

    /// A finite number above 0.
    pub(super) fn positive(&mut self, field: &str, value: f64, most: f64) {
        if !(value > 0.0 && value <= most) {
            self.wrong(field, format!("is {value}: write a number above 0 and at most {most}"));
        }
    }

    /// How many of something there are.
    pub(super) fn count(&mut self, field: &str, len: usize, range: RangeInclusive<usize>, what: &str) {
        if !range.contains(&len) {
            let (least, most) = range.into_inner();
            let range = if least == 0 { format!("at most {most}") } else { format!("{least} to {most}") };
            self.wrong(field, format!("has {len} {what}: give {range}"));
        }
    }

    /// A text on one line: length in characters, no control characters.
    pub(super) fn text(&mut self, field: &str, text: &str, max: usize) {
        let len = text.chars().count();
        if len > max {
            self.wrong(field, format!("is {len} characters long: write at most {max}"));
        } else if text.chars().any(char::is_control) {
            self.wrong(field, "holds a control character: write plain text on one line");
        }
    }

    /// The same, not empty.
    pub(super) fn name(&mut self, field: &str, text: &str, max: usize) {
        if text.trim().is_empty() {
            self.wrong(field, "is empty: write something, or leave the field out");
        } else {
            self.text(field, text, max);
        }
    }

    /// A script or an argument: length in bytes, any character but NUL, which no process can be handed.
    pub(super) fn script(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.wrong(field, format!("is {} bytes long: write at most {max}", text.len()));
        } else if text.contains('\0') {
            self.wrong(field, "holds a NUL character: no program can be handed one");
        }
    }

    /// Texts that must differ; names the second of the first pair that does not.
    pub(super) fn unique<'a>(&mut self, field: &str, texts: impl IntoIterator<Item = &'a str>) {
        let mut seen = std::collections::BTreeSet::new();
        for (i, text) in texts.into_iter().enumerate() {
            if !seen.insert(text) {
                self.wrong(format!("{field}[{i}]"), format!("is `{}` again: name it once", shown(text)));
            }
        }
    }

    /// A relative path with `/` that stays inside its directory.
    pub(super) fn path(&mut self, field: &str, path: &str) {
        if path.is_empty() {
            self.wrong(field, "is empty: write a relative path such as `a/b.txt`");
        } else if let Err(why) = inside(path) {
            self.wrong(
                field,
                format!("is `{}`, which {why}: write a relative path such as `a/b.txt`", shown(path)),
            );
        }
    }
}

/// Longest relative path, in bytes: what every file system of ours takes.
const PATH_BYTES_MAX: usize = 1024;

/// Whether a path is relative and stays inside, and why not.
pub(super) fn inside(path: &str) -> Result<(), &'static str> {
    let windows_drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.is_empty() {
        Err("is empty")
    } else if path.len() > PATH_BYTES_MAX {
        Err("is longer than 1024 bytes")
    } else if path.starts_with('/') || windows_drive {
        Err("is absolute")
    } else if path.contains('\\') {
        Err("holds a `\\`")
    } else if path.chars().any(char::is_control) {
        Err("holds a control character")
    } else if path.split('/').any(|part| part == "..") {
        Err("leaves its directory by `..`")
    } else if path.split('/').any(|part| part.is_empty() || part == ".") {
        Err("has an empty part or a `.`")
    } else if path.split('/').any(|part| part.len() > 255) {
        Err("has a name longer than 255 bytes")
    } else {
        Ok(())
    }
}

/// A user's text in a message: the first 60 characters, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(visible).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn visible(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
