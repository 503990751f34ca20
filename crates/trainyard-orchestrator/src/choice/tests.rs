//! The choice as a table: offers, a history, and what is ordered next.

use chrono::{DateTime, TimeDelta};
use trainyard_connector::Arch;
use trainyard_domain::{AttemptNumber, Command, Fact, Rental};

use super::*;

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn offer(id: &str, gpu: &str, memory: u32, price: &str) -> Offer {
    Offer {
        id: id.to_owned(),
        gpu: gpu.to_owned(),
        gpu_memory_gb: memory,
        gpu_count: 1,
        price_per_hour: money(price),
        traffic_per_gb: Money::ZERO,
        region: "US-TX-3".to_owned(),
        spot: false,
        stock: Stock::High,
        arch: Arch::X86_64,
        disk_gb_max: None,
    }
}

fn shelf(provider: &str, offers: Vec<Offer>) -> Shelf {
    Shelf { provider: provider.parse().unwrap(), offers: Some(offers), queues: false }
}

fn cloud() -> Vec<Shelf> {
    let offers = vec![
        offer("big", "H100", 80, "2.50"),
        offer("cheap", "RTX4090", 24, "0.40"),
        offer("middle", "A100-80GB", 80, "1.20"),
    ];
    vec![shelf("runpod", offers)]
}

fn job(change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec = JobSpec::new("org/model-1B");
    change(&mut spec);
    let mut job = Job::new("job".parse().unwrap(), spec, None, at(0));
    job.command(&Command::Submit("runpod".parse().unwrap())).unwrap();
    job
}

/// Orders that offer and has it refused.
fn refused(job: &mut Job, id: &str, code: &str, seconds: i64) {
    let provider = job.provider().unwrap().clone();
    order(job, &provider, id, seconds);
    let attempt = job.attempt().unwrap().number;
    job.set_attempt_end(attempt, Reason::new(code, "no"));
    job.apply(&Fact::OrderRefused { attempt, round_over: false }, at(seconds)).unwrap();
}

fn order(job: &mut Job, provider: &ProviderName, id: &str, seconds: i64) {
    let n = job.attempts().len() + 1;
    let name = format!("ty-abcdefgh-{n:026}").parse().unwrap();
    let attempt = job.intend(name, provider.clone(), at(seconds)).unwrap();
    job.set_offer(attempt, Some(taken(&offer(id, "H100", 80, "1"))));
}

