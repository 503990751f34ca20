//! The machine lease: a server that sleeps over its runs, one that never comes back, and machines that see to
//! themselves then. Hours are seconds here; eight real hours are played through the agent's own decision, by its tests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use trainyard_simulator::faults::{Canned, Fault, Rule};
use trainyard_simulator::world::Machine;
use trainyard_simulator::{Options, Vendor};
use trainyard_tests::until;

use crate::yard::{JOBS, SOON, VENDORS, Yard, list, sh, with_agent};

/// What a loaded machine may take longer over what is measured in seconds.
const SLACK: Duration = Duration::from_secs(15);

fn with_limits(mut spec: Value, limits: Value) -> Value {
    spec["limits"] = limits;
    spec
}

/// A file beside the server's data, for a training to tell something by.
fn marker(yard: &Yard, name: &str) -> PathBuf {
    yard.server.directory().join(name)
}

/// A training that waits until it may go on, trains for some seconds, and tells when it has ended.
fn trains(yard: &Yard, id: &str, seconds: u32) -> Value {
    sh(&format!(
        "while [ ! -e {} ]; do sleep 0.1; done; \
         for n in $(seq {seconds}); do echo \"{{\\\"step\\\": $n, \\\"loss\\\": 1}}\" >> \"$TRAINYARD_METRICS_FILE\"; sleep 1; done; \
         printf 'adapter of {id}' > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"; : > {}",
        marker(yard, "go").display(),
        marker(yard, id).display()
    ))
}

/// Lets all of them go on.
fn go(yard: &Yard) {
    std::fs::write(marker(yard, "go"), "").expect("a file");
}

fn only_machine(yard: &Yard, id: &str) -> Machine {
    let machines = yard.machines_of(id);
    assert_eq!(machines.len(), 1, "{id}: one machine");
    machines.into_iter().next().expect("one")
}

/// Waits until the world has that machine no more, and gives it.
fn gone(yard: &Yard, machine: &Machine) -> Machine {
    until(SOON, &format!("{} to go", machine.name), || {
        let now = yard.world().machine(machine.vendor, &machine.id).expect("it is in the books");
        (!now.is_alive()).then_some(now)
    })
}

#[test]
fn a_server_that_sleeps_over_runs_on_three_clouds_kills_none_and_loses_no_adapter() {
    for sleeps_by in ["a closed lid", "a crash"] {
        let mut yard = Yard::with(with_agent(), &[]);
        for (_, provider) in VENDORS {
            yard.create(provider, &trains(&yard, provider, 6));
            yard.submit(provider, provider);
        }
        for (_, provider) in VENDORS {
            yard.await_state(provider, "running");
        }
        go(&yard);
        let server = yard.server.process();
        match sleeps_by {
            "a crash" => yard.server.crash(),
            _ => server.signal(Signal::SIGSTOP),
        }
        for (_, provider) in VENDORS {
            let told = marker(&yard, provider);
            until(SOON, "the training to end by itself", || told.exists().then_some(()));
        }
        // Some more of the night, with nothing going on but the hold.
        let ended = Instant::now();
        until(SOON, "the night to be over", || (ended.elapsed() > Duration::from_secs(2)).then_some(()));
        assert_eq!(yard.world().alive().len(), 3, "the outputs are held");
        match sleeps_by {
            "a crash" => {
                yard.server.start_again();
                yard.http = yard.server.http();
            }
            _ => server.signal(Signal::SIGCONT),
        }
        for (_, provider) in VENDORS {
            let status = yard.await_state(provider, "completed");
            let artifact = yard.poke(provider, "/download-artifact").ok(200);
            let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
            assert_eq!(bytes, format!("adapter of {provider}").as_bytes(), "{sleeps_by}: {status}");
            assert_eq!(status["current_metrics"]["step"], 6, "nothing was repeated or missed: {status}");
            yard.await_gone(provider);
            only_machine(&yard, provider);
        }
        yard.assert_empty();
    }
}

