//! Every name that the vendors' documents use, and what meets what.

use trainyard_domain::Money;

use super::*;
use crate::{Arch, Stock};

fn offer(gpu: &str, gpu_memory_gb: u32) -> Offer {
    Offer {
        id: "1".to_owned(),
        gpu: canonical(gpu, gpu_memory_gb),
        gpu_memory_gb,
        gpu_count: 1,
        price_per_hour: money("1.50"),
        traffic_per_gb: Money::ZERO,
        region: "US-TX-3".to_owned(),
        spot: false,
        stock: Stock::High,
        arch: Arch::X86_64,
        disk_gb_max: None,
    }
}

fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

/// What RunPod's, Lambda's and Vast's documents call their cards, with the memory they tell.
const VENDORS: &[(&str, u32, &str)] = &[
    // RunPod: ids of the catalog.
    ("AMD Instinct MI300X OAM", 192, "MI300X"),
    ("NVIDIA A100 80GB PCIe", 80, "A100-80GB"),
    ("NVIDIA A100-SXM4-80GB", 80, "A100-80GB"),
    ("NVIDIA A30", 24, "A30"),
    ("NVIDIA A40", 48, "A40"),
    ("NVIDIA B200", 180, "B200"),
    ("NVIDIA B300 SXM6 AC", 288, "B300"),
    ("NVIDIA GeForce RTX 3070", 8, "RTX3070"),
    ("NVIDIA GeForce RTX 3080", 10, "RTX3080-10GB"),
    ("NVIDIA GeForce RTX 3080 Ti", 12, "RTX3080TI"),
    ("NVIDIA GeForce RTX 3090", 24, "RTX3090"),
    ("NVIDIA GeForce RTX 3090 Ti", 24, "RTX3090TI"),
    ("NVIDIA GeForce RTX 4070 Ti", 12, "RTX4070TI"),
    ("NVIDIA GeForce RTX 4080", 16, "RTX4080"),
    ("NVIDIA GeForce RTX 4080 SUPER", 16, "RTX4080SUPER"),
    ("NVIDIA GeForce RTX 4090", 24, "RTX4090"),
    ("NVIDIA GeForce RTX 5080", 16, "RTX5080"),
    ("NVIDIA GeForce RTX 5090", 32, "RTX5090"),
    ("NVIDIA H100 80GB HBM3", 80, "H100"),
    ("NVIDIA H100 NVL", 94, "H100"),
    ("NVIDIA H100 PCIe", 80, "H100"),
    ("NVIDIA H200", 141, "H200"),
    ("NVIDIA H200 NVL", 143, "H200"),
    ("NVIDIA L4", 24, "L4"),
    ("NVIDIA L40", 48, "L40"),
    ("NVIDIA L40S", 48, "L40S"),
    ("NVIDIA RTX 2000 Ada Generation", 16, "RTX2000ADA"),
    ("NVIDIA RTX 4000 Ada Generation", 20, "RTX4000ADA"),
    ("NVIDIA RTX 4000 SFF Ada Generation", 20, "RTX4000ADA"),
    ("NVIDIA RTX 5000 Ada Generation", 32, "RTX5000ADA"),
    ("NVIDIA RTX 6000 Ada Generation", 48, "RTX6000ADA"),
    ("NVIDIA RTX A2000", 6, "A2000-6GB"),
    ("NVIDIA RTX A4000", 16, "A4000"),
    ("NVIDIA RTX A4500", 20, "A4500"),
    ("NVIDIA RTX A5000", 24, "A5000"),
    ("NVIDIA RTX A6000", 48, "A6000"),
    ("NVIDIA RTX PRO 4500 Blackwell", 32, "RTXPRO4500"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96, "RTXPRO6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96, "RTXPRO6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96, "RTXPRO6000"),
    ("Tesla V100-PCIE-16GB", 16, "V100-16GB"),
    ("Tesla V100-SXM2-16GB", 16, "V100-16GB"),
    ("Tesla V100-SXM2-32GB", 32, "V100-32GB"),
    // Lambda: `gpu_description` and what stands in the names of its types.
    ("A10 (24 GB PCIe)", 24, "A10"),
    ("1x A10 (24 GB PCIe)", 24, "A10"),
    ("A6000 (48 GB)", 48, "A6000"),
    ("RTX 6000 (24 GB)", 24, "RTX6000"),
    ("A100 (40 GB SXM4)", 40, "A100-40GB"),
    ("A100 (80 GB SXM4)", 80, "A100-80GB"),
    ("Tesla V100 (16 GB)", 16, "V100-16GB"),
    ("GH200 (96 GB)", 96, "GH200"),
    ("H100 (80 GB SXM5)", 80, "H100"),
    ("B200 (180 GB SXM6)", 180, "B200"),
    // Vast: `gpu_name`, with the memory rounded from megabytes.
    ("RTX 4090", 24, "RTX4090"),
    ("RTX 4090D", 24, "RTX4090D"),
    ("RTX 4070S Ti", 16, "RTX4070TISUPER"),
    ("RTX 4080S", 16, "RTX4080SUPER"),
    ("A100 SXM4", 40, "A100-40GB"),
    ("A100 PCIE", 80, "A100-80GB"),
    ("H100 SXM", 80, "H100"),
    ("H200 NVL", 140, "H200"),
    ("RTX 6000Ada", 48, "RTX6000ADA"),
    ("RTX A6000", 48, "A6000"),
    ("Q RTX 8000", 48, "RTX8000"),
    ("Q RTX 6000", 24, "RTX6000"),
    ("RTX PRO 6000 WS", 96, "RTXPRO6000"),
    ("RTX PRO 6000 S", 96, "RTXPRO6000"),
    ("Tesla T4", 15, "T4"),
    ("RTX 5060 Ti", 16, "RTX5060TI-16GB"),
];

