//! Money, with the simulator's invoice as the judge: no budget is passed by more than a billing unit, the ledger is the
//! invoice, an estimate is near the bill, and what goes on costing against our will is told.

use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};
use trainyard_domain::Money;
use trainyard_simulator::faults::{Fault, FaultPlan, Rule};
use trainyard_simulator::{Delays, Options, Vendor};
use trainyard_tests::{Answer, say, until};

use crate::yard::{JOBS, SOON, VENDORS, Yard, list, placed, sh};

/// Seconds of the run that is learnt from.
const FIRST_S: u64 = 2;
/// Seconds of the planned run where `TRAINYARD_TEST_TRAINING_S` names no other (at most 90), and what its estimate may be off
/// by then, where the two runs' starts did not differ by more.
const SHORT_S: u64 = 10;
const SHORT_SLACK_S: f64 = 15.0;

/// Seconds of one billing unit.
fn unit_s(vendor: Vendor) -> u64 {
    match vendor {
        Vendor::Lambda => 60,
        Vendor::Runpod | Vendor::Vastai => 1,
    }
}

fn money(text: &Value) -> Money {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no amount: {text}"))
}

fn amount(cost: &Value) -> Money {
    money(&cost["amount"])
}

fn float(amount: Money) -> f64 {
    amount.to_string().parse().expect("a number")
}

fn patch(yard: &Yard, id: &str, body: &Value) -> Answer {
    yard.http.call("PATCH", &format!("{JOBS}/{id}")).json(body).send()
}

fn endless(label: &str, limits: Value) -> Value {
    let mut spec = sh("while :; do sleep 0.2; done");
    spec["labels"] = json!({"team": label});
    spec["limits"] = limits;
    spec
}

/// What the invoice says of all machines of a job.
fn invoiced(yard: &Yard, id: &str) -> Money {
    let now = yard.world().now();
    let totals = yard.machines_of(id).into_iter().map(|machine| machine.invoice(now).total);
    totals.fold(Money::ZERO, Money::plus)
}

/// The kinds of what a job was told.
fn told(yard: &Yard, id: &str) -> Vec<String> {
    let told = yard.get(id, "/notifications").ok(200);
    let kind = |event: &Value| event["kind"].as_str().or(event["type"].as_str()).map(str::to_owned);
    list(&told["notifications"]).iter().filter_map(kind).collect()
}

