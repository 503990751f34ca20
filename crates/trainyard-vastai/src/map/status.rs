//! Vast's four fields of status, and its text, as one phase.
//!
//! `actual_status` is the container, `intended_status` what Vast will enforce, `cur_state` and `next_state` the contract.
//! None of them tells that the training ended: a container whose process exits is started again, for as long as it is
//! rented. Only the agent on it knows.

use std::net::{IpAddr, SocketAddr};

use trainyard_connector::{Arch, MachinePhase};
use trainyard_domain::OrderName;

use crate::error::short;
use crate::wire::Instance;

/// What one reading says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) phase: MachinePhase,
    /// A single reading is enough. Where it is not, another one has to say the same: states flicker in passing.
    pub(crate) sure: bool,
}

/// The words that the container's runtime has for an image that cannot be had, whatever the machine.
const IMAGE_AT_FAULT: [&str; 7] = [
    "manifest unknown",
    "pull access denied",
    "repository does not exist",
    "invalid reference format",
    "unauthorized: ",
    "no matching manifest",
    "denied: requested access",
];
/// And for an image that has no `sh`.
const NO_SHELL: [&str; 2] = ["executable file not found", "no such file or directory"];
/// And for a machine that cannot run it.
const MACHINE_AT_FAULT: [&str; 4] =
    ["oci runtime create failed", "no space left on device", "failed to inject cdi", "unsatisfied condition"];

/// The phase of an instance.
pub(crate) fn reading_of(instance: &Instance) -> Reading {
    let actual = instance.actual_status.as_deref().unwrap_or_default();
    if actual != "running"
        && let Some(phase) = broken_by_its_words(instance.status_msg.as_deref().unwrap_or_default())
    {
        return Reading { phase, sure: true };
    }
    let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
    let will_stop = is(&instance.intended_status, "stopped") || is(&instance.next_state, "stopped");
    let stopped = || {
        let broken = MachinePhase::Broken { what: why_stopped(instance), elsewhere: true };
        Reading { phase: broken, sure: false }
    };
    match actual {
        // In passing the wish may already say `stopped`; the next reading shows what came of it.
        "running" if will_stop && is(&instance.cur_state, "stopped") => stopped(),
        "running" => certain(MachinePhase::Up),
        "" | "created" | "loading" | "scheduling" | "rebooting" | "restarting" | "recycling" | "exited"
            if will_stop || is(&instance.cur_state, "stopped") =>
        {
            stopped()
        }
        // `exited` that shall run is about to be started again.
        "" | "created" | "loading" | "scheduling" | "rebooting" | "restarting" | "recycling" | "exited" => {
            certain(MachinePhase::Booting)
        }
        "stopped" | "stopping" | "frozen" => stopped(),
        // No sign of life from the host, or a word that is new: the vendor itself does not know.
        other => certain(MachinePhase::Unknown(short(other))),
    }
}

fn certain(phase: MachinePhase) -> Reading {
    Reading { phase, sure: true }
}

/// What the text of the status proves.
pub(crate) fn broken_by_its_words(text: &str) -> Option<MachinePhase> {
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let image = says(&IMAGE_AT_FAULT) || (lower.contains("manifest") && lower.contains("not found"));
    let shell = lower.contains("oci runtime create failed") && says(&NO_SHELL) && !lower.contains("nvidia");
    let what = format!("Vast.ai says: {}", short(text));
    if image || shell {
        Some(MachinePhase::Broken { what, elsewhere: false })
    } else if says(&MACHINE_AT_FAULT) {
        Some(MachinePhase::Broken { what, elsewhere: true })
    } else {
        None
    }
}

fn why_stopped(instance: &Instance) -> String {
    let why = if instance.is_bid == Some(true) {
        "somebody bid more for it, the credit is used up, or it was stopped by hand"
    } else {
        "the credit is used up, its contract ended, its host gave up, or it was stopped by hand"
    };
    let said = instance.status_msg.as_deref().map(short).filter(|text| !text.is_empty());
    match said {
        Some(text) => format!("Vast.ai stopped the machine ({why}); it says: {text}"),
        None => format!("Vast.ai stopped the machine ({why})"),
    }
}

/// The order whose name an instance bears. The whole label counts: a label that only begins like one of ours is
/// somebody else's.
pub(crate) fn labelled(instance: &Instance) -> Option<OrderName> {
    instance.label.as_deref()?.parse().ok()
}

/// Where the agent of an instance is reached, once its port is mapped. Addresses come with blanks around them.
pub(crate) fn address_of(instance: &Instance, port: u16) -> Option<SocketAddr> {
    let ip: IpAddr = instance.public_ipaddr.as_deref()?.trim().parse().ok()?;
    let mappings = instance.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_deref()?;
    let mapped = mappings.iter().find_map(|mapping| mapping.host_port?.whole())?;
    Some(SocketAddr::new(ip, u16::try_from(mapped).ok().filter(|port| *port > 0)?))
}