fn next(job: &Job, shelves: &[Shelf], seconds: i64) -> String {
    let policy = Policy::default();
    let need = need_of(job, &policy, at(seconds));
    let all = candidates(job, &need, shelves, &policy, at(seconds));
    if all.is_empty() {
        return why_none(job, &need, shelves).code;
    }
    let id =
        |c: &Candidate| c.offer.as_ref().map_or_else(|| c.provider.to_string(), |offer| offer.id.clone());
    all.iter().map(id).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_fits_is_tried_by_price() {
    assert_eq!(next(&job(|_| {}), &cloud(), 0), "cheap middle big");
    assert_eq!(
        next(&job(|s| s.resources.gpu = vec!["h100".into(), "A100-80GB".into()]), &cloud(), 0),
        "middle big"
    );
    assert_eq!(next(&job(|s| s.resources.gpu_memory_gb = Some(48)), &cloud(), 0), "middle big");
    assert_eq!(
        next(&job(|s| s.model_name = "org/model-13B".into()), &cloud(), 0),
        "middle big",
        "by its size"
    );
    assert_eq!(next(&job(|s| s.resources.gpu_count = 8), &cloud(), 0), "no_capacity");
}

#[test]
fn ceilings_are_those_of_the_job_the_budget_and_the_installation() {
    let dear = |change: fn(&mut JobSpec)| {
        next(
            &job(|spec| {
                spec.resources.gpu = vec!["H100".into()];
                change(spec);
            }),
            &cloud(),
            0,
        )
    };
    assert_eq!(dear(|_| {}), "big");
    assert_eq!(dear(|spec| spec.resources.max_price_per_hour = Some(money("2.49"))), "price_ceiling");
    assert_eq!(
        dear(|spec| spec.limits.max_cost_usd = Some(money("10"))),
        "big",
        "four hours are ten dollars"
    );
    assert_eq!(dear(|spec| spec.limits.max_cost_usd = Some(money("9.99"))), "budget");
    let shelves = [shelf("runpod", vec![offer("huge", "B200", 180, "44")])];
    assert_eq!(next(&job(|_| {}), &shelves, 0), "price_ceiling");
}

#[test]
fn an_offer_that_was_refused_is_avoided_for_a_while() {
    let mut job = job(|_| {});
    refused(&mut job, "cheap", "no_capacity", 0);
    assert_eq!(next(&job, &cloud(), 1), "middle big");
    assert_eq!(next(&job, &cloud(), 600), "cheap middle big");
    refused(&mut job, "cheap", "no_capacity", 600);
    assert_eq!(next(&job, &cloud(), 1300), "middle big", "the second time for longer");
    refused(&mut job, "middle", "price_changed", 1300);
    refused(&mut job, "big", "no_capacity", 1300);
    assert_eq!(next(&job, &cloud(), 1301), "no_capacity");
}

#[test]
fn an_order_that_never_arrived_is_no_refusal() {
    let mut job = job(|_| {});
    refused(&mut job, "cheap", ORDER_LOST, 0);
    assert_eq!(next(&job, &cloud(), 1), "cheap middle big");
}

#[test]
fn a_provider_without_credit_is_asked_no_more_in_this_round() {
    let mut job = job(|_| {});
    refused(&mut job, "cheap", "no_credit", 0);
    assert_eq!(next(&job, &cloud(), 1), "no_credit");
    job.set_auto();
    let mut shelves = cloud();
    shelves.push(shelf("lambda", vec![offer("other", "A10", 24, "0.75")]));
    assert_eq!(next(&job, &shelves, 1), "other");
}

#[test]
fn the_offer_of_a_lost_machine_comes_last() {
    let mut job = job(|_| {});
    let here: ProviderName = "runpod".parse().unwrap();
    order(&mut job, &here, "cheap", 0);
    let attempt = AttemptNumber::FIRST;
    let rental = Rental { attempt, machine: "m".parse().unwrap(), can_pause: false };
    job.apply(&Fact::Placed(rental), at(1)).unwrap();
    job.set_attempt_end(attempt, Reason::new("boot_failed", "no"));
    job.apply(&Fact::Lost { attempt }, at(100)).unwrap();
    assert_eq!(next(&job, &cloud(), 101), "middle big cheap");
    assert_eq!(next(&job, &cloud(), 800), "cheap middle big");
}

#[test]
fn who_waits_in_line_is_not_sent_away() {
    let mut job = job(|_| {});
    let local = [Shelf { provider: "runpod".parse().unwrap(), offers: None, queues: true }];
    let here: ProviderName = "runpod".parse().unwrap();
    let n = job.intend("ty-abcdefgh-00000000000000000000000001".parse().unwrap(), here, at(0)).unwrap();
    job.set_attempt_end(n, Reason::new("no_capacity", "full"));
    job.apply(&Fact::OrderRefused { attempt: n, round_over: false }, at(0)).unwrap();
    assert_eq!(next(&job, &local, 1), "runpod");
}

#[test]
fn what_was_spent_lowers_what_may_be_paid() {
    let mut job = job(|spec| spec.limits.max_cost_usd = Some(money("10")));
    let here: ProviderName = "runpod".parse().unwrap();
    order(&mut job, &here, "big", 0);
    job.set_price(AttemptNumber::FIRST, Some(money("2")));
    let rental = Rental { attempt: AttemptNumber::FIRST, machine: "m".parse().unwrap(), can_pause: false };
    job.apply(&Fact::Placed(rental), at(0)).unwrap();
    assert_eq!(job.cost(at(3600)), money("2"));
    job.set_gone(AttemptNumber::FIRST, at(7200), Some(at(5400)));
    assert_eq!(job.cost(at(99_999)), money("3"));
    let need = need_of(&job, &Policy::default(), at(7200));
    assert_eq!(need.max_price_per_hour, Some(money("1.75")), "seven dollars for four hours");
}
