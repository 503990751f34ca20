//! What happens to requests and answers on their way.

use std::time::{Duration, Instant};

use trainyard_simulator::faults::{Canned, Fault, FaultPlan, Rule, When};
use trainyard_simulator::{Simulator, Vendor, World};

use super::rig::{options, raw, start};

/// An address that no skin knows: the operation `other`.
const NOWHERE: &str = "/runpod/v2/nothing/of/the/kind?x=1";
const BODY: &str = r#"{"cost": 1}"#;

async fn with(simulator: &Simulator, world: &World, faults: &[Fault]) -> String {
    let rule = |fault: &Fault| Rule::once(Vendor::Runpod, "other", fault.clone());
    world.set_faults(FaultPlan { seed: 1, rules: faults.iter().map(rule).collect() });
    raw(simulator, "GET", NOWHERE, "").await
}

fn answer() -> Fault {
    Fault::Answer { body: BODY.to_owned(), content_type: Some("application/json".to_owned()) }
}

#[tokio::test]
async fn an_answer_is_replaced_or_missing() {
    let (simulator, world) = start(options()).await;
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::StallAfter { seconds: 0.0 }] {
        assert_eq!(with(&simulator, &world, &[fault]).await, "", "closed without an answer");
    }
    let busy = Canned { retry_after_s: Some(5), body: Some("{}".to_owned()), ..Canned::status(429) };
    let told = with(&simulator, &world, &[Fault::StatusBefore(busy)]).await;
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("retry-after: 5\r\n") && told.ends_with("{}"));
    let told = with(&simulator, &world, &[Fault::StatusAfter(Canned::status(502))]).await;
    assert!(told.starts_with("HTTP/1.1 502") && told.contains("<html>"));
    let empty = Fault::Answer { body: String::new(), content_type: None };
    let told = with(&simulator, &world, &[empty]).await;
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("\r\n\r\n"));
    let count = world.count(Vendor::Runpod, "other");
    assert_eq!((count.asked, count.refused, count.unanswered), (6, 2, 3));
    simulator.stop().await;
}

#[tokio::test]
async fn a_body_breaks_or_ends_at_any_byte() {
    let (simulator, world) = start(options()).await;
    for bytes in 0..BODY.len() {
        let whole = format!("content-length: {}\r\n", BODY.len());
        let cut = with(&simulator, &world, &[answer(), Fault::Cut { bytes }]).await;
        assert!(cut.contains(&whole) && cut.ends_with(&format!("\r\n\r\n{}", &BODY[..bytes])), "{cut}");
        let truncated = with(&simulator, &world, &[answer(), Fault::Truncate { bytes }]).await;
        assert!(truncated.contains(&format!("content-length: {bytes}\r\n")), "{truncated}");
    }
    simulator.stop().await;
}

#[tokio::test]
async fn a_body_drips_and_a_clock_is_off() {
    let (simulator, world) = start(options()).await;
    let begun = Instant::now();
    let told = with(&simulator, &world, &[answer(), Fault::Slow { bytes_per_s: 50 }]).await;
    assert!(told.ends_with(BODY));
    assert!(begun.elapsed() > Duration::from_millis(150), "eleven bytes, the first at once");
    let told = with(&simulator, &world, &[answer(), Fault::DateSkew { seconds: -3600 * 24 * 400 }]).await;
    let date = told.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap();
    assert!((world.now() - date.to_utc()).num_days() >= 399);
    simulator.stop().await;
}

#[tokio::test]
async fn what_came_and_went_is_kept() {
    let (simulator, world) = start(options()).await;
    world.add_fault(Rule { when: When::Always, ..Rule::once(Vendor::Runpod, "other", answer()) });
    raw(&simulator, "POST", NOWHERE, "asked").await;
    let tape = world.tape();
    let exchange = tape.first().unwrap();
    assert_eq!((exchange.method.as_str(), exchange.path.as_str()), ("POST", "/v2/nothing/of/the/kind"));
    assert_eq!((exchange.query.as_str(), &exchange.body[..]), ("x=1", &b"asked"[..]));
    assert_eq!((exchange.status, exchange.answer.as_deref()), (Some(200), Some(BODY.as_bytes())));
    simulator.stop().await;
}
