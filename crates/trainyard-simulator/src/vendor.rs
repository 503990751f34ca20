//! The three vendors that are simulated.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A simulated vendor. Its word is the first part of its addresses (`/runpod/…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// RunPod.
    Runpod,
    /// Lambda.
    Lambda,
    /// Vast.ai.
    Vastai,
}

impl Vendor {
    /// All of them.
    pub const ALL: [Vendor; 3] = [Vendor::Runpod, Vendor::Lambda, Vendor::Vastai];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Vendor::Runpod => "runpod",
            Vendor::Lambda => "lambda",
            Vendor::Vastai => "vastai",
        }
    }

    /// The vendor of that word.
    pub fn parse(word: &str) -> Option<Vendor> {
        Vendor::ALL.into_iter().find(|vendor| vendor.as_str() == word)
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
