//! A cancel in every phase of a rented machine's life: stopped within its time, and nothing billed afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Fault, Rule};
use trainyard_tests::until;

use crate::yard::{SOON, VENDORS, Yard, placed, sh};

/// A cancel is answered within this.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[test]
fn while_the_order_is_on_its_way() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.world().add_fault(Rule::once(vendor, "create", Fault::StallBefore { seconds: 3.0 }));
        start(&yard, provider, &endless());
        until(SOON, "the order", || (yard.world().count(vendor, "create").asked > 0).then_some(()));
        cancel(&yard, "an order on its way");
    }
}

#[test]
fn while_the_machine_boots() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.world().add_fault(Rule::once(vendor, "create", Fault::NeverBoots));
        start(&yard, provider, &endless());
        await_phase(&yard, "booting");
        cancel(&yard, "booting");
    }
}

#[test]
fn while_packages_are_installed() {
    for (_, provider) in VENDORS {
        let yard = Yard::new();
        let mut spec = endless();
        spec["environment"] = json!({"setup": ["sleep 600"]});
        start(&yard, provider, &spec);
        await_phase(&yard, "installing");
        cancel(&yard, "installing");
    }
}

#[test]
fn while_it_trains() {
    for (_, provider) in VENDORS {
        let yard = Yard::new();
        start(&yard, provider, &endless());
        yard.await_state("c", "running");
        cancel(&yard, "training");
    }
}

#[test]
fn while_the_vendor_does_not_remove_it_the_release_goes_on() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        start(&yard, provider, &endless());
        yard.await_state("c", "running");
        for _ in 0..3 {
            yard.world().add_fault(Rule::once(vendor, "terminate", Fault::TerminateIgnored));
        }
        cancel(&yard, "a vendor that does not listen");
        assert!(
            yard.world().count(vendor, "terminate").asked > 3,
            "{provider}: it was asked until it listened"
        );
    }
}

fn endless() -> Value {
    sh("while :; do sleep 0.2; done")
}

fn start(yard: &Yard, provider: &str, spec: &Value) {
    yard.create("c", spec);
    let call = yard.http.call("POST", "/api/training/jobs/c/submit").header("Prefer", "respond-async");
    let answer = call.json(&json!({"provider": provider})).send();
    assert!(answer.status == 202 || answer.status == 200, "{}: {}", answer.status, answer.text());
}

#[track_caller]
fn await_phase(yard: &Yard, phase: &str) {
    yard.await_status("c", phase, |status| status["phase"] == phase);
}

#[track_caller]
fn cancel(yard: &Yard, when: &str) {
    let asked = Instant::now();
    let answer = yard.poke("c", "/cancel").ok(200);
    assert!(asked.elapsed() < ANSWER_MAX, "{when}: {:?}", asked.elapsed());
    assert_eq!(answer["state"], "stopped", "{when}: {answer}");
    let job = yard.await_gone("c");
    assert_eq!(yard.status("c")["state"], "stopped", "{when}");
    until(SOON, "nothing to be alive", || yard.world().alive().is_empty().then_some(()));
    assert!(placed(&job).len() <= 1, "{when}: nothing more was ordered: {job}");
}

/// Keeps the list of vendors honest: a fourth one needs a line here.
#[test]
fn all_three_are_tried() {
    assert_eq!(VENDORS.map(|(vendor, _)| vendor), [Vendor::Runpod, Vendor::Lambda, Vendor::Vastai]);
}
