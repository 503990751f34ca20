//! An instance as Vast.ai shows it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::market::{float, min_bid};
use crate::world::{Call, Cause, Ill, Machine, Phase, Wanted, World};

/// How long Vast goes on trying an image that cannot be pulled before the contract stands still.
const GIVES_UP_AFTER: Duration = Duration::from_secs(60);
/// And until it is no longer wanted to run.
const STOPS_AFTER: Duration = Duration::from_secs(7 * 60);

/// The four fields of an instance's status, and its text.
struct States {
    actual: Option<&'static str>,
    intended: &'static str,
    current: &'static str,
    next: &'static str,
    text: Option<String>,
}

impl States {
    fn of(machine: &Machine, world: &World, call: &Call) -> States {
        let running =
            |actual, text| States { actual, intended: "running", current: "running", next: "running", text };
        let image = &machine.order.image;
        let states = match &machine.phase {
            Phase::Placed => running(None, None),
            Phase::Pulling => running(Some("loading"), Some("8d3ac3489996: Pulling fs layer".to_owned())),
            Phase::Starting => running(Some("loading"), Some("8d3ac3489996: Pull complete".to_owned())),
            Phase::Running if !machine.reachable => running(Some("offline"), None),
            Phase::Running => running(Some("running"), Some(format!("success, running {image}"))),
            Phase::Exited => running(Some("exited"), Some(format!("success, running {image}"))),
            Phase::Broken(Ill::Image(text)) => {
                let since = (world.now() - machine.since).to_std().unwrap_or_default();
                let stopped = |after| if since >= after { "stopped" } else { "running" };
                States {
                    intended: stopped(STOPS_AFTER),
                    current: stopped(GIVES_UP_AFTER),
                    ..running(Some("loading"), Some(with_prefix("Error response from daemon: ", text)))
                }
            }
            Phase::Broken(Ill::Start(text)) => {
                let daemon = "Error response from daemon: failed to create task for container: ";
                running(Some("created"), Some(with_prefix(daemon, text)))
            }
            Phase::Stopped => stopped(Some(if machine.starts > 0 { "exited" } else { "loading" }), machine),
            Phase::Terminating | Phase::Gone => {
                States { next: "unloaded", ..stopped(Some("exited"), machine) }
            }
        };
        let states = match machine.wanted {
            // At once, while its container still ends.
            Wanted::Stopped => States { intended: "stopped", current: "stopped", next: "stopped", ..states },
            Wanted::Running | Wanted::Removed => states,
        };
        match call.drawn.own("exited") {
            Some(_) => States { actual: Some("exited"), ..states },
            None => states,
        }
    }
}

fn stopped(actual: Option<&'static str>, machine: &Machine) -> States {
    let text = match machine.cause {
        Cause::NoCredit => Some("account out of credit".to_owned()),
        Cause::None | Cause::Asked | Cause::Console | Cause::Preempted => None,
    };
    States { actual, intended: "stopped", current: "stopped", next: "stopped", text }
}

fn with_prefix(prefix: &str, text: &str) -> String {
    if text.contains("daemon") { text.to_owned() } else { format!("{prefix}{text}") }
}

/// The object of both endpoints.
pub(super) fn shown(machine: &Machine, world: &World, call: &Call) -> Value {
    let states = States::of(machine, world, call);
    let mut shown = contract(machine, call);
    let more = [
        status(&states),
        container(machine),
        host(machine, states.actual == Some("running")),
        machine.offer.details.clone(),
    ];
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(more.into_iter().filter_map(|part| part.as_object().cloned()).flatten());
    }
    shown
}

fn status(states: &States) -> Value {
    json!({
        "actual_status": states.actual, "intended_status": states.intended,
        "cur_state": states.current, "next_state": states.next, "status_msg": states.text,
    })
}

/// What was rented, for how much.
fn contract(machine: &Machine, call: &Call) -> Value {
    let offer = &machine.offer;
    let id: u64 = machine.id.parse().unwrap_or_default();
    let (gpu, disk) = (float(machine.price_per_hour.decimal()), float(machine.disk_per_hour.decimal()));
    let label = if machine.name.is_empty() { Value::Null } else { json!(machine.name) };
    let start = machine.placed_at.timestamp_millis() as f64 / 1000.0 + call.skew_s() as f64;
    json!({
        "id": id, "label": label, "is_bid": machine.details["is_bid"], "min_bid": float(min_bid(offer)),
        "dph_base": gpu, "dph_total": gpu + disk,
        "storage_cost": float(offer.disk_per_gb_month.decimal()), "storage_total_cost": disk,
        "inet_up_billed": null, "inet_down_billed": null, "start_date": start,
        "end_date": start + 40.0 * 86_400.0, "duration": 40.0 * 86_400.0, "uptime_mins": null,
        "geolocation": offer.region, "country_code": null, "rentable": false, "external": false,
        "search": {"gpuCostPerHour": gpu, "diskHour": disk, "totalHour": gpu + disk,
                   "discountTotalHour": 0, "discountedTotalPerHour": gpu + disk},
    })
}

/// What its order said: all of it comes back in clear.
fn container(machine: &Machine) -> Value {
    let detail = |name: &str| machine.details[name].clone();
    json!({
        "image_uuid": machine.order.image, "image_runtype": detail("runtype"), "image_args": detail("args"),
        "onstart": detail("onstart"), "extra_env": detail("env"), "jupyter_token": machine.key,
        "template_id": null, "template_hash_id": null, "template_name": null, "volume_info": [],
    })
}

/// What it runs on, and how it is reached.
fn host(machine: &Machine, running: bool) -> Value {
    let offer = &machine.offer;
    let measured = |number: f64| if running { json!(number) } else { Value::Null };
    let id: u64 = machine.id.parse().unwrap_or_default();
    json!({
        "num_gpus": offer.gpus, "gpu_name": offer.gpu, "gpu_ram": offer.gpu_memory_mb,
        "gpu_totalram": u64::from(offer.gpu_memory_mb) * u64::from(offer.gpus), "gpu_arch": "nvidia",
        "gpu_frac": 1.0, "gpu_util": measured(0.0), "gpu_temp": measured(41.0), "cpu_arch": "amd64",
        "cpu_cores": 16, "cpu_cores_effective": 16.0, "cpu_name": "AMD EPYC 7543", "cpu_ram": 128_000,
        "cpu_util": 0.1, "mem_usage": null, "mem_limit": 64.0, "vmem_usage": null,
        "disk_space": machine.order.disk_gb, "disk_usage": -1, "disk_util": -1, "disk_name": "NVMe",
        "public_ipaddr": "127.0.0.1 \n", "ssh_host": "ssh7.vast.ai", "ssh_idx": "7",
        "ssh_port": 10_000 + id % 50_000, "machine_dir_ssh_port": 0,
        "ports": if running { ports(machine) } else { Value::Null },
        "direct_port_start": -1, "direct_port_end": -1, "static_ip": true, "driver_version": "570.86.10",
    })
}

/// Where its ports are mapped; numbers of ports are strings.
fn ports(machine: &Machine) -> Value {
    let one = |(inside, outside): (&u16, &u16)| {
        let at = |host: &str| json!({"HostIp": host, "HostPort": outside.to_string()});
        (format!("{inside}/tcp"), json!([at("0.0.0.0"), at("::")]))
    };
    Value::Object(machine.mapped.iter().map(one).collect::<Map<String, Value>>())
}