#[test]
fn every_name_of_the_vendors_has_its_word() {
    for (name, memory_gb, word) in VENDORS {
        assert_eq!(canonical(name, *memory_gb), *word, "{name}");
        assert_eq!(canonical(word, *memory_gb), *word, "a word is its own word");
        assert!(fits(name, &offer(name, *memory_gb)), "{name} is found by its vendor's name");
        assert!(fits(&word.to_lowercase(), &offer(name, *memory_gb)), "{name} is found as {word}");
    }
}

#[test]
fn no_name_belongs_to_two_words() {
    let mut seen = std::collections::BTreeMap::new();
    for word in WORDS {
        assert!(!word.memory_gb.is_empty(), "{}", word.word);
        let own = std::iter::once(&word.word).chain(word.names);
        for model in own.map(|name| Named::read(name).model) {
            let other = seen.insert(model.clone(), word.word);
            assert!(other.is_none_or(|other| other == word.word), "{model}: {other:?} and {}", word.word);
        }
    }
}

#[test]
fn a_card_without_a_word_keeps_its_name_and_is_found_by_it() {
    let slice = "NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb";
    assert_eq!(canonical(slice, 24), slice);
    assert!(fits(slice, &offer(slice, 24)));
    assert!(!fits("RTXPRO6000", &offer(slice, 24)), "a slice is not the card");
    assert_eq!(canonical(" Quantum 9000 ", 64), "Quantum 9000");
    assert!(fits("quantum-9000", &offer("Quantum 9000", 64)));
    assert!(!fits("", &offer("Quantum 9000", 64)) && !fits("nvidia", &offer("NVIDIA", 64)));
}

#[test]
fn memory_is_looked_at_where_it_is_asked_for() {
    let (small, large) = (offer("A100 SXM4", 40), offer("A100 SXM4", 79));
    assert!(fits("A100", &small) && fits("A100", &large));
    assert!(fits("a100-80gb", &large) && !fits("a100-80gb", &small) && fits("A100 40GB", &small));
    assert!(fits("H100-94GB", &offer("H100 NVL", 94)) && !fits("H100-80GB", &offer("H100 NVL", 94)));
    assert!(!fits("H100", &large) && !fits("A10", &large) && !fits("RTX4090", &offer("RTX 4090D", 24)));
}

#[test]
fn an_offer_meets_a_need_in_every_respect() {
    let good = offer("RTX A6000", 45);
    let need = |change: fn(&mut Resources)| {
        let mut need = Resources {
            gpu: vec!["H100".to_owned(), "a6000".to_owned()],
            gpu_memory_gb: Some(48),
            regions: vec!["eu".to_owned(), "us".to_owned()],
            max_price_per_hour: Some(money("1.50")),
            ..Resources::default()
        };
        change(&mut need);
        need
    };
    assert!(meets(&need(|_| ()), &good));
    assert!(meets(&Resources::default(), &good));
    let changes: [fn(&mut Resources); 5] = [
        |need| need.gpu = vec!["H100".to_owned()],
        |need| need.gpu_memory_gb = Some(80),
        |need| need.gpu_count = 2,
        |need| need.regions = vec!["EU".to_owned(), "TX".to_owned()],
        |need| need.max_price_per_hour = Some(money("1.49")),
    ];
    for change in changes {
        assert!(!meets(&need(change), &good));
    }
    let small = Offer { disk_gb_max: Some(79), ..good.clone() };
    assert!(!meets(&need(|_| ()), &small) && meets(&need(|need| need.disk_gb = 79), &small));
    let spot = Offer { spot: true, ..good.clone() };
    assert!(!meets(&need(|_| ()), &spot) && meets(&need(|need| need.spot = true), &spot));
    assert!(meets(&need(|need| need.spot = true), &good), "one that nobody takes back is as good");
    let texas = Offer { region: "Texas, US".to_owned(), ..good };
    assert!(
        meets(&need(|_| ()), &texas) && !meets(&need(|need| need.regions = vec!["Xas".to_owned()]), &texas)
    );
}
