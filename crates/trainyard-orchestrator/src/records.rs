//! The records of a JSON-lines dataset, checked one line at a time.

use serde::Deserialize;
use serde::de::IgnoredAny;
use trainyard_domain::DatasetFormat;

/// Longest line, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// A check of one dataset, line by line. The first record tells the format where none was given.
#[derive(Debug)]
pub(crate) struct Check {
    format: Option<DatasetFormat>,
    line: u64,
    records: u64,
}

#[derive(Deserialize)]
struct Record {
    text: Option<String>,
    prompt: Option<String>,
    completion: Option<String>,
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

impl Check {
    pub(crate) fn new(format: Option<DatasetFormat>) -> Check {
        Check { format, line: 0, records: 0 }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// What is wrong with it, with its number.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.line += 1;
        let at = self.line;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(format!("line {at}: longer than {LINE_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| format!("line {at}: not UTF-8 ({error})"))?;
        let text = if at == 1 { text.trim_start_matches('\u{feff}') } else { text }.trim();
        if text.is_empty() {
            return Ok(());
        }
        let record: Record =
            serde_json::from_str(text).map_err(|error| format!("line {at}: {}", readable(&error)))?;
        let format = match self.format {
            Some(format) => format,
            None => tell(&record).ok_or_else(|| {
                format!("line {at}: has none of `text`, `prompt` and `completion`, `messages`")
            })?,
        };
        self.format = Some(format);
        fits(&record, format).map_err(|what| format!("line {at}: {what}"))?;
        self.records += 1;
        Ok(())
    }

    /// How many records there were, and of which format.
    ///
    /// # Errors
    /// Where there was none.
    pub(crate) fn finish(self) -> Result<(u64, DatasetFormat), String> {
        match self.format {
            Some(format) if self.records > 0 => Ok((self.records, format)),
            _ => Err("has no records: write one JSON object a line".to_owned()),
        }
    }
}

/// The format's word.
pub(crate) fn word(format: DatasetFormat) -> &'static str {
    match format {
        DatasetFormat::Text => "text",
        DatasetFormat::PromptCompletion => "prompt_completion",
        DatasetFormat::Messages => "messages",
    }
}

fn tell(record: &Record) -> Option<DatasetFormat> {
    if record.messages.is_some() {
        return Some(DatasetFormat::Messages);
    }
    if record.prompt.is_some() && record.completion.is_some() {
        return Some(DatasetFormat::PromptCompletion);
    }
    record.text.is_some().then_some(DatasetFormat::Text)
}

fn fits(record: &Record, format: DatasetFormat) -> Result<(), String> {
    match format {
        DatasetFormat::Text if record.text.is_none() => Err("has no `text`".to_owned()),
        DatasetFormat::PromptCompletion if record.prompt.is_none() => Err("has no `prompt`".to_owned()),
        DatasetFormat::PromptCompletion if record.completion.is_none() => {
            Err("has no `completion`".to_owned())
        }
        DatasetFormat::Messages => match &record.messages {
            None => Err("has no `messages`".to_owned()),
            Some(messages) => turns(messages),
        },
        DatasetFormat::Text | DatasetFormat::PromptCompletion => Ok(()),
    }
}

fn turns(messages: &[Message]) -> Result<(), String> {
    if messages.is_empty() {
        return Err("`messages` is empty".to_owned());
    }
    for (i, message) in messages.iter().enumerate() {
        if message.role.is_empty() {
            return Err(format!("`messages[{i}].role` is empty"));
        }
        if message.content.is_none() && message.tool_calls.is_none() {
            return Err(format!("`messages[{i}]` has no `content`"));
        }
    }
    if messages.iter().any(|message| message.role == "assistant") {
        return Ok(());
    }
    Err("no message has the role `assistant`, so there is nothing to learn".to_owned())
}

/// serde's message without its "at line 1", which would be read as the file's.
fn readable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str) -> String {
        let mut check = Check::new(None);
        for line in lines.split_inclusive('\n') {
            if let Err(error) = check.line(line.as_bytes()) {
                return error;
            }
        }
        check.finish().map_or_else(|error| error, |(n, format)| format!("{n} {}", word(format)))
    }

    #[test]
    fn the_first_bad_line_is_named() {
        assert_eq!(check("{\"text\":\"a\"}\n\n{\"text\":\"b\"}"), "2 text");
        assert_eq!(check("\u{feff}{\"prompt\":\"a\",\"completion\":\"b\"}\r\n"), "1 prompt_completion");
        assert_eq!(
            check(r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#),
            "1 messages"
        );
        assert_eq!(
            check("{\"text\":\"a\"}\n{\"text\":3}"),
            "line 2: invalid type: integer `3`, expected a string (column 9)"
        );
        assert_eq!(
            check("{\"text\":\"a\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}"),
            "line 2: has no `text`"
        );
        assert_eq!(check("{\"text\":\"a\"}\n{\"text\":"), "line 2: EOF while parsing a value (column 8)");
        assert_eq!(check("[1]"), "line 1: invalid type: integer `1`, expected a string (column 2)");
        assert_eq!(check("{}"), "line 1: has none of `text`, `prompt` and `completion`, `messages`");
        assert_eq!(check(""), "has no records: write one JSON object a line");
        assert_eq!(check(r#"{"messages":[]}"#), "line 1: `messages` is empty");
        assert!(check(r#"{"messages":[{"role":"user","content":"q"}]}"#).contains("nothing to learn"));
        let mut check = Check::new(None);
        assert!(check.line(b"{\"text\":\"\xff\"}").unwrap_err().starts_with("line 1: not UTF-8"));
    }
}
