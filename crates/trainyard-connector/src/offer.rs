//! What can be rented: an offer, as the vendor shows it, in our words.

use trainyard_domain::Money;

/// Most offers of one answer.
pub const OFFERS_MAX: usize = 500;

/// A machine for rent.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// What the connector needs to order exactly this one; opaque to everybody else, at most 200 characters. Stable
    /// enough to avoid an offer that was just refused: two readings of the same offer have the same id.
    pub id: String,
    /// The card's model in the words of `resources.gpu` (`RTX4090`, `A100-80GB`, `H100`); of a model without a word of
    /// ours the vendor's own.
    pub gpu: String,
    /// Memory of each card, in GB as the vendors count them.
    pub gpu_memory_gb: u32,
    /// Cards.
    pub gpu_count: u32,
    /// What the whole machine costs per hour, with the disk that was asked for where the vendor charges for it.
    pub price_per_hour: Money,
    /// What a GB of traffic costs on top, the dearer direction; zero where traffic is free.
    pub traffic_per_gb: Money,
    /// The vendor's word for where it stands.
    pub region: String,
    /// Whether the vendor may take it back at any time.
    pub spot: bool,
    /// How likely it is to be had.
    pub stock: Stock,
    /// Its processor.
    pub arch: Arch,
    /// Most disk it can have, in GB; none where the vendor does not tell.
    pub disk_gb_max: Option<u32>,
}

/// How likely an offer is to be had. A hint: an order may be refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// There now.
    High,
    /// Some.
    Medium,
    /// The last ones.
    Low,
    /// The vendor does not tell.
    Unknown,
}

/// A processor's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// `x86_64`.
    X86_64,
    /// `aarch64`, called `arm64` too.
    Aarch64,
}

impl Arch {
    /// The word that `uname -m` and Rust's targets have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The architecture of that word, in any of the usual spellings.
    pub fn parse(word: &str) -> Option<Arch> {
        match word {
            "x86_64" | "amd64" | "x64" => Some(Arch::X86_64),
            "aarch64" | "arm64" => Some(Arch::Aarch64),
            _ => None,
        }
    }
}
