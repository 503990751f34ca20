//! Records of a data set, as tokens with a mark on those that count for the loss.
//!
//! One JSON object a line, all of one format:
//! - `{"text": …}`: every token counts;
//! - `{"prompt": …, "completion": …}`: the completion counts;
//! - `{"messages": [{"role": …, "content": …}, …]}`: what the assistant says counts. Each message is
//!   written as `<|role|>`, a line feed, the content, a line feed; the model's end token follows
//!   an assistant's message.
//!
//! Promises: a line that cannot be used is refused with file, number and reason. Records longer than
//! `max_seq_length` are cut at its end; those left without a token that counts are left out and told.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::TrainError;
use crate::tokens::Encoder;

/// Larger files belong on a machine with a real card; also keeps a mistake from filling the memory.
const DATASET_BYTES_MAX: u64 = 1 << 30;

const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// What the records of a data set look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    PromptCompletion,
    Messages,
}

/// One record: its tokens, and for each whether predicting it counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) ids: Vec<u32>,
    pub(crate) counts: Vec<bool>,
}

/// All records of a data set, in the order of the file.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) samples: Vec<Sample>,
    pub(crate) format: Format,
    /// Records without a token that counts within the length.
    pub(crate) left_out: usize,
    /// Records that were cut.
    pub(crate) cut: usize,
}

impl Format {
    /// As `dataset.format` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::PromptCompletion => "prompt_completion",
            Self::Messages => "messages",
        }
    }

    fn of(record: &Map<String, Value>) -> Option<Self> {
        if record.contains_key("messages") {
            Some(Self::Messages)
        } else if record.contains_key("prompt") && record.contains_key("completion") {
            Some(Self::PromptCompletion)
        } else {
            record.contains_key("text").then_some(Self::Text)
        }
    }
}

impl Dataset {
    /// Reads a file of JSON lines; the first record decides the format where none is named.
    pub(crate) fn read(
        path: &Path,
        format: Option<Format>,
        encoder: &Encoder,
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let size = std::fs::metadata(path).map_err(TrainError::io("read", path))?.len();
        if size > DATASET_BYTES_MAX {
            let problem = format!("{} holds {size} bytes, more than {DATASET_BYTES_MAX}", path.display());
            return Err(TrainError::setting(
                "dataset",
                problem,
                "train on a part of it, or use trainer.kind peft",
            ));
        }
        let text = std::fs::read(path).map_err(TrainError::io("read", path))?;
        Self::parse(&text, path, format, encoder, max_length)
    }

    /// The same of text that is already here; `path` is only named in errors.
    pub(crate) fn parse(
        text: &[u8],
        path: &Path,
        mut format: Option<Format>,
        encoder: &Encoder,
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let mut dataset = Self { samples: Vec::new(), format: Format::Text, left_out: 0, cut: 0 };
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let refuse =
                |problem: String| TrainError::Record { file: path.to_owned(), line: index + 1, problem };
            let record = object(line).map_err(refuse)?;
            let format = match format {
                Some(format) => format,
                None => *format.insert(Format::of(&record).ok_or_else(|| refuse(UNKNOWN_RECORD.into()))?),
            };
            dataset.format = format;
            dataset.add(sample(&record, format, encoder).map_err(refuse)?, max_length);
        }
        if dataset.samples.is_empty() {
            let problem = format!("{} has no record to learn from", path.display());
            return Err(TrainError::setting(
                "dataset",
                problem,
                "give JSON lines, and a max_seq_length that fits",
            ));
        }
        Ok(dataset)
    }

    fn add(&mut self, mut sample: Sample, max_length: usize) {
        if sample.ids.len() > max_length {
            sample.ids.truncate(max_length);
            sample.counts.truncate(max_length);
            self.cut += 1;
        }
        // The first token is never predicted.
        if sample.counts.iter().skip(1).any(|counts| *counts) {
            self.samples.push(sample);
        } else {
            self.left_out += 1;
        }
    }
}

const UNKNOWN_RECORD: &str = "has neither text, nor prompt and completion, nor messages";

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| match line.trim_ascii().first() {
        Some(b'[') => "is the beginning of an array; write one JSON object a line".to_owned(),
        _ => format!("is not JSON: {error}"),
    })?;
    match value {
        Value::Object(record) => Ok(record),
        _ => Err("is not a JSON object".into()),
    }
}

fn sample(record: &Map<String, Value>, format: Format, encoder: &Encoder) -> Result<Sample, String> {
    let mut sample = Sample::default();
    match format {
        Format::Text => sample.say(string(record, "text")?, true, encoder)?,
        Format::PromptCompletion => {
            sample.say(string(record, "prompt")?, false, encoder)?;
            sample.say(string(record, "completion")?, true, encoder)?;
        }
        Format::Messages => return conversation(record, encoder),
    }
    sample.end(encoder);
    Ok(sample)
}

