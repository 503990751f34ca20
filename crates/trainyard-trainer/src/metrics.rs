//! The metrics file: one JSON object a line.
//!
//! Promises: a line is written by one call, so that a reader sees whole lines only. Numbers are cut
//! to ten significant digits, so that they survive a round trip through JSON.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::TrainError;

/// Where metrics go; nowhere when the agent named no file.
#[derive(Debug)]
pub(crate) struct Metrics {
    file: Option<(File, PathBuf)>,
}

impl Metrics {
    /// Opens the file for appending; a line that an earlier attempt left torn is ended first.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, TrainError> {
        let Some(path) = path else { return Ok(Self { file: None }) };
        let open = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            let mut last = [b'\n'];
            if file.metadata()?.len() > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            if last != [b'\n'] {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        let file = open().map_err(TrainError::io("open", path))?;
        Ok(Self { file: Some((file, path.to_owned())) })
    }

    /// Appends one object.
    pub(crate) fn write(&mut self, point: &Value) -> Result<(), TrainError> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let line = format!("{point}\n");
        file.write_all(line.as_bytes()).map_err(TrainError::io("write", path))
    }
}

/// A number as the metrics show it; what is not finite is a string, as in the contract.
pub(crate) fn number(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(format!("{value:.9e}").parse::<f64>().unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_ended_and_whole_lines_follow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"step\":1}\n{\"ste").unwrap();
        let mut metrics = Metrics::open(Some(&path)).unwrap();
        metrics.write(&json!({"step": 2})).unwrap();
        let mut again = Metrics::open(Some(&path)).unwrap();
        again.write(&json!({"step": 3})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"ste\n{\"step\":2}\n{\"step\":3}\n");
    }

    #[test]
    fn numbers_survive_json() {
        for value in [1.0 / 3.0, 2e-4 * (1.0 - 1.0 / 7.0), 0.0, -12_345.678_901] {
            let shown = number(value);
            let again: Value = serde_json::from_str(&shown.to_string()).unwrap();
            assert_eq!(shown, again);
        }
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(f64::NEG_INFINITY), "-Infinity");
    }
}
