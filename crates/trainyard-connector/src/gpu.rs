//! One list of words for GPUs, and whether an offer meets a need.
//!
//! A word is a model, whatever its form factor: `H100` is the PCIe card, the SXM module and the NVL pair. Where a model
//! comes with different memory, an offer's word says how much: `A100-80GB`. Vendors spell the same card in many
//! ways; what they have in common is compared, and the table holds the rest. A card that is not in the table keeps
//! the vendor's own name and can be asked for by it.

use trainyard_domain::Resources;

use crate::Offer;

/// How far the memory that a vendor counts may lie from the round number: 45 GB of 48 with error correction on.
const MEMORY_SLACK: f64 = 0.07;

/// A model of GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Its word in `resources.gpu`.
    pub word: &'static str,
    /// Sizes of memory it comes with, in GB. More than one: an offer's word tells which.
    pub memory_gb: &'static [u32],
    /// What vendors call it, without the maker, the form factor and the memory.
    pub names: &'static [&'static str],
}

const fn word(word: &'static str, memory_gb: &'static [u32], names: &'static [&'static str]) -> Word {
    Word { word, memory_gb, names }
}

/// Every word, by generation, the newest first.
pub const WORDS: &[Word] = &[
    word("B300", &[288], &["B300"]),
    word("B200", &[180], &["B200"]),
    word("GB300", &[288], &["GB300"]),
    word("GB200", &[186], &["GB200"]),
    word(
        "RTXPRO6000",
        &[96],
        &[
            "RTX PRO 6000",
            "RTX PRO 6000 Blackwell",
            "RTX PRO 6000 Blackwell Max-Q",
            "RTX PRO 6000 WS",
            "RTX PRO 6000 S",
        ],
    ),
    word("RTXPRO5000", &[48], &["RTX PRO 5000", "RTX PRO 5000 Blackwell"]),
    word("RTXPRO4500", &[32], &["RTX PRO 4500", "RTX PRO 4500 Blackwell"]),
    word("RTXPRO4000", &[24], &["RTX PRO 4000", "RTX PRO 4000 Blackwell"]),
    word("RTX5090", &[32], &["RTX 5090"]),
    word("RTX5080", &[16], &["RTX 5080"]),
    word("RTX5070TI", &[16], &["RTX 5070 Ti"]),
    word("RTX5070", &[12], &["RTX 5070"]),
    word("RTX5060TI", &[8, 16], &["RTX 5060 Ti"]),
    word("RTX5060", &[8], &["RTX 5060"]),
    word("H200", &[141], &["H200"]),
    word("GH200", &[96], &["GH200"]),
    word("H100", &[80], &["H100"]),
    word("L40S", &[48], &["L40S"]),
    word("L40", &[48], &["L40"]),
    word("L4", &[24], &["L4"]),
    word("RTX6000ADA", &[48], &["RTX 6000 Ada", "6000 Ada"]),
    word("RTX5880ADA", &[48], &["RTX 5880 Ada"]),
    word("RTX5000ADA", &[32], &["RTX 5000 Ada"]),
    word("RTX4500ADA", &[24], &["RTX 4500 Ada"]),
    word("RTX4000ADA", &[20], &["RTX 4000 Ada", "RTX 4000 SFF Ada"]),
    word("RTX2000ADA", &[16], &["RTX 2000 Ada"]),
    word("RTX4090", &[24], &["RTX 4090", "4090"]),
    word("RTX4090D", &[24], &["RTX 4090D", "RTX 4090 D"]),
    word("RTX4080SUPER", &[16], &["RTX 4080 SUPER", "RTX 4080S"]),
    word("RTX4080", &[16], &["RTX 4080"]),
    word("RTX4070TISUPER", &[16], &["RTX 4070 Ti SUPER", "RTX 4070S Ti", "RTX 4070 Ti S"]),
    word("RTX4070TI", &[12], &["RTX 4070 Ti"]),
    word("RTX4070SUPER", &[12], &["RTX 4070 SUPER", "RTX 4070S"]),
    word("RTX4070", &[12], &["RTX 4070"]),
    word("RTX4060TI", &[8, 16], &["RTX 4060 Ti"]),
    word("RTX4060", &[8], &["RTX 4060"]),
    word("A100", &[40, 80], &["A100", "A100X"]),
    word("A800", &[40, 80], &["A800"]),
    word("A40", &[48], &["A40"]),
    word("A30", &[24], &["A30"]),
    word("A16", &[16], &["A16"]),
    word("A10", &[24], &["A10", "A10G"]),
    word("A6000", &[48], &["A6000", "RTX A6000"]),
    word("A5000", &[24], &["A5000", "RTX A5000"]),
    word("A4500", &[20], &["A4500", "RTX A4500"]),
    word("A4000", &[16], &["A4000", "RTX A4000"]),
    word("A2000", &[6, 12], &["A2000", "RTX A2000"]),
    word("RTX3090TI", &[24], &["RTX 3090 Ti"]),
    word("RTX3090", &[24], &["RTX 3090", "3090"]),
    word("RTX3080TI", &[12], &["RTX 3080 Ti"]),
    word("RTX3080", &[10, 12], &["RTX 3080"]),
    word("RTX3070TI", &[8], &["RTX 3070 Ti"]),
    word("RTX3070", &[8], &["RTX 3070"]),
    word("RTX3060TI", &[8], &["RTX 3060 Ti"]),
    word("RTX3060", &[12], &["RTX 3060"]),
    word("V100", &[16, 32], &["V100", "V100S"]),
    word("T4", &[16], &["T4"]),
    word("RTX8000", &[48], &["RTX 8000", "Q RTX 8000"]),
    word("RTX6000", &[24], &["RTX 6000", "Q RTX 6000"]),
    word("RTX5000", &[16], &["RTX 5000", "Q RTX 5000"]),
    word("RTX4000", &[8], &["RTX 4000", "Q RTX 4000"]),
    word("RTX2080TI", &[11, 22], &["RTX 2080 Ti"]),
    word("TITANRTX", &[24], &["TITAN RTX"]),
    word("TITANV", &[12], &["TITAN V"]),
    word("P100", &[16], &["P100"]),
    word("P40", &[24], &["P40"]),
    word("GTX1080TI", &[11], &["GTX 1080 Ti"]),
    word("MI300X", &[192], &["MI300X"]),
];

