//! Tables over what Lambda was seen to send.

use serde_json::{Value, json};
use trainyard_connector::{ErrorKind, Offer, ProvisionOrder, Stock};
use trainyard_domain::Resources;

use super::*;
use crate::wire::InstanceTypes;

fn owner() -> InstallationId {
    "abcd1234".parse().unwrap()
}

fn order() -> OrderName {
    format!("ty-abcd1234-{}", "0".repeat(26)).parse().unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_timestamp(1_767_225_600, 0).unwrap()
}

fn kind(name: &str, gpu: &str, cents: Value, gpus: u32, architecture: Value) -> Value {
    json!({
        "name": name, "description": format!("{gpus}x {gpu}"), "gpu_description": gpu, "price_cents_per_hour": cents,
        "specs": { "vcpus": 30, "memory_gib": 200, "storage_gib": 1400, "gpus": gpus }, "architecture": architecture,
    })
}

fn types() -> InstanceTypes {
    let regions = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({ "name": name, "description": "somewhere" })).collect()
    };
    let entry = |kind: Value, names: &[&str]| json!({ "instance_type": kind, "regions_with_capacity_available": regions(names), "surprise": [1] });
    serde_json::from_value(json!({
        "gpu_1x_a10": entry(kind("gpu_1x_a10", "A10 (24 GB PCIe)", json!(129), 1, Value::Null), &["us-east-1", "us-west-1"]),
        "gpu_8x_a100": entry(kind("gpu_8x_a100", "A100 (40 GB SXM4)", json!("1592"), 8, json!("x86_64")), &["me-west-1"]),
        "gpu_8x_v100": entry(kind("gpu_8x_v100", "Tesla V100 (16 GB)", json!(632), 8, Value::Null), &["us-south-1"]),
        "gpu_1x_gh200": entry(kind("gpu_1x_gh200", "GH200 (96 GB)", json!(229), 1, Value::Null), &["us-east-3"]),
        "gpu_1x_new": entry(kind("gpu_1x_new", "X1 (32 GB)", json!(99), 1, json!("riscv64")), &["us-east-3"]),
        "cpu_4x_general": entry(kind("cpu_4x_general", "N/A", json!(10), 0, Value::Null), &["us-east-1"]),
        "surprise": { "of": "the service" },
        "gpu_1x_rtx6000": {
            "instance_type": kind("gpu_1x_rtx6000", "RTX 6000 (24 GB)", json!(69), 1, Value::Null),
            "regions_with_capacity_available": null,
        },
    }))
    .unwrap()
}

fn shown(offer: &Offer) -> String {
    format!(
        "{} {} {}GB x{} {} {} {}",
        offer.id,
        offer.gpu,
        offer.gpu_memory_gb,
        offer.gpu_count,
        offer.price_per_hour,
        offer.region,
        offer.arch.as_str()
    )
}

#[test]
fn offers_are_types_by_region_with_an_agent_for_them_cheapest_first() {
    let both: Vec<String> = offers(&types(), &[Arch::X86_64, Arch::Aarch64]).iter().map(shown).collect();
    assert_eq!(
        both,
        [
            "gpu_1x_a10@us-east-1 A10 24GB x1 1.29 us-east-1 x86_64",
            "gpu_1x_a10@us-west-1 A10 24GB x1 1.29 us-west-1 x86_64",
            "gpu_1x_gh200@us-east-3 GH200 96GB x1 2.29 us-east-3 aarch64",
            "gpu_8x_v100@us-south-1 V100-16GB 16GB x8 6.32 us-south-1 x86_64",
            "gpu_8x_a100@me-west-1 A100-40GB 40GB x8 15.92 me-west-1 x86_64",
        ]
    );
    let one = offers(&types(), &[Arch::X86_64]);
    assert!(one.iter().all(|offer| offer.arch == Arch::X86_64) && one.len() == 4);
    assert!(one.iter().all(|offer| offer.stock == Stock::Medium && offer.disk_gb_max == Some(1503)));
    assert!(offers(&types(), &[]).is_empty());
}