/// A server with that in its configuration's file, and that environment.
fn configured(file: &str, options: Options, variables: &[(&str, Option<&str>)]) -> (Yard, PathBuf) {
    let directory = std::env::temp_dir().join(format!("trainyard-money-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join(format!("{:?}.toml", thread::current().id()).replace(['(', ')'], ""));
    std::fs::write(&path, file).expect("a file");
    let named = path.to_str().expect("UTF-8").to_owned();
    let mut variables = variables.to_vec();
    variables.push(("TRAINYARD_CONFIG", Some(&named)));
    (Yard::with(options, &variables), path)
}

#[test]
fn a_job_is_stopped_before_its_money_is_passed() {
    thread::scope(|scope| {
        for (vendor, provider) in VENDORS {
            scope.spawn(move || stopped_in_time(vendor, provider));
        }
    });
}

fn stopped_in_time(vendor: Vendor, provider: &str) {
    let yard = Yard::new();
    yard.create("m", &endless("a", json!({"max_cost_usd": "100.00", "grace_period_s": 1})));
    yard.submit("m", provider).ok(200);
    yard.await_state("m", "running");
    let job = yard.get("m", "").ok(200);
    let price = amount(&placed(&job)[0]["price_per_hour"]);
    // Traffic that may come is set aside; the rest is for a few seconds.
    let job_left = yard.http.post("/api/training/estimates", &job["specification"]).ok(200);
    let of = |all: &Value| list(all).iter().find(|one| one["provider"] == provider).cloned();
    let traffic = amount(&of(&job_left["estimates"]).expect("an estimate")["max_traffic"]);
    let most = amount(&job["cost"]).plus(price.per_hour_for(10)).plus(traffic);
    patch(&yard, "m", &json!({"limits": {"max_cost_usd": most.to_string()}})).ok(200);
    let status = yard.await_state("m", "failed");
    assert_eq!(status["reason"]["code"], "budget_exceeded", "{status}");
    assert!(
        status["reason"]["message"].as_str().is_some_and(|text| text.contains("max_cost_usd")),
        "{status}"
    );
    yard.await_gone("m");
    let (spent, unit) = (invoiced(&yard, "m"), price.per_hour_for(unit_s(vendor)));
    assert!(spent <= most.plus(unit), "{provider}: ${spent} of ${most}");
    assert!(spent > Money::ZERO, "{provider}: it was billed");
    assert!(told(&yard, "m").iter().any(|kind| kind == "budget100"), "{:?}", told(&yard, "m"));
    assert_eq!(yard.machines_of("m").len(), 1, "nothing is ordered after that");
}

#[test]
fn submits_at_the_same_moment_cannot_overrun_a_budget_together() {
    const JOBS_AT_ONCE: usize = 8;
    let (yard, file) =
        configured("[[budgets]]\nlabel = \"team:a\"\nper_month_usd = \"5.00\"\n", Options::for_tests(), &[]);
    // Two of them fit: each may cost two dollars.
    let limits = json!({"max_cost_usd": "2.00", "max_duration_s": 1200, "grace_period_s": 1});
    let mut spec = endless("a", limits);
    spec["resources"]["gpu"] = json!(["H100"]);
    for n in 0..JOBS_AT_ONCE {
        yard.create(&format!("m{n}"), &spec);
    }
    let answers: Vec<Answer> = thread::scope(|scope| {
        let submits: Vec<_> = (0..JOBS_AT_ONCE)
            .map(|n| {
                scope.spawn({
                    let yard = &yard;
                    move || yard.submit(&format!("m{n}"), "runpod")
                })
            })
            .collect();
        submits.into_iter().map(|submit| submit.join().expect("an answer")).collect()
    });
    let resources = yard.http.get("/api/training/resources").ok(200);
    let budget = &list(&resources["budgets"])[0];
    assert_eq!(
        (&budget["name"], &amount(&budget["per_month"]).to_string()),
        (&json!("team:a"), &"5.00".to_owned())
    );
    assert!(amount(&budget["committed"]) <= amount(&budget["per_month"]), "{budget}");
    let reserved = list(&resources["machines"]).iter().map(|machine| amount(&machine["reserved"]));
    let most = reserved.fold(Money::ZERO, Money::max);
    let fit = (float(amount(&budget["per_month"])) / float(most)) as usize;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((taken, yard.world().machines().len()), (fit, fit), "each may cost up to ${most}");
    assert!(taken < JOBS_AT_ONCE, "the budget has no room for all");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let error = answer.error(400, "budget");
        assert!(error["detail"].as_str().is_some_and(|text| text.contains("team:a")), "{error}");
    }
    // Another team is not concerned; who runs may not take what is not there.
    let of = |taken: bool| {
        let ids = answers.iter().enumerate().filter(move |(_, answer)| (answer.status == 200) == taken);
        ids.map(|(n, _)| format!("m{n}")).collect::<Vec<String>>()
    };
    let (running, refused) = (of(true), of(false));
    running.iter().for_each(|id| drop(yard.await_state(id, "running")));
    patch(&yard, &running[0], &json!({"limits": {"max_cost_usd": "100.00", "max_duration_s": 86400}}))
        .error(400, "budget");
    patch(&yard, &running[0], &json!({"limits": {"max_duration_s": 1100}})).ok(200);
    yard.create("other", &sh("true"));
    yard.submit("other", "runpod").ok(200);
    running.iter().for_each(|id| drop(yard.poke(id, "/cancel").ok(200)));
    yard.await_gone("other");
    // What was set aside is free again.
    yard.submit(&refused[0], "runpod").ok(200);
    yard.poke(&refused[0], "/cancel").ok(200);
    drop(yard);
    std::fs::remove_file(file).expect("the file");
}

#[test]
fn the_ledger_is_the_invoice_and_an_estimate_is_near_it() {
    thread::scope(|scope| {
        for (vendor, provider) in VENDORS {
            scope.spawn(move || settled(vendor, provider));
        }
    });
}

fn settled(vendor: Vendor, provider: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test's own configuration")]
    let named = std::env::var("TRAINYARD_TEST_TRAINING_S").ok().and_then(|text| text.parse().ok());
    let training_s: u64 = named.unwrap_or(SHORT_S);
    let options = Options { delays: Delays::SHORT, ..Options::for_tests() };
    let yard = Yard::with(options, &[("TRAINYARD_LIMITS_BILL_AFTER_S", Some("1"))]);
    let training = |seconds: u64| sh(&format!("sleep {seconds}; printf x > \"$TRAINYARD_OUTPUT_DIR/x\""));
    // How it goes there is learnt from a first run.
    let first = float(run(&yard, vendor, provider, "first", &training(FIRST_S)));
    let told =
        yard.http.post(&format!("/api/training/estimates?training_s={training_s}"), &training(1)).ok(200);
    let estimate =
        list(&told["estimates"]).iter().find(|one| one["provider"] == provider).expect("an estimate");
    let expected = float(amount(&estimate["expected"]["cost"]));
    let bill = float(run(&yard, vendor, provider, "planned", &training(training_s)));
    let price = float(money(&estimate["offer"]["price_per_hour"]));
    // A busy machine starts an agent sooner or later than it did for the first, which says nothing about a run of hours.
    let started_apart = (bill - first - (training_s - FIRST_S) as f64 * price / 3600.0).abs();
    let short = if training_s > SHORT_S { 0.0 } else { started_apart.max(SHORT_SLACK_S * price / 3600.0) };
    // Begun units are billed whole: some seconds may cost one more.
    let slack = short + unit_s(vendor) as f64 * price / 3600.0;
    let apart = (expected - bill).abs();
    let told = format!(
        "{provider}: estimated ${expected:.6}, billed ${bill:.6}, {:.1} % apart at ${price} per hour",
        100.0 * apart / bill
    );
    assert!(apart <= 0.15 * bill + slack, "{told}");
    say(&told);
}

/// Runs it to its end, and compares the books. Gives the bill.
fn run(yard: &Yard, vendor: Vendor, provider: &str, id: &str, spec: &Value) -> Money {
    yard.create(id, spec);
    yard.submit(id, provider).ok(200);
    yard.await_state(id, "completed");
    let job = yard.await_gone(id);
    let attempt = &placed(&job)[0];
    let entry = until(SOON, "the bill to be settled", || {
        let resources = yard.http.get("/api/training/resources").ok(200);
        let entry =
            list(&resources["machines"]).iter().find(|machine| machine["order"] == attempt["order"]).cloned();
        // Lambda has no books to read.
        entry.filter(|entry| vendor == Vendor::Lambda || entry["bill"]["settled"] == true)
    });
    let (bill, price) = (invoiced(yard, id), amount(&attempt["price_per_hour"]));
    let ledger = amount(&entry["cost"]);
    let apart = bill.minus(ledger).max(ledger.minus(bill));
    // And the second that passes until a listing shows that the machine is up; Vast.ai's charges have three digits.
    let rounding = if vendor == Vendor::Vastai { "0.0005" } else { "0" };
    let unit = price.per_hour_for(unit_s(vendor) + 1).plus(rounding.parse().expect("an amount"));
    assert!(apart <= unit, "{provider}: invoice ${bill}, ledger ${ledger} at ${price} per hour");
    assert_eq!(amount(&yard.get(id, "").ok(200)["cost"]), ledger, "the job says the same");
    assert!(ledger <= amount(&entry["reserved"]), "{entry}");
    bill
}

#[test]
fn a_vendor_that_keeps_a_machine_is_an_alarm() {
    thread::scope(|scope| {
        for (vendor, provider) in VENDORS {
            scope.spawn(move || alarmed(vendor, provider));
        }
    });
}

fn alarmed(vendor: Vendor, provider: &str) {
    let yard = Yard::with(Options::for_tests(), &[("TRAINYARD_LIMITS_ALARM_AFTER_S", Some("2"))]);
    yard.create("m", &sh("true"));
    yard.world().add_fault(Rule::always(vendor, "terminate", Fault::TerminateIgnored));
    yard.submit("m", provider);
    yard.await_state("m", "completed");
    let alarm = until(SOON, "the alarm", || {
        let resources = yard.http.get("/api/training/resources").ok(200);
        list(&resources["alarms"]).first().cloned()
    });
    assert_eq!(alarm["code"], "release_ignored", "{alarm}");
    let text = alarm["message"].as_str().expect("a message");
    assert!(text.contains(provider) && text.contains("provider's console"), "{text}");
    until(SOON, "the job to be told", || told(&yard, "m").contains(&"cost_alarm".to_owned()).then_some(()));
    let gauge = yard.http.get("/metrics").text();
    assert!(gauge.lines().any(|line| line == "trainyard_cost_alarms 1"), "{gauge}");
    yard.world().set_faults(FaultPlan::default());
    yard.await_gone("m");
    until(SOON, "the alarm to be over", || {
        let resources = yard.http.get("/api/training/resources").ok(200);
        list(&resources["alarms"]).is_empty().then_some(())
    });
    assert_eq!(told(&yard, "m").iter().filter(|kind| *kind == "cost_alarm").count(), 1, "told once");
}
