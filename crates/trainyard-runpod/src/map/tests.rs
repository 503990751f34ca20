//! The tables: RunPod's words on the left, ours on the right. Answers are such as RunPod's API reference shows or
//! were recorded from it.

use serde_json::{Value, json};
use trainyard_connector::{MachinePhase, Stock};
use trainyard_domain::{Money, OrderName, Resources};

use super::logs::broken;
use super::{Cursor, OfferId, billed, differs, hourly, log_of, money, observation, offers_of};
use crate::config::CloudTier;
use crate::wire::{Billing, GpuList, Number, Pod};

fn usd(text: &str) -> Money {
    text.parse().expect("money")
}

fn pod(change: Value) -> Pod {
    let mut pod = json!({"id": "5xpma5eg46tqjq", "name": "ty-abcd1234-01jd0000000000000000000000",
        "status": "RUNNING", "actions": ["stop", "restart", "terminate"], "disk": 80, "cost": 0.72,
        "gpu": {"id": "NVIDIA RTX PRO 4500 Blackwell", "count": 1}, "runtime": {"uptime": 3, "ports": []}});
    for (key, value) in change.as_object().expect("an object") {
        pod[key] = value.clone();
    }
    serde_json::from_value(pod).expect("a pod")
}

fn order() -> OrderName {
    "ty-abcd1234-01jd0000000000000000000000".parse().expect("an order's name")
}

#[test]
fn every_status_has_its_phase_and_an_unknown_word_is_kept() {
    use MachinePhase::{Booting, Gone, Unknown, Up};
    let table = [
        (json!({}), Up),
        (json!({"status": "PROVISIONING", "runtime": {}}), Booting),
        (json!({"status": "STARTING", "runtime": null}), Booting),
        (json!({"runtime": null}), Booting),
        (json!({"runtime": {}}), Booting),
        (json!({"runtime": {"uptime": 0}}), Booting),
        (json!({"runtime": {"uptime": 0, "ports": []}}), Booting),
        (
            json!({"runtime": {"uptime": 0, "ports": [{"private": 19123, "public": 60821, "type": "http"}]}}),
            Up,
        ),
        (json!({"status": "TERMINATED", "runtime": null}), Gone),
        (json!({"status": "HIBERNATING"}), Unknown("HIBERNATING".to_owned())),
        (json!({"status": null}), Unknown(String::new())),
    ];
    let at = chrono_epoch();
    for (change, phase) in table {
        let seen = observation(&order(), &pod(change.clone()), at).expect("an observation");
        assert_eq!(seen.phase, phase, "{change}");
    }
    for status in ["EXITED", "ERROR"] {
        let seen = observation(&order(), &pod(json!({"status": status, "runtime": null})), at);
        let phase = seen.expect("an observation").phase;
        assert!(
            matches!(&phase, MachinePhase::Broken { what, elsewhere: true } if what.contains(status)),
            "{phase:?}"
        );
    }
}

fn chrono_epoch() -> trainyard_domain::Timestamp {
    trainyard_domain::Timestamp::UNIX_EPOCH
}

#[test]
fn a_pod_without_an_id_is_no_answer() {
    for id in [json!(""), json!(null), json!("a b")] {
        assert!(observation(&order(), &pod(json!({"id": id})), chrono_epoch()).is_err(), "{id}");
    }
}

#[test]
fn prices_are_exact_and_hold_the_disk() {
    assert_eq!(money(Number(Some(0.74))), Some(usd("0.74")));
    assert_eq!(money(Number(Some(0.740_000_009_536_743_2))), Some(usd("0.74")), "a 32-bit float");
    assert_eq!(money(Number(Some(-1.0))), None);
    assert_eq!(money(Number(None)), None);
    assert_eq!(hourly(Number(Some(0.72)), 73), Some(usd("0.73")));
    assert_eq!(hourly(Number(Some(0.0)), 80), None, "RunPod writes zero where it does not know");
    let seen = observation(&order(), &pod(json!({"disk": 146})), chrono_epoch()).expect("an observation");
    assert_eq!(seen.price_per_hour, Some(usd("0.74")));
}

fn catalog() -> GpuList {
    let entry = |id: &str, memory: u32, secure: f64, community: f64, more: Value| {
        let mut entry = json!({"id": id, "name": id, "pool": null, "manufacturer": "NVIDIA", "memory": memory,
            "secure": secure > 0.0, "community": community > 0.0,
            "price": {"secure": secure, "community": community}, "maxCount": {"secure": 8, "community": 2},
            "availability": "HIGH", "dataCenters": [
                {"id": "US-KS-2", "name": "US-KS-2", "availability": "HIGH"},
                {"id": "EU-RO-1", "name": "EU-RO-1", "availability": "LOW"},
                {"id": "EU-SE-1", "name": "EU-SE-1", "availability": "NONE"}]});
        for (key, value) in more.as_object().expect("an object") {
            entry[key] = value.clone();
        }
        entry
    };
    serde_json::from_value(json!({"gpus": [
        entry("NVIDIA GeForce RTX 4090", 24, 0.74, 0.34, json!({})),
        entry("NVIDIA A100 80GB PCIe", 80, 1.39, 1.19, json!({"availability": "LOW"})),
        entry("NVIDIA L4", 24, 0.43, 0.0, json!({"availability": "NONE", "dataCenters": null})),
        entry("NVIDIA RTX A4000", 16, 0.0, 0.17, json!({})),
        entry("AMD Instinct MI300X OAM", 192, 1.99, 0.0, json!({"manufacturer": "AMD"})),
        entry("unknown", 0, 0.1, 0.1, json!({"manufacturer": "UNKNOWN"})),
    ]}))
    .expect("a catalog")
}