fn ordered(id: &str) -> ProvisionOrder {
    let mut offer = offers(&types(), &[Arch::X86_64]).remove(0);
    offer.id = id.to_owned();
    ProvisionOrder {
        name: order(),
        resources: Resources::default(),
        offer: Some(offer),
        image: None,
        registry: None,
    }
}

#[test]
fn an_order_names_a_type_and_a_region() {
    let choice = Choice::of(&ordered("gpu_1x_a10@us-east-1")).unwrap();
    assert_eq!((choice.instance_type.as_str(), choice.region.as_str()), ("gpu_1x_a10", "us-east-1"));
    for bad in ["", "gpu_1x_a10", "@", "gpu_1x_a10@", "@us-east-1"] {
        assert_eq!(Choice::of(&ordered(bad)).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
    }
    let none = ProvisionOrder { offer: None, ..ordered("") };
    assert_eq!(Choice::of(&none).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn the_price_is_looked_at_once_more() {
    let choice = |id: &str| Choice::of(&ordered(id)).unwrap();
    let most = |text: &str| Some(text.parse().unwrap());
    let a10 = choice("gpu_1x_a10@us-east-1");
    assert_eq!(price_now(&types(), &a10, None).unwrap().to_string(), "1.29");
    assert!(price_now(&types(), &a10, most("1.29")).is_ok());
    let dear = price_now(&types(), &a10, most("1.28")).unwrap_err();
    assert_eq!(dear.kind, ErrorKind::PriceChanged);
    for gone in ["gpu_1x_a10@me-west-1", "gpu_1x_rtx6000@us-east-1", "gpu_9x_none@us-east-1"] {
        assert_eq!(
            price_now(&types(), &choice(gone), None).unwrap_err().kind,
            ErrorKind::NoCapacity,
            "{gone}"
        );
    }
}

fn instance(more: Value) -> Instance {
    let mut whole = json!({
        "id": "0920582c7ff041399e34823a0be62549", "status": "active",
        "ssh_key_names": ["k"], "file_system_names": [],
        "region": { "name": "us-east-1", "description": "Virginia, USA" },
        "instance_type": kind("gpu_1x_a10", "A10 (24 GB PCIe)", json!(129), 1, Value::Null),
        "actions": { "terminate": { "available": true } },
        "jupyter_token": "SECRET", "jupyter_url": "https://jupyter.example/?token=SECRET",
        "is_reserved": false, "workspace_id": "w", "hostname": null, "private_ip": null,
    });
    let (into, from) = (whole.as_object_mut().unwrap(), more.as_object().unwrap().clone());
    into.extend(from);
    serde_json::from_value(whole).unwrap()
}

fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

#[test]
fn only_an_exact_name_of_ours_is_ours() {
    let (order, other) = (order().to_string(), format!("ty-other000-{}", "0".repeat(26)));
    let is = |more: Value| order_of(&instance(more), &owner()).map(String::from);
    let of_tag = |order: &str| tags(&[("trainyard:order", order), ("trainyard:owner", "abcd1234")]);
    assert_eq!(is(json!({ "tags": of_tag(&order) })), Some(order.clone()));
    assert_eq!(is(json!({ "tags": of_tag(&order), "name": "renamed" })), Some(order.clone()));
    assert_eq!(is(json!({ "name": order, "tags": null })), Some(order.clone()));
    assert_eq!(is(json!({ "name": order, "tags": of_tag("nonsense") })), None);
    assert_eq!(is(json!({ "name": other })), None);
    assert_eq!(is(json!({ "name": format!("{order} ") })), None);
    assert_eq!(is(json!({ "name": null })), None);
    assert_eq!(is(json!({})), None);
    assert_eq!(is(json!({ "name": order, "tags": tags(&[("trainyard:owner", "other000")]) })), None);
}

#[test]
fn every_status_and_what_is_not_one() {
    let broken = |what: &str| MachinePhase::Broken { what: what.to_owned(), elsewhere: true };
    let unhealthy = broken("Lambda calls the machine unhealthy, and it does not answer by SSH");
    let table = [
        ("booting", false, MachinePhase::Booting),
        ("active", false, MachinePhase::Up),
        ("unhealthy", false, unhealthy),
        ("unhealthy", true, MachinePhase::Up),
        ("terminating", true, broken("the machine is being terminated")),
        ("preempted", true, broken("Lambda took the machine away (preempted)")),
        ("terminated", true, MachinePhase::Gone),
        ("migrating", false, MachinePhase::Unknown("migrating".to_owned())),
    ];
    for (status, reached, expected) in table {
        assert_eq!(phase(&instance(json!({ "status": status })), reached), expected, "{status} {reached}");
    }
    assert_eq!(phase(&instance(json!({ "status": null })), true), MachinePhase::Unknown(String::new()));
}

#[test]
fn another_machine_than_the_one_asked_for_is_given_back() {
    let asked = |id: &str| instance(json!({ "tags": tags(&[("trainyard:offer", id)]) }));
    assert_eq!(phase(&asked("gpu_1x_a10@us-east-1"), false), MachinePhase::Up);
    for other in ["gpu_1x_a10@us-west-1", "gpu_1x_h100_pcie@us-east-1"] {
        assert!(
            matches!(phase(&asked(other), false), MachinePhase::Broken { elsewhere: true, .. }),
            "{other}"
        );
    }
}

#[test]
fn an_observation_has_the_price_and_holds_no_secret() {
    let seen = instance(json!({ "name": order(), "ip": "198.51.100.2" }));
    let observed = observation(&seen, &owner(), false, at()).unwrap();
    assert_eq!(observed.price_per_hour, cents(129));
    assert_eq!(observed.order, order());
    assert!(!format!("{seen:?}{observed:?}").contains("SECRET"));
    assert_eq!(observation(&instance(json!({})), &owner(), false, at()), None);
}

#[test]
fn an_address_may_be_missing_null_or_nonsense() {
    let is = |ip: Value| address(&instance(json!({ "ip": ip }))).map(|ip| ip.to_string());
    assert_eq!(is(json!("198.51.100.2")).as_deref(), Some("198.51.100.2"));
    assert_eq!(is(Value::Null), None);
    assert_eq!(is(json!("pending")), None);
    assert_eq!(address(&instance(json!({}))), None);
}

#[test]
fn a_machine_may_be_terminated_unless_it_says_that_it_may_not() {
    let may = |actions: Value| can_be_terminated(&instance(json!({ "actions": actions })));
    assert!(may(json!({ "terminate": { "available": true } })));
    assert!(!may(json!({ "terminate": { "available": false, "reason_code": "vm-has-not-launched" } })));
    assert!(may(Value::Null) && may(json!({})) && may(json!({ "terminate": null })));
}

#[test]
fn a_launch_keeps_the_vendors_rules() {
    let choice = Choice { instance_type: "gpu_1x_a10".to_owned(), region: "us-east-1".to_owned() };
    let (owner, order) = (owner(), order());
    let body = launch(LaunchOf {
        order: &order,
        owner: &owner,
        choice: &choice,
        ssh_key: "trainyard-abcd1234-0123",
        image_family: "lambda-stack-24-04",
        file_system: None,
        user_data: "#cloud-config\n".to_owned(),
        now: at(),
    });
    assert!(body.name.len() <= 64 && body.hostname.len() <= 63);
    assert!(
        body.hostname.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    );
    for tag in &body.tags {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:".contains(&byte);
        assert!(tag.key.len() <= 55 && tag.key.bytes().all(good) && tag.value.len() <= 128, "{tag:?}");
    }
    let json = serde_json::to_value(&body).unwrap();
    assert_eq!(json["ssh_key_names"], json!(["trainyard-abcd1234-0123"]));
    assert_eq!(json["image"], json!({ "family": "lambda-stack-24-04" }));
    assert_eq!(json["tags"][2], json!({ "key": "trainyard:launched", "value": "1767225600" }));
    assert!(json.get("quantity").is_none());
}

#[test]
fn cents_are_exact() {
    for (amount, text) in
        [(0, "0.00"), (5, "0.05"), (129, "1.29"), (5352, "53.52"), (u64::from(u32::MAX), "42949672.95")]
    {
        assert_eq!(cents(amount), text.parse().ok(), "{amount}");
    }
}
