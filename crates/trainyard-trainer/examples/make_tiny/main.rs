//! Makes the bundled assets again: the example data set and the tiny base model.
//!
//! `cargo run --release -p trainyard-trainer --example make_tiny` writes them under `assets` of this
//! crate; with `data` as argument only the data set. Everything follows from the seeds below.

mod prose;
mod tickets;

use std::error::Error;
use std::path::Path;

use trainyard_trainer::{PretrainOptions, pretrain_tiny};

fn main() -> Result<(), Box<dyn Error>> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let data: String = tickets::records().iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(assets.join("example.jsonl"), data)?;
    if std::env::args().nth(1).as_deref() == Some("data") {
        return Ok(());
    }
    let text = prose::text(600_000, 1);
    let options = PretrainOptions { steps: 500, batch: 8, window: 128, learning_rate: 3e-3, seed: 1 };
    let weights = pretrain_tiny(&text, options, &mut std::io::stdout())?;
    std::fs::write(assets.join("tiny/model.safetensors"), weights)?;
    Ok(())
}

/// A small generator of numbers; the texts need no better.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that always fall the same way for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of these.
    pub(crate) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A number under `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % bound
    }
}
