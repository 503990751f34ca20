//! Readers that are too slow, and events that are not kept any more.

use std::time::Duration;

use serde_json::json;
use trainyard_tests::{Heard, WebSocket, until};

use crate::sockets::{open, seqs};
use crate::yard::{JOBS, SOON, Yard, sh};

/// Much more than the buffers between two programs hold.
const LOG_BYTES: u32 = 20_000_000;

#[test]
fn a_reader_that_is_too_slow_is_closed_and_holds_nobody_back() {
    let yard = Yard::new();
    let line = "x".repeat(999);
    yard.run("job_1", &sh(&format!("yes {line} | head -c {LOG_BYTES}; sleep 1")));
    let mut slow = open(&yard, "job_1", "?after=0&log=true");
    let http = yard.http.clone();
    let quick = std::thread::spawn(move || {
        let mut socket =
            WebSocket::open(&http, "/ws/training/jobs/job_1?after=0&log=true", &[]).expect("open");
        socket.to_end(Duration::from_secs(90))
    });
    yard.await_state("job_1", "completed");
    let (messages, end) = quick.join().expect("the quick reader");
    assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
    let last = yard.status("job_1")["seq"].as_u64().expect("a number");
    assert_eq!(seqs(&messages), (1..=last).collect::<Vec<u64>>());
    let bytes: u64 = messages.iter().filter_map(|message| message["data"]["len"].as_u64()).sum();
    assert_eq!(bytes, u64::from(LOG_BYTES));

    // The other has read nothing for longer than the server's patience, and now finds out what became of it.
    // waits: for the server to lose its patience with a reader that stands still (20 s)
    std::thread::sleep(Duration::from_secs(22));
    let (messages, end) = slow.to_end(Duration::from_secs(30));
    let Heard::Closed(1013, why) = end else { panic!("{end:?}") };
    let got = seqs(&messages);
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<u64>>(), "what it got has no gap");
    let said: Vec<u64> =
        why.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(said.last().copied(), got.last().copied(), "the last `seq` it got: {why}");
    // It comes back and misses nothing.
    let (rest, end) = open(&yard, "job_1", &format!("?log=true&after={}", got.len())).to_end(SOON);
    assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
    assert_eq!(seqs(&rest), (got.len() as u64 + 1..=last).collect::<Vec<u64>>());
}

#[test]
fn events_that_are_not_kept_any_more_are_410() {
    let mut yard = Yard::with("[local]\nslots = 2\nuse_gpus = false\n[retention]\ntelemetry_days = 0\n");
    let script = "i=1; while [ $i -le 50 ]; do echo \"{\\\"step\\\":$i}\" >> \"$TRAINYARD_METRICS_FILE\"; i=$((i+1)); done";
    yard.complete("job_1", &sh(&format!("{script}; echo bye")));
    yard.await_released("job_1");
    // House is kept at the start as well.
    yard.server.end();
    yard.start_again();
    let gone = until(Duration::from_secs(80), "the telemetry to be dropped", || {
        let page = yard.get("job_1", "/events?after=0");
        (page.status == 410).then_some(page)
    });
    let error = gone.error(410, "events_gone");
    assert_eq!(error["job_id"], "job_1");
    let oldest = error["oldest_seq"].as_u64().expect("the oldest number kept");
    let path = "/ws/training/jobs/job_1";
    let refused =
        WebSocket::open(&yard.http, &format!("{path}?after=0"), &[]).expect_err("before the upgrade");
    assert_eq!(refused.error(410, "events_gone")["oldest_seq"], oldest);
    let call = yard.http.call("GET", &format!("{JOBS}/job_1/events")).header("Accept", "text/event-stream");
    call.send().error(410, "events_gone");
    // From there on the history is whole, and what was decided is still told.
    let (messages, end) = open(&yard, "job_1", &format!("?after={}", oldest - 1)).to_end(SOON);
    assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
    let last = yard.status("job_1")["seq"].as_u64().expect("a number");
    assert_eq!(seqs(&messages), (oldest..=last).collect::<Vec<u64>>());
    assert_eq!(yard.status("job_1")["state"], json!("completed"));
    assert_eq!(yard.log("job_1"), "bye\n", "the log itself is kept");
    let told = yard.get("job_1", "/notifications").ok(200);
    assert!(told.to_string().contains("Training Complete!"));
}