fn offered(cloud: CloudTier, need: &Resources) -> Vec<(String, String, Stock)> {
    let offers = offers_of(&catalog(), cloud, need, None).into_iter();
    offers.map(|offer| (offer.id, offer.price_per_hour.to_string(), offer.stock)).collect()
}

fn line(id: &str, price: &str, stock: Stock) -> (String, String, Stock) {
    (id.to_owned(), price.to_owned(), stock)
}

#[test]
fn a_type_of_gpu_is_an_offer_in_each_tier_that_has_it() {
    let need = Resources { disk_gb: 73, ..Resources::default() };
    assert_eq!(
        offered(CloudTier::Secure, &need),
        [
            line("SECURE/*/NVIDIA GeForce RTX 4090", "0.75", Stock::High),
            line("SECURE/*/NVIDIA A100 80GB PCIe", "1.40", Stock::Low),
        ]
    );
    assert_eq!(
        offered(CloudTier::Community, &need),
        [
            line("COMMUNITY/*/NVIDIA GeForce RTX 4090", "0.35", Stock::High),
            line("COMMUNITY/*/NVIDIA A100 80GB PCIe", "1.20", Stock::Low),
            line("COMMUNITY/*/NVIDIA RTX A4000", "0.18", Stock::High),
        ]
    );
}

#[test]
fn the_need_is_looked_at() {
    let need = |change: fn(&mut Resources)| {
        let mut need = Resources { disk_gb: 73, ..Resources::default() };
        change(&mut need);
        offered(CloudTier::Secure, &need)
    };
    let four = need(|need| need.gpu_count = 4);
    assert_eq!(four[0], line("SECURE/*/NVIDIA GeForce RTX 4090", "2.97", Stock::High));
    assert!(need(|need| need.gpu_count = 9).is_empty(), "more than a machine has");
    assert!(need(|need| need.spot = true).is_empty(), "there is no spot");
    let europe = need(|need| need.regions = vec!["eu".to_owned()]);
    assert_eq!(europe.first(), Some(&line("SECURE/EU-RO-1/NVIDIA GeForce RTX 4090", "0.75", Stock::Low)));
    assert!(europe.iter().all(|(id, ..)| id.starts_with("SECURE/EU-RO-1/")), "{europe:?}");
    let large = need(|need| need.gpu_memory_gb = Some(80));
    assert_eq!(large.len(), 1, "{large:?}");
    let named = need(|need| need.gpu = vec!["MI300X".to_owned()]);
    assert_eq!(named.len(), 1, "another maker's card where it is asked for: {named:?}");
    assert!(need(|need| need.max_price_per_hour = "0.74".parse().ok()).is_empty(), "the disk counts too");
}

#[test]
fn an_offers_id_says_what_to_order() {
    for text in ["SECURE/*/NVIDIA L4", "COMMUNITY/EU-RO-1/NVIDIA GeForce RTX 4090", "SECURE/*/a/b"] {
        assert_eq!(text.parse::<OfferId>().expect("an id").to_string(), text);
    }
    for text in ["", "SECURE", "SECURE/*", "SECURE/*/", "SECURE//x", "secure/*/x", "SPOT/*/x"] {
        assert!(text.parse::<OfferId>().is_err(), "{text}");
    }
}

#[test]
fn another_machine_than_ordered_is_noticed() {
    let gpu = "NVIDIA RTX PRO 4500 Blackwell";
    assert_eq!(differs(&pod(json!({})), &order(), gpu, 1), None);
    assert_eq!(differs(&pod(json!({"gpu": null})), &order(), gpu, 1), None, "not told");
    assert!(differs(&pod(json!({})), &order(), "NVIDIA L4", 1).is_some());
    assert!(differs(&pod(json!({})), &order(), gpu, 2).is_some());
    assert!(differs(&pod(json!({"name": "else"})), &order(), gpu, 1).is_some());
}

#[test]
fn a_bill_is_the_sum_of_its_records() {
    let billing: Billing = serde_json::from_value(json!({"records": [
        {"podId": "a", "totalAmount": 0.25, "gpuAmount": 0.2, "diskAmount": 0.05},
        {"podId": "b", "totalAmount": 9.0}, {"podId": "a", "totalAmount": "0.5"}], "metadata": {}}))
    .expect("records");
    assert_eq!(billed(&billing, "a"), Some(usd("0.75")));
    assert_eq!(billed(&billing, "c"), None);
}