#[test]
fn without_its_server_for_ever_a_run_ends_and_its_machine_goes() {
    let mut yard = Yard::with(with_agent(), &[]);
    let endless = || sh("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let limits =
        |max_duration_s: u32| json!({"max_duration_s": max_duration_s, "grace_period_s": 1, "hold_s": 4});
    let removed = [("runpod", Vendor::Runpod), ("vastai", Vendor::Vastai)];
    for (provider, _) in removed {
        yard.create(
            &format!("{provider}-hold"),
            &with_limits(trains(&yard, &format!("{provider}-hold"), 5), limits(600)),
        );
        yard.create(&format!("{provider}-deadline"), &with_limits(endless(), limits(10)));
        yard.create(&format!("{provider}-budget"), &with_limits(endless(), limits(600)));
    }
    yard.create("lambda-deadline", &with_limits(endless(), limits(10)));
    let ids: Vec<String> = removed
        .iter()
        .flat_map(|(provider, _)| ["hold", "deadline", "budget"].map(|what| format!("{provider}-{what}")))
        .chain(["lambda-deadline".to_owned()])
        .collect();
    for id in &ids {
        let provider = id.split('-').next().expect("a provider");
        let call = yard.http.call("POST", &format!("{JOBS}/{id}/submit"));
        let answer = call.header("Prefer", "respond-async").json(&json!({"provider": provider})).send();
        assert!(answer.status < 300, "{id}: {}", answer.text());
    }
    for id in &ids {
        yard.await_state(id, "running");
    }
    let machines: Vec<Machine> = ids.iter().map(|id| only_machine(&yard, id)).collect();
    let of = |id: &str| &machines[ids.iter().position(|known| known == id).expect("such a job")];
    // From now on there is money for about half a minute.
    let ends: Vec<DateTime<Utc>> = removed
        .iter()
        .map(|(provider, _)| {
            bound(&yard, &format!("{provider}-budget"), of(&format!("{provider}-budget")), 30.0)
        })
        .collect();
    yard.server.crash();
    go(&yard);
    for ((provider, _), ends) in removed.iter().zip(ends) {
        goes_at(&yard, of(&format!("{provider}-budget")), ends, 0);
        let machine = gone(&yard, of(&format!("{provider}-deadline")));
        let lived =
            (machine.gone_at.expect("when") - machine.healthy_at.expect("when")).to_std().expect("forward");
        assert!(
            lived > Duration::from_secs(13),
            "{provider}: {lived:?} for a training of 10 s and a hold of 4 s"
        );
        let machine = gone(&yard, of(&format!("{provider}-hold")));
        let ended =
            std::fs::metadata(marker(&yard, &format!("{provider}-hold"))).and_then(|file| file.modified());
        let ended: DateTime<Utc> = ended.expect("it ended").into();
        let held = (machine.gone_at.expect("when") - ended).to_std().expect("not before its end");
        assert!(
            held >= Duration::from_secs(4) && held < Duration::from_secs(4) + SLACK,
            "{provider}: held for {held:?}"
        );
    }
    // Lambda leaves a machine no key for itself: its training is over, and it is paid for until somebody gives it back.
    let left = of("lambda-deadline");
    until(SOON, "the deadline to end the training", || {
        let log = left.root.join("home/trainyard").join(&left.name).join("run/events.jsonl");
        std::fs::read_to_string(log).is_ok_and(|text| text.contains("at the deadline")).then_some(())
    });
    assert_eq!(yard.world().alive().len(), 1);
    yard.world().delete_in_console(Vendor::Lambda, &left.id).expect("a person gives it back");
    gone(&yard, left);
    yard.assert_empty();
}

#[test]
fn a_warm_machine_whose_server_is_gone_goes_when_its_money_is_used_up() {
    let mut yard = Yard::with(with_agent(), &[]);
    let providers = ["runpod", "vastai"];
    for provider in providers {
        let mut spec =
            sh(&format!("while [ ! -e {} ]; do sleep 0.1; done; exit 1", marker(&yard, "go").display()));
        spec["resources"]["keep_warm_s"] = json!(3600);
        yard.create(provider, &with_limits(spec, json!({"grace_period_s": 1})));
        yard.submit(provider, provider).ok(200);
    }
    providers.iter().for_each(|provider| drop(yard.await_state(provider, "running")));
    let machines = providers.map(|provider| only_machine(&yard, provider));
    let ends = [0, 1].map(|n| bound(&yard, providers[n], &machines[n], 45.0));
    go(&yard);
    for provider in providers {
        yard.await_state(provider, "failed");
    }
    until(SOON, "both to be kept warm", || {
        let ledger = yard.http.get("/api/training/resources").ok(200);
        let warm = |machine: &&Value| machine["warm_until"].is_string();
        (list(&ledger["machines"]).iter().filter(warm).count() == 2).then_some(())
    });
    yard.server.crash();
    for (machine, ends) in machines.iter().zip(ends) {
        goes_at(&yard, machine, ends, 10);
    }
    yard.assert_empty();
}

/// Waits until the machine is gone: when its money is used up, at most so many seconds before.
fn goes_at(yard: &Yard, machine: &Machine, ends: DateTime<Utc>, early_s: i64) {
    let end = gone(yard, machine).gone_at.expect("when");
    let late = (end - ends).num_seconds();
    let most = i64::try_from(SLACK.as_secs()).expect("seconds");
    assert!((-early_s..most).contains(&late), "{}: {late} s after its money was used up", machine.name);
}

/// Leaves the job money for so many seconds more, and gives the end of its machine as its agent knows it.
fn bound(yard: &Yard, id: &str, machine: &Machine, seconds: f64) -> DateTime<Utc> {
    let lived = (yard.world().now() - machine.placed_at).num_milliseconds() as f64 / 1000.0;
    let per_hour = machine.price_per_hour.plus(machine.disk_per_hour).to_string();
    let per_hour: f64 = per_hour.parse().expect("a price");
    // Where traffic is charged, ten gigabytes of it are reckoned with.
    let per_gb: f64 = machine.offer.traffic_per_gb.to_string().parse().expect("a price");
    let most = format!("{:.9}", per_hour * (lived + seconds) / 3600.0 + 10.0 * per_gb);
    let call = yard.http.call("PATCH", &format!("{JOBS}/{id}"));
    call.json(&json!({"limits": {"max_cost_usd": most}})).send().ok(200);
    let file = machine.root.join("home/trainyard").join(&machine.name).join("run/machine-ends");
    until(SOON, "its agent to know the end of its money", || {
        std::fs::read_to_string(&file).ok()?.parse().ok()
    })
}

#[test]
fn a_machine_whose_server_died_before_it_spoke_removes_itself() {
    for brings_agent in [false, true] {
        let options = if brings_agent { with_agent() } else { Options::for_tests() };
        let mut yard = Yard::with(options, &[("TRAINYARD_AGENT_LEASE_S", Some("6"))]);
        for provider in ["runpod", "vastai"] {
            // Whoever is killed at once has spoken to nobody.
            yard.world().add_fault(Rule::once(
                if provider == "runpod" { Vendor::Runpod } else { Vendor::Vastai },
                "create",
                Fault::StallAfter { seconds: 60.0 },
            ));
            yard.create(provider, &sh("true"));
            let call = yard.http.call("POST", &format!("{JOBS}/{provider}/submit"));
            call.header("Prefer", "respond-async").json(&json!({"provider": provider})).send();
        }
        until(SOON, "both machines to be placed", || (yard.world().alive().len() == 2).then_some(()));
        yard.server.crash();
        until(SOON, "both to have gone", || yard.world().alive().is_empty().then_some(()));
        yard.assert_empty();
    }
}

#[test]
fn a_machine_that_cannot_remove_itself_is_remarked_on_once() {
    let yard = Yard::new();
    let refused = Fault::StatusBefore(Canned::status(403));
    yard.world().add_fault(Rule::always(Vendor::Runpod, "get", refused));
    yard.create("r", &trains(&yard, "r", 1));
    yard.submit("r", "runpod");
    let told = || yard.get("r", "/notifications").ok(200).to_string();
    until(SOON, "the remark", || told().contains("cannot remove itself").then_some(()));
    go(&yard);
    yard.await_state("r", "completed");
    let told = told();
    assert_eq!(told.matches("cannot remove itself").count(), 1, "{told}");
    assert!(told.contains("403"), "{told}");
    yard.await_gone("r");
}