fn conversation(record: &Map<String, Value>, encoder: &Encoder) -> Result<Sample, String> {
    let messages = record.get("messages").and_then(Value::as_array).ok_or("messages is not an array")?;
    if messages.is_empty() {
        return Err("messages is empty".into());
    }
    let mut sample = Sample::default();
    for (index, message) in messages.iter().enumerate() {
        let message = message.as_object().ok_or_else(|| format!("message {index} is not an object"))?;
        let role = string(message, "role").map_err(|problem| format!("message {index}: {problem}"))?;
        if !ROLES.contains(&role) {
            return Err(format!(
                "message {index}: role {role:?} is unknown, use one of {}",
                ROLES.join(", ")
            ));
        }
        let content = string(message, "content").map_err(|problem| format!("message {index}: {problem}"))?;
        sample.say(&format!("<|{role}|>\n"), false, encoder)?;
        sample.say(&format!("{content}\n"), role == "assistant", encoder)?;
        if role == "assistant" {
            sample.end(encoder);
        }
    }
    if !sample.counts.contains(&true) {
        return Err("messages has no assistant turn to learn from".into());
    }
    Ok(sample)
}

fn string<'a>(record: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match record.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{name} is not a string")),
        None => Err(format!("{name} is missing")),
    }
}

impl Sample {
    fn say(&mut self, text: &str, counts: bool, encoder: &Encoder) -> Result<(), String> {
        let ids = encoder.encode(text, self.ids.is_empty())?;
        self.counts.extend(std::iter::repeat_n(counts, ids.len()));
        self.ids.extend(ids);
        Ok(())
    }

    fn end(&mut self, encoder: &Encoder) {
        if let Some(end) = encoder.end() {
            self.ids.push(end);
            self.counts.push(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    fn check(text: &str, format: Option<Format>, max_length: usize) -> Result<Dataset, String> {
        let encoder = Encoder::bytes(&tiny::config().unwrap()).unwrap();
        Dataset::parse(text.as_bytes(), Path::new("data.jsonl"), format, &encoder, max_length)
            .map_err(|error| error.to_string())
    }

    /// The bytes that count, with `$` for the end token, and all bytes.
    fn counted(sample: &Sample) -> (String, String) {
        let letter = |id: u32| match id {
            256 => '^',
            257 => '$',
            id => char::from(id as u8),
        };
        let marked = sample.ids.iter().zip(&sample.counts);
        (
            marked.filter(|(_, counts)| **counts).map(|(id, _)| letter(*id)).collect(),
            sample.ids.iter().map(|id| letter(*id)).collect(),
        )
    }

    #[test]
    fn each_format_counts_what_it_should() {
        let text = check(r#"{"text": "hello"}"#, None, 64).unwrap();
        assert_eq!(text.format, Format::Text);
        assert_eq!(counted(&text.samples[0]).1, "^hello$");
        let pair = check(r#"{"prompt": "2+2=", "completion": "4"}"#, None, 64).unwrap();
        assert_eq!(counted(&pair.samples[0]), ("4$".into(), "^2+2=4$".into()));
        let talk =
            r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#;
        let talk = check(talk, None, 64).unwrap();
        let all = "^<|user|>\nhi\n<|assistant|>\nyo\n$";
        assert_eq!(counted(&talk.samples[0]), ("yo\n$".into(), all.into()));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_reason() {
        let cases = [
            ("{\"text\": \"a\"}\n\nnonsense", "data.jsonl, line 3: is not JSON"),
            ("{\"text\": \"a\"}\n{\"text\": 4}", "line 2: text is not a string"),
            ("{\"text\": \"a\"}\n{\"prompt\": \"b\", \"completion\": \"c\"}", "line 2: text is missing"),
            ("{\"question\": \"a\"}", "line 1: has neither text"),
            ("[1]", "line 1: is not a JSON object"),
            ("[\n{\"text\": \"a\"}]", "line 1: is the beginning of an array"),
            ("{\"messages\": []}", "line 1: messages is empty"),
            ("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no assistant turn"),
            (
                "{\"messages\": [{\"role\": \"bot\", \"content\": \"a\"}]}",
                "message 0: role \"bot\" is unknown",
            ),
            ("\n", "data.jsonl has no record"),
        ];
        for (text, words) in cases {
            let message = check(text, None, 64).unwrap_err();
            assert!(message.contains(words), "{message:?} lacks {words:?}");
        }
    }

    #[test]
    fn a_named_format_holds_against_the_look_of_the_first_record() {
        let message = check(r#"{"text": "a"}"#, Some(Format::Messages), 64).unwrap_err();
        assert!(message.contains("line 1: messages is not an array"), "{message}");
    }

    #[test]
    fn long_records_are_cut_and_those_without_a_target_left_out() {
        let long = format!("{{\"prompt\": \"{}\", \"completion\": \"x\"}}", "p".repeat(40));
        let data = check(
            &format!("{long}\n{{\"prompt\": \"p\", \"completion\": \"{}\"}}", "c".repeat(40)),
            None,
            16,
        );
        let data = data.unwrap();
        assert_eq!((data.samples.len(), data.left_out, data.cut), (1, 1, 2));
        assert_eq!(data.samples[0].ids.len(), 16);
    }
}
