//! Machines that stay for the next job: taken over within seconds, by one job, with its caches and nothing else of the
//! job before; given back when nobody comes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_tests::{Answer, until};

use crate::yard::{JOBS, SOON, VENDORS, Yard, list, sh};

/// The figure that the whole way from the submit to the training has to keep to.
const AGAIN_WITHIN: Duration = Duration::from_secs(20);

/// A script whose job keeps its machine for that long.
fn keeps(script: &str, seconds: u32) -> Value {
    let mut spec = sh(script);
    spec["resources"]["keep_warm_s"] = json!(seconds);
    spec
}

/// The one machine of the ledger.
fn machine(yard: &Yard) -> Value {
    let ledger = yard.http.get("/api/training/resources").ok(200);
    let all = list(&ledger["machines"]);
    assert_eq!(all.len(), 1, "{ledger}");
    all[0].clone()
}

fn submit_to(yard: &Yard, job: &str, machine: &Value) -> Answer {
    yard.http.post(&format!("{JOBS}/{job}/submit"), &json!({"provider": "auto", "machine": machine}))
}

#[test]
fn a_corrected_job_trains_within_seconds_on_the_machine_of_the_one_that_failed() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        let wrong = "mkdir -p \"$HF_HOME\" && echo from-before > \"$HF_HOME/cached\"; \
                     echo left-over > \"$TRAINYARD_OUTPUT_DIR/old\"; ech done";
        yard.create("wrong", &keeps(wrong, 600));
        yard.submit("wrong", provider);
        yard.await_state("wrong", "failed");
        let kept = machine(&yard);
        assert!(kept["warm_until"].is_string(), "{provider}: {kept}");
        assert_eq!(kept["may_be_billed"], true);
        right(&yard, provider, &kept);
        assert_eq!(yard.world().machines_of(vendor).len(), 1, "{provider}: one machine on the invoice");
        let gone = until(SOON, "the machine to be proven gone", || {
            let machine = machine(&yard);
            machine["gone_at"].is_string().then_some(machine)
        });
        let served: Vec<&Value> = list(&gone["attempts"]).iter().map(|attempt| &attempt["job_id"]).collect();
        assert_eq!(served, ["wrong", "right"], "{gone}");
        yard.assert_empty();
        shared_cost(&yard, &gone);
    }
}

/// The corrected job takes it over; nobody else can.
fn right(yard: &Yard, provider: &str, kept: &Value) {
    let script = "cat \"$HF_HOME/cached\"; echo \"outputs: $(ls \"$TRAINYARD_OUTPUT_DIR\")\"; sleep 2; \
                  printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"";
    yard.create("right", &sh(script));
    let asked = Instant::now();
    submit_to(yard, "right", &kept["order"]).ok(200);
    yard.await_status("right", "`right` training", |status| status["phase"] == "training");
    let took = asked.elapsed();
    assert!(took < AGAIN_WITHIN, "{provider}: it trains again after {took:?}");
    trainyard_tests::say(&format!("{provider}: trains again {:.1} s after its submit", took.as_secs_f64()));
    yard.create("late", &sh("true"));
    submit_to(yard, "late", &kept["order"]).error(400, "machine_not_warm");
    submit_to(yard, "late", &kept["provider_job_id"]).error(400, "machine_not_warm");
    assert_eq!(yard.status("late")["state"], "created");
    yard.await_state("right", "completed");
    let log = yard.log("right");
    assert!(log.contains("from-before"), "{provider}: the cache is kept: {log}");
    assert!(log.contains("outputs: \n"), "{provider}: nothing else of the job before: {log}");
    let job = yard.get("right", "").ok(200);
    assert_eq!(list(&job["attempts"])[0]["adopted"], true, "{job}");
    let before = yard.get("wrong", "").ok(200);
    assert_eq!(list(&before["attempts"])[0]["passed_on_to"], "right", "{before}");
}