/// Words of a vendor's name that say nothing about the model: maker, family, form factor, kind of memory.
const NOISE: &[&str] = &[
    "NVIDIA",
    "AMD",
    "GEFORCE",
    "TESLA",
    "QUADRO",
    "INSTINCT",
    "PCIE",
    "PCI",
    "NVL",
    "NVLINK",
    "OAM",
    "AC",
    "HBM2",
    "HBM2E",
    "HBM3",
    "HBM3E",
    "GENERATION",
    "SERVER",
    "WORKSTATION",
    "EDITION",
    "GPU",
];

/// The word for what a vendor calls its card, with the memory where the model comes with several sizes. A name that is
/// not in the table stays as it is.
pub fn canonical(vendor_name: &str, memory_gb: u32) -> String {
    let Some(word) = lookup(&Named::read(vendor_name)) else { return vendor_name.trim().to_owned() };
    if word.memory_gb.len() < 2 {
        return word.word.to_owned();
    }
    let size = word.memory_gb.iter().find(|size| about(memory_gb, **size)).copied().unwrap_or(memory_gb);
    format!("{}-{size}GB", word.word)
}

/// Whether a card that was asked for (`H100`, `a100-80gb`, `RTX 4090`) is the one of an offer.
pub fn fits(asked: &str, offer: &Offer) -> bool {
    let (asked, there) = (Named::read(asked), Named::read(&offer.gpu));
    let same_model = match (lookup(&asked), lookup(&there)) {
        (Some(one), Some(other)) => one.word == other.word,
        (None, None) => !asked.model.is_empty() && asked.model == there.model,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same_model && asked.memory_gb.is_none_or(|size| about(offer.gpu_memory_gb, size))
}

/// Whether an offer has everything that a job's machine must have: one of the cards, memory, number of cards, region,
/// price, disk; and one that the vendor may take back only where the job allows it.
pub fn meets(need: &Resources, offer: &Offer) -> bool {
    let card = need.gpu.is_empty() || need.gpu.iter().any(|asked| fits(asked, offer));
    let least = |size: u32| f64::from(offer.gpu_memory_gb) >= f64::from(size) * (1.0 - MEMORY_SLACK);
    card && need.gpu_memory_gb.is_none_or(least)
        && (need.gpu_count == 0 || offer.gpu_count == need.gpu_count)
        && (need.regions.is_empty() || need.regions.iter().any(|region| lies_in(&offer.region, region)))
        && (need.spot || !offer.spot)
        && need.max_price_per_hour.is_none_or(|most| offer.price_per_hour <= most)
        && offer.disk_gb_max.is_none_or(|most| most >= need.disk_gb)
}

/// A region is asked for by the beginning of its name, or of a part of it: `US` is in `US-TX-3` and in `Texas, US`.
fn lies_in(region: &str, asked: &str) -> bool {
    let begins = |part: &str| {
        let part = part.trim();
        part.get(..asked.len()).is_some_and(|head| head.eq_ignore_ascii_case(asked))
    };
    begins(region) || region.split(',').any(begins)
}

fn about(memory_gb: u32, size: u32) -> bool {
    (f64::from(memory_gb) - f64::from(size)).abs() <= f64::from(size) * MEMORY_SLACK
}

fn lookup(named: &Named) -> Option<&'static Word> {
    let is = |name: &str| Named::read(name).model == named.model;
    WORDS.iter().find(|word| is(word.word) || word.names.iter().any(|name| is(name)))
}

/// A name taken apart: what says the model, and the memory where it is named.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    model: String,
    memory_gb: Option<u32>,
}

impl Named {
    fn read(name: &str) -> Named {
        let upper = name.to_ascii_uppercase();
        let mut named = Named { model: String::new(), memory_gb: None };
        let mut tokens =
            upper.split(|c: char| !c.is_ascii_alphanumeric()).filter(|token| !token.is_empty()).peekable();
        while let Some(token) = tokens.next() {
            let size = |digits: &str| digits.parse().ok();
            if let Some(size) = token.strip_suffix("GB").and_then(size) {
                named.memory_gb = Some(size);
            } else if let Some(size) = size(token)
                && tokens.next_if_eq(&"GB").is_some()
            {
                named.memory_gb = Some(size);
            } else if !says_no_model(token) {
                named.model.push_str(token);
            }
        }
        named
    }
}

/// Noise, a form factor (`SXM4`), or a number of cards (`8x`).
fn says_no_model(token: &str) -> bool {
    let cards =
        token.strip_suffix('X').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    NOISE.contains(&token) || token.starts_with("SXM") || cards
}

#[cfg(test)]
mod tests;