fn stream(lines: &[(&str, &str, &str)]) -> String {
    let event = |(id, source, line): &(&str, &str, &str)| {
        let ts = id.split('/').next().expect("a time");
        format!("id: {id}\ndata: {}\n\n", json!({"ts": ts, "source": source, "line": line}))
    };
    lines.iter().map(event).collect()
}

#[test]
fn a_log_goes_on_where_it_stopped() {
    let lines = [
        ("2026-06-01T12:02:03Z/1", "system", "pulling image"),
        ("2026-06-01T12:02:03Z/2", "container", "one"),
        ("2026-06-01T12:02:03Z/3", "container", "two"),
    ];
    let first = log_of(stream(&lines[..2]).as_bytes(), None);
    assert_eq!(first.lines, ["system: pulling image", "one"]);
    let cursor = Cursor::parse(first.cursor.as_deref().expect("a cursor")).expect("a cursor of ours");
    assert_eq!(
        cursor.since(),
        "2026-06-01T12:02:02Z",
        "a second earlier: what it holds is told apart by its id"
    );
    let second = log_of(stream(&lines).as_bytes(), Some(&cursor));
    assert_eq!(second.lines, ["two"], "what has the same time is told once");
    let cursor = Cursor::parse(second.cursor.as_deref().expect("a cursor")).expect("a cursor of ours");
    let third = log_of(b"", Some(&cursor));
    assert_eq!((third.lines.len(), third.cursor), (0, second.cursor));
    // The log's service does not know the id any more: what it tells is given, rather twice than never.
    assert_eq!(log_of(stream(&lines[..1]).as_bytes(), Some(&cursor)).lines.len(), 1);
    assert_eq!(Cursor::parse("nonsense"), None);
}

#[test]
fn a_broken_stream_gives_what_is_whole() {
    let whole = stream(&[("2026-06-01T12:02:03Z/1", "container", "é")]);
    let cut = format!(": hello\n\nevent: x\n\n{whole}id: 2\ndata: {{\"ts\":\"2026\",\"li");
    assert_eq!(log_of(cut.as_bytes(), None).lines, ["é"]);
    let no_id = "data: {\"ts\":\"2026-06-01T12:02:03Z\",\"source\":\"container\",\"line\":\"x\"}\r\n\r\n";
    assert_eq!(
        log_of(no_id.as_bytes(), None).cursor.as_deref(),
        Some("2026-06-01T12:02:03Z|2026-06-01T12:02:03Z")
    );
    let long = "é".repeat(5000);
    let log = log_of(stream(&[("2026-06-01T12:02:03Z/1", "container", &long)]).as_bytes(), None);
    assert!(log.lines[0].len() <= 4096 && long.starts_with(&log.lines[0]));
    let many: Vec<_> = (0..1500).map(|_| ("2026-06-01T12:02:03Z/1", "container", "x")).collect();
    assert_eq!(log_of(stream(&many).as_bytes(), None).lines.len(), 1000);
    assert!(log_of(b"\xff\xfe\n\n\x00", None).lines.is_empty());
}

#[test]
fn a_start_that_fails_is_seen_in_the_log() {
    let table = [
        ("error pulling image: manifest for acme/nothing:latest not found: manifest unknown", Some(false)),
        (
            "pull access denied for acme/secret, repository does not exist or may require 'docker login'",
            Some(false),
        ),
        ("toomanyrequests: You have reached your pull rate limit", Some(true)),
        ("failed to pull image: connection reset by peer", Some(true)),
        (
            "OCI runtime create failed: runc create failed: exec: \"sh\": executable file not found in $PATH",
            Some(false),
        ),
        (
            "OCI runtime create failed: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8",
            Some(true),
        ),
        ("write /var/lib: no space left on device", Some(true)),
        ("create container acme/train:1", None),
        ("latest Pulling from acme/train", None),
        ("Status: Downloaded newer image for acme/train:1", None),
        ("start container for acme/train:1: begin", None),
    ];
    for (text, elsewhere) in table {
        assert_eq!(broken(text).map(|(_, elsewhere)| elsewhere), elsewhere, "{text}");
    }
    let told = log_of(stream(&[("t/1", "system", table[0].0)]).as_bytes(), None).broken.expect("broken");
    assert!(told.0.contains("does not exist") && told.0.contains("acme/nothing"), "{}", told.0);
    let gave_up = stream(&[("t/1", "container", "trainyard-boot: failed libc too old")]);
    assert!(log_of(gave_up.as_bytes(), None).broken.is_some_and(|(_, elsewhere)| !elsewhere));
    // A training that prints such a text breaks nothing.
    assert_eq!(log_of(stream(&[("t/1", "container", table[0].0)]).as_bytes(), None).broken, None);
}