/// What both jobs cost is what the machine cost: the first pays until it changes hands.
fn shared_cost(yard: &Yard, machine: &Value) {
    let amount = |value: &Value| -> f64 { value.as_str().expect("an amount").parse().expect("a number") };
    let jobs: f64 = ["wrong", "right"].map(|job| amount(&yard.status(job)["cost_usd"])).iter().sum();
    let (whole, price) = (amount(&machine["cost"]["amount"]), amount(&machine["price_per_hour"]["amount"]));
    let apart_s = (jobs - whole).abs() * 3600.0 / price;
    assert!(apart_s <= 2.0, "{jobs} by the jobs, {whole} by the ledger: {apart_s:.1} s apart");
}

#[test]
fn a_machine_that_nobody_takes_goes_when_its_time_is_over() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        let script = "printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"";
        yard.create("only", &keeps(script, 4));
        yard.submit("only", provider);
        let ended = Instant::now();
        yard.await_state("only", "completed");
        assert!(machine(&yard)["warm_until"].is_string(), "{provider}");
        yard.get("only", "").ok(200);
        yard.http.call("DELETE", &format!("{JOBS}/only")).send().error(400, "holds_machine");
        yard.await_gone("only");
        assert!(ended.elapsed() >= Duration::from_secs(4), "{provider}: it was kept");
        assert_eq!(yard.world().machines_of(vendor).len(), 1);
        yard.assert_empty();
        yard.create("late", &sh("true"));
        submit_to(&yard, "late", &machine(&yard)["order"]).error(400, "machine_not_warm");
    }
}

#[test]
fn of_many_that_ask_for_a_warm_machine_one_gets_it() {
    let yard = Yard::new();
    yard.create("first", &keeps("exit 1", 600));
    yard.submit("first", "runpod");
    yard.await_state("first", "failed");
    let order = machine(&yard)["order"].clone();
    let jobs: Vec<String> = (0..8).map(|n| format!("asks-{n}")).collect();
    for job in &jobs {
        yard.create(job, &sh("sleep 1"));
    }
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking: Vec<_> = jobs.iter().map(|job| scope.spawn(|| submit_to(&yard, job, &order))).collect();
        asking.into_iter().map(|asked| asked.join().expect("it answers")).collect()
    });
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 400).count();
    assert_eq!((taken, refused), (1, 7), "{:?}", answers.iter().map(Answer::text).collect::<Vec<_>>());
    let is_gone = || machine(&yard)["gone_at"].is_string().then_some(());
    until(SOON, "the machine to be proven gone", is_gone);
    assert_eq!(yard.world().machines().len(), 1, "nothing else was rented");
    yard.assert_empty();
}

#[test]
fn a_job_that_does_not_fit_a_warm_machine_is_told_so() {
    let yard = Yard::new();
    yard.create("first", &keeps("exit 1", 600));
    yard.submit("first", "runpod");
    yard.await_state("first", "failed");
    let order = machine(&yard)["order"].clone();
    let mut other = sh("true");
    other["environment"] = json!({"image": "somebody/else:1"});
    yard.create("image", &other);
    submit_to(&yard, "image", &order).error(400, "machine_unfit");
    let mut dear = sh("true");
    dear["resources"]["max_price_per_hour"] = json!("0.000001");
    yard.create("dear", &dear);
    submit_to(&yard, "dear", &order).error(400, "machine_unfit");
    submit_to(&yard, "dear", &json!("no-such-machine")).error(400, "unknown_machine");
    let wrong = json!({"provider": "local", "machine": order});
    yard.http.post(&format!("{JOBS}/dear/submit"), &wrong).error(400, "wrong_provider");
    assert!(machine(&yard)["warm_until"].is_string(), "nobody got it");
    yard.http.poke(&format!("/api/training/resources/{}/release", order.as_str().expect("a name"))).ok(202);
    until(SOON, "the machine to be proven gone", || machine(&yard)["gone_at"].is_string().then_some(()));
    yard.assert_empty();
}
