//! Why a training failed, told from how it ended: a pure function over its exit, its own last word, its log and its last
//! loss.
//!
//! Promises: nothing is said that no evidence was found for; a program's own last word (the file that
//! `TRAINYARD_FAILURE_FILE` names) wins over the log, the log's later lines over its earlier ones, and all of them over a
//! loss that was no number. Leaves to `table` what is recognised and what is advised.

mod table;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use trainyard_domain::{Diagnosis, Exit};

/// How much of the end of a log is looked at, in bytes: a traceback of every rank of a machine with eight GPUs.
const TAIL_BYTES: u64 = 64 << 10;
/// Largest last word, in bytes.
const WORD_BYTES_MAX: u64 = 16 << 10;
/// Lines from the end in which a cause is looked for: what stands before them the program lived through.
const LOOKED_AT: usize = 400;
/// Last lines that are kept, and characters of each.
const LINES_MAX: usize = 10;
const LINE_CHARS_MAX: usize = 300;
/// Longest code of a program's own last word.
const CODE_MAX: usize = 64;

/// Adds to the end of a training that failed what its files tell about why, and the last loss that it told.
pub(crate) fn explain(exit: Exit, log: &Path, last_word: &Path, loss: Option<f64>) -> Exit {
    if exit.code == 0 || exit.asked {
        return exit;
    }
    let log = tail(log).unwrap_or_default();
    let by_loss = || loss.filter(|loss| !loss.is_finite()).and_then(|_| table::of_loss());
    let found = || own_word(last_word).or_else(|| diagnose(&exit, &log)).or_else(by_loss).map(Box::new);
    // What the agent itself found stands.
    let diagnosis = exit.diagnosis.clone().or_else(found);
    Exit { diagnosis, last_lines: last_lines(&log), ..exit }
}

/// What the end of a log, the exit code and the note tell together. `None` where nothing is recognised.
pub(crate) fn diagnose(exit: &Exit, log: &str) -> Option<Diagnosis> {
    let by_end = || table::by_end(exit);
    by_end().filter(table::is_certain).or_else(|| by_log(log)).or_else(by_end)
}

/// The latest line that any row recognises; of two rows that recognise it, the first.
fn by_log(log: &str) -> Option<Diagnosis> {
    log.rsplit(['\n', '\r']).take(LOOKED_AT).find_map(table::by_line)
}

/// The last word that a program left by itself. What cannot be read is none.
fn own_word(path: &Path) -> Option<Diagnosis> {
    #[derive(Deserialize)]
    struct Word {
        code: String,
        message: String,
        #[serde(default)]
        suggestion: String,
    }
    let mut text = String::new();
    File::open(path).ok()?.take(WORD_BYTES_MAX).read_to_string(&mut text).ok()?;
    let word: Word = serde_json::from_str(&text).ok()?;
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let well_formed = !word.code.is_empty() && word.code.len() <= CODE_MAX && word.code.bytes().all(is_word);
    well_formed.then(|| Diagnosis {
        code: word.code,
        cause: cut(&one_line(&word.message), 2000),
        remedy: match one_line(&word.suggestion) {
            text if text.is_empty() => table::READ_THE_LOG.to_owned(),
            text => cut(&text, 2000),
        },
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// The last lines that say something.
fn last_lines(log: &str) -> Vec<String> {
    let said = log.lines().map(|line| line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or(""));
    let mut lines: Vec<String> = said
        .filter(|line| !line.trim().is_empty())
        .rev()
        .take(LINES_MAX)
        .map(|line| cut(line.trim_end(), LINE_CHARS_MAX))
        .collect();
    lines.reverse();
    lines
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
