//! Text to token numbers.
//!
//! Promises: a model without `tokenizer.json` and a vocabulary of 256 to 260 reads bytes; any other
//! needs its own `tokenizer.json`.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::config::LlamaConfig;
use crate::error::TrainError;

/// The vocabularies that are read as bytes, with up to four special tokens after them.
const BYTE_VOCABULARIES: std::ops::RangeInclusive<usize> = 256..=260;

/// How a model reads text.
#[derive(Debug)]
pub(crate) struct Encoder {
    kind: Kind,
    /// Ends a record; none where the model names none.
    end: Option<u32>,
    vocab_size: usize,
}

#[derive(Debug)]
enum Kind {
    Bytes { begin: Option<u32> },
    Tokenizer(Box<Tokenizer>),
}

impl Encoder {
    /// The encoder of a model directory.
    pub(crate) fn load(dir: &Path, config: &LlamaConfig) -> Result<Self, TrainError> {
        let path = dir.join("tokenizer.json");
        if !path.exists() {
            return Self::bytes(config).ok_or_else(|| {
                let problem =
                    format!("is missing and vocab_size {} is not a byte vocabulary", config.vocab_size);
                TrainError::model(&path, problem, "put the model's tokenizer.json beside its config.json")
            });
        }
        let tokenizer = Tokenizer::from_file(&path).map_err(|error| {
            TrainError::model(&path, error.to_string(), "put the model's own tokenizer.json there")
        })?;
        Ok(Self {
            kind: Kind::Tokenizer(Box::new(tokenizer)),
            end: config.eos_token_id,
            vocab_size: config.vocab_size,
        })
    }

    /// The byte encoder, where the vocabulary is one of bytes.
    pub(crate) fn bytes(config: &LlamaConfig) -> Option<Self> {
        let size = config.vocab_size;
        BYTE_VOCABULARIES.contains(&size).then(|| Self {
            kind: Kind::Bytes { begin: (size >= 258).then_some(256) },
            end: config.eos_token_id.or(if size >= 258 { Some(257) } else { Some(0) }),
            vocab_size: size,
        })
    }

    /// The tokens of a text; `first` adds what the model wants at the beginning of a record.
    pub(crate) fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, String> {
        let ids: Vec<u32> = match &self.kind {
            Kind::Bytes { begin } => {
                begin.filter(|_| first).into_iter().chain(text.bytes().map(u32::from)).collect()
            }
            Kind::Tokenizer(tokenizer) => {
                tokenizer.encode(text, first).map_err(|error| error.to_string())?.get_ids().to_vec()
            }
        };
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(format!("token {id} is beyond the model's vocab_size {}", self.vocab_size)),
            None => Ok(ids),
        }
    }

    /// The token that ends a record.
    pub(crate) fn end(&self) -> Option<u32> {
        self.end
    }
}