/// The processor of an instance; Vast's machines are x86 unless it says otherwise.
pub(crate) fn arch_of(instance: &Instance) -> Arch {
    instance.cpu_arch.as_deref().and_then(Arch::parse).unwrap_or(Arch::X86_64)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trainyard_connector::MachinePhase;

    use super::{address_of, labelled, reading_of};
    use crate::wire::Instance;

    fn instance(value: Value) -> Instance {
        serde_json::from_value(value).expect("an instance")
    }

    /// actual, intended, cur, next, text.
    fn phase(states: [Option<&str>; 4], text: Option<&str>) -> (String, bool) {
        let [actual, intended, cur, next] = states;
        let reading = reading_of(&instance(json!({
            "id": 1, "actual_status": actual, "intended_status": intended, "cur_state": cur,
            "next_state": next, "status_msg": text,
        })));
        let word = match reading.phase {
            MachinePhase::Booting => "booting".to_owned(),
            MachinePhase::Up => "up".to_owned(),
            MachinePhase::Broken { elsewhere, .. } => format!("broken, elsewhere {elsewhere}"),
            MachinePhase::Gone => "gone".to_owned(),
            MachinePhase::Unknown(word) => format!("unknown {word}"),
        };
        (word, reading.sure)
    }

    #[test]
    fn every_documented_status_has_its_phase() {
        let run = Some("running");
        let stop = Some("stopped");
        let better = "broken, elsewhere true";
        let table = [
            ([None, run, run, run], "booting", true),
            ([None, None, None, None], "booting", true),
            ([Some("created"), run, run, run], "booting", true),
            ([Some("loading"), run, run, run], "booting", true),
            ([Some("scheduling"), run, run, run], "booting", true),
            ([Some("rebooting"), run, run, run], "booting", true),
            ([Some("recycling"), run, run, run], "booting", true),
            ([Some("restarting"), run, run, run], "booting", true),
            ([run, run, run, run], "up", true),
            // About to be stopped, but it still runs.
            ([run, stop, run, stop], "up", true),
            ([run, stop, stop, stop], better, false),
            // Its process ended; Vast starts it again.
            ([Some("exited"), run, run, run], "booting", true),
            // Stopped by hand, outbid, or without credit.
            ([Some("exited"), stop, stop, stop], better, false),
            ([stop, stop, stop, stop], better, false),
            ([Some("stopping"), stop, run, stop], better, false),
            ([Some("frozen"), Some("frozen"), run, run], better, false),
            // A failed start.
            ([Some("loading"), stop, run, run], better, false),
            ([Some("created"), run, run, stop], better, false),
            ([Some("loading"), run, stop, stop], better, false),
            // No sign of life.
            ([Some("offline"), run, run, run], "unknown offline", true),
            ([Some("unknown"), run, run, run], "unknown unknown", true),
            ([Some("melting"), run, run, run], "unknown melting", true),
        ];
        for (states, word, sure) in table {
            assert_eq!(phase(states, None), (word.to_owned(), sure), "{states:?}");
        }
    }

    #[test]
    fn the_text_tells_what_the_states_do_not() {
        let loading = [Some("loading"), Some("running"), Some("running"), Some("running")];
        let created = [Some("created"), Some("running"), Some("running"), Some("running")];
        for (states, text, word) in [
            (
                loading,
                "Error response from daemon: manifest for x:1 not found: manifest unknown",
                "broken, elsewhere false",
            ),
            (loading, "Error response from daemon: pull access denied for x", "broken, elsewhere false"),
            (
                created,
                "Error: OCI runtime create failed: nvidia-container-cli: unsatisfied condition: cuda>=12.8",
                "broken, elsewhere true",
            ),
            (
                created,
                r#"x: OCI runtime create failed: exec: "sh": executable file not found in $PATH"#,
                "broken, elsewhere false",
            ),
            (loading, "write /var/lib: no space left on device", "broken, elsewhere true"),
            (loading, "8d3ac3489996: Pull complete", "booting"),
            (loading, "success, running img", "booting"),
        ] {
            assert_eq!(phase(states, Some(text)), (word.to_owned(), true), "{text}");
        }
        // A text of before says nothing of a container that runs.
        let running = [Some("running"); 4];
        assert_eq!(phase(running, Some("OCI runtime create failed")).0, "up");
    }

    #[test]
    fn a_label_is_ours_only_whole() {
        let name = "ty-abcdefgh-01k0000000000000000000000a";
        let ours = |label: Value| labelled(&instance(json!({"id": 1, "label": label})));
        assert_eq!(ours(json!(name)).expect("ours").as_str(), name);
        for other in
            [json!(null), json!(""), json!(7), json!(format!("{name}|step 3")), json!("ty-abcdefgh-job")]
        {
            assert_eq!(ours(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn an_agent_is_reached_where_its_port_is_mapped() {
        let address = |ip: Value, ports: Value| {
            address_of(&instance(json!({"id": 1, "public_ipaddr": ip, "ports": ports})), 8000)
                .map(|address| address.to_string())
        };
        let ports = json!({"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "37708"}]});
        assert_eq!(address(json!("63.135.50.11 \n"), ports.clone()).as_deref(), Some("63.135.50.11:37708"));
        assert_eq!(address(json!("::1"), ports.clone()).as_deref(), Some("[::1]:37708"));
        assert_eq!(address(json!(null), ports.clone()), None);
        assert_eq!(address(json!("host"), ports), None);
        for ports in [
            json!(null),
            json!({}),
            json!([]),
            json!({"8000/tcp": null}),
            json!({"8000/tcp": []}),
            json!({"22/tcp": [{"HostPort": "1"}]}),
            json!({"8000/tcp": [{"HostPort": "0"}]}),
            json!({"8000/tcp": [{"HostPort": "70000"}]}),
        ] {
            assert_eq!(address(json!("1.2.3.4"), ports.clone()), None, "{ports}");
        }
    }
}
