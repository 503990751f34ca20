//! What goes on costing against our will, where the vendor refuses to remove it, and a budget that is nearly used up.

use serde_json::{Value, json};
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Canned, Fault, FaultPlan, Rule};
use trainyard_tests::until;

use crate::sweep::{by_hand, installation};
use crate::yard::{JOBS, SOON, Yard, list, placed, sh, with_agent};

fn alarm(yard: &Yard, code: &str) -> Option<Value> {
    let resources = yard.http.get("/api/training/resources").ok(200);
    list(&resources["alarms"]).iter().find(|alarm| alarm["code"] == code).cloned()
}

fn told(yard: &Yard, id: &str, kind: &str) -> usize {
    let told = yard.get(id, "/notifications").ok(200);
    let is = |event: &&Value| event["kind"] == kind || event["type"] == kind;
    list(&told["notifications"]).iter().filter(is).count()
}

#[test]
fn a_vendor_that_refuses_a_removal_is_an_alarm_with_what_it_costs_over_the_budget() {
    let yard = Yard::with(with_agent(), &[("TRAINYARD_LIMITS_ALARM_AFTER_S", Some("2"))]);
    for vendor in [Vendor::Runpod, Vendor::Vastai] {
        let refused = Fault::StatusBefore(Canned::status(403));
        yard.world().add_fault(Rule::always(vendor, "terminate", refused));
    }
    // Nobody here ordered this one, and it bears our mark.
    let stray = by_hand(
        &yard.world(),
        Vendor::Vastai,
        &format!("ty-{}-7zzzzzzzzzzzzzzzzzzzzzzzva", installation(&yard)),
    );
    let mut spec = sh("while :; do sleep 0.2; done");
    spec["limits"] = json!({"max_cost_usd": "100.00", "grace_period_s": 1});
    yard.create("m", &spec);
    yard.submit("m", "runpod").ok(200);
    yard.await_state("m", "running");
    let attempt = placed(&yard.get("m", "").ok(200))[0].clone();
    let number =
        |value: &Value| -> f64 { value.as_str().and_then(|text| text.parse().ok()).expect("a number") };
    let price = number(&attempt["price_per_hour"]["amount"]);
    let spent = number(&yard.get("m", "").ok(200)["cost"]["amount"]);
    // Six seconds more, of which the last five are the margin for its removal.
    let most = format!("{:.9}", spent + price * 6.0 / 3600.0);
    let call = yard.http.call("PATCH", &format!("{JOBS}/m"));
    call.json(&json!({"limits": {"max_cost_usd": most}})).send().ok(200);
    let over = until(SOON, "the alarm with the excess", || {
        alarm(&yard, "release_refused").filter(|alarm| alarm["over"].is_string())
    });
    assert!(number(&over["over"]) > 0.0, "{over}");
    let text = over["message"].as_str().expect("a message");
    assert!(text.contains("does not take its removal") && text.contains("more than was set aside"), "{text}");
    assert_eq!(over["provider_job_id"], attempt["provider_job_id"], "{over}");
    let unclaimed = until(SOON, "the alarm about the stray", || alarm(&yard, "unclaimed"));
    assert_eq!((&unclaimed["provider"], &unclaimed["provider_job_id"]), (&json!("vastai"), &json!(stray.id)));
    until(SOON, "the job to be told", || (told(&yard, "m", "cost_alarm") > 0).then_some(()));
    // The vendors give way: everything goes, and nothing is left of the alarms.
    yard.world().set_faults(FaultPlan::default());
    let status = yard.await_state("m", "failed");
    assert_eq!(status["reason"]["code"], "budget_exceeded", "{status}");
    yard.await_gone("m");
    until(SOON, "the stray to be gone", || yard.world().alive().is_empty().then_some(()));
    until(SOON, "the alarms to be over", || {
        ["release_refused", "unclaimed"].iter().all(|code| alarm(&yard, code).is_none()).then_some(())
    });
    assert_eq!(told(&yard, "m", "cost_alarm"), 1, "told once");
    yard.assert_empty();
}

#[test]
fn four_fifths_of_a_budget_are_told_once() {
    let yard = Yard::with(with_agent(), &[]);
    let mut spec = sh("while :; do sleep 0.2; done");
    spec["limits"] = json!({"max_cost_usd": "100.00", "grace_period_s": 0});
    yard.create("m", &spec);
    yard.submit("m", "runpod").ok(200);
    yard.await_state("m", "running");
    let job = yard.get("m", "").ok(200);
    let number =
        |value: &Value| -> f64 { value.as_str().and_then(|text| text.parse().ok()).expect("a number") };
    let price = number(&placed(&job)[0]["price_per_hour"]["amount"]) / 3600.0;
    let spent = || number(&yard.get("m", "").ok(200)["cost"]["amount"]);
    // A fifth of it must be more than the five seconds that are kept for the removal.
    let enough =
        until(SOON, "some seconds to be spent", || Some(spent()).filter(|spent| *spent > price * 36.0));
    assert_eq!(told(&yard, "m", "budget80"), 0);
    let limit = |most: f64| {
        let call = yard.http.call("PATCH", &format!("{JOBS}/m"));
        call.json(&json!({"limits": {"max_cost_usd": format!("{most:.9}")}})).send().ok(200);
    };
    limit(enough * 1.23);
    until(SOON, "it to be told", || (told(&yard, "m", "budget80") > 0).then_some(()));
    // There is more after all: it trains on, and is not told again.
    limit(enough * 1.23 + price * 600.0);
    assert_eq!(yard.status("m")["state"], "running");
    yard.poke("m", "/cancel").ok(200);
    yard.await_gone("m");
    assert_eq!((told(&yard, "m", "budget80"), told(&yard, "m", "budget100")), (1, 0));
    yard.assert_empty();
}
