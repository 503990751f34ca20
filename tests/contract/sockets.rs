//! `/ws/training/jobs/{job_id}`: what is said, in which form, and how it ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_tests::{Heard, WebSocket};

use crate::yard::{JOBS, SOON, Yard, endless, gated, keys, list, moment, quick, sh};

pub(crate) fn open(yard: &Yard, id: &str, query: &str) -> WebSocket {
    let path = format!("/ws/training/jobs/{id}{query}");
    WebSocket::open(&yard.http, &path, &[])
        .unwrap_or_else(|answer| panic!("{}: {}", answer.status, answer.text()))
}

pub(crate) fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter(|m| m["type"] != "connected").filter_map(|m| m["seq"].as_u64()).collect()
}

#[test]
fn a_job_from_its_submit_to_its_end() {
    let yard = Yard::new();
    let go = yard.file("go");
    let point = r#"{"step":1000,"loss":0.5,"learning_rate":0.0002,"grad_norm":2.5,"progress":0.5,"eta_s":60,"total_steps":2000}"#;
    let script = format!(
        "until [ -e '{go}' ]; do sleep 0.05; done; echo '{point}' >> \"$TRAINYARD_METRICS_FILE\"; echo a line; \
         printf x > \"$TRAINYARD_OUTPUT_DIR/x\""
    );
    yard.create("job_1", &sh(&script));
    let mut with_log = open(&yard, "job_1", "?log=true");
    let mut without = open(&yard, "job_1", "");
    let connected = with_log.message_within(SOON);
    assert_eq!((&connected["type"], &connected["data"]["job_id"]), (&json!("connected"), &json!("job_1")));
    assert_eq!(connected["seq"], yard.status("job_1")["seq"]);
    let first = with_log.message_within(SOON);
    assert_eq!((&first["type"], &first["data"]["state"]), (&json!("status"), &json!("created")));
    yard.submit("job_1").ok(200);
    yard.await_state("job_1", "running");
    std::fs::write(&go, "").expect("the gate opens");
    let (messages, end) = with_log.to_end(SOON);
    assert_eq!(end, Heard::Closed(1000, String::new()).like(&end));
    for message in &messages {
        assert_eq!(keys(message), ["attempt", "data", "seq", "ts", "type"]);
        moment(&message["ts"]);
    }
    let of =
        |kind: &str| messages.iter().filter(|m| m["type"] == kind).map(|m| &m["data"]).collect::<Vec<_>>();
    let states: Vec<&Value> = of("status").iter().map(|data| &data["state"]).collect();
    assert!(states.contains(&&json!("running")) && states.last() == Some(&&json!("completed")), "{states:?}");
    let last = of("status").pop().expect("a status");
    assert!(
        ["state", "completed_at", "phase", "reason"].iter().all(|name| keys(last).contains(name)),
        "{last}"
    );
    moment(&last["completed_at"]);
    let metrics = of("metrics").into_iter().find(|data| !data["loss"].is_null()).expect("metrics");
    assert_eq!((&metrics["step"], &metrics["loss"]), (&json!(1000), &json!(0.5)));
    assert_eq!((&metrics["learning_rate"], &metrics["grad_norm"]), (&json!(0.0002), &json!(2.5)));
    assert!(
        of("progress").iter().any(|data| data["progress"] == 0.5 && data["eta_s"] == 60),
        "{:?}",
        of("progress")
    );
    assert_eq!(of("log").iter().filter_map(|data| data["text"].as_str()).collect::<String>(), "a line\n");
    let done =
        of("notification").into_iter().find(|data| data["title"] == "Training Complete!").expect("told");
    assert!(done["message"].as_str().is_some_and(|text| !text.is_empty()));

    // Live, with the log, nothing is missing and nothing comes twice; the first status is no event.
    let numbers = seqs(&messages);
    let begin = connected["seq"].as_u64().expect("a number") + 1;
    assert_eq!(numbers, (begin..begin + numbers.len() as u64).collect::<Vec<u64>>());
    assert_eq!(numbers.last().copied(), yard.status("job_1")["seq"].as_u64());
    let (quiet, _) = without.to_end(SOON);
    assert!(quiet.iter().all(|message| message["type"] != "log"), "the log only where asked for");
    // The history told over HTTP is the same.
    let history = yard.events("job_1");
    assert_eq!(messages.as_slice(), &history[begin as usize - 1..]);
}

/// Compares the code of a close and leaves its text.
trait Like {
    fn like(self, other: &Heard) -> Heard;
}

impl Like for Heard {
    fn like(self, other: &Heard) -> Heard {
        match (self, other) {
            (Heard::Closed(code, _), Heard::Closed(_, why)) => Heard::Closed(code, why.clone()),
            (own, _) => own,
        }
    }
}

#[test]
fn before_the_upgrade_errors_are_answers() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let refused = |path: &str| WebSocket::open(&yard.http, path, &[]).expect_err("refused");
    let error = refused("/ws/training/jobs/nobody").error(404, "job_not_found");
    assert_eq!(error["job_id"], "nobody");
    refused("/ws/training/jobs/.x").error(400, "invalid_job_id");
    for query in ["after=x", "after=-1", "log=1", "log=yes"] {
        refused(&format!("/ws/training/jobs/job_1?{query}")).error(400, "invalid_parameter");
    }
    refused("/ws/training/jobs/job_1?since=1").error(400, "unknown_parameter");
    let plain = yard.http.get("/ws/training/jobs/job_1");
    plain.error(426, "not_a_websocket");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
}

#[test]
fn ping_is_answered_whatever_else_is_said_is_not() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let mut socket = open(&yard, "job_1", "");
    assert_eq!(socket.message_within(SOON)["type"], "connected");
    assert_eq!(socket.message_within(SOON)["type"], "status");
    socket.say("hello");
    socket.say("{\"type\":\"subscribe\"}");
    socket.say("ping");
    assert_eq!(socket.message_within(SOON), json!({"type": "pong"}));
    socket.ping();
    assert_eq!(socket.hear(SOON), Some(Heard::Pong));
}

#[test]
fn the_server_pings_every_fifteen_seconds() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let mut socket = open(&yard, "job_1", "");
    let began = Instant::now();
    loop {
        match socket.hear(Duration::from_secs(25)) {
            Some(Heard::Message(_)) => {}
            Some(Heard::Ping) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn an_ended_job_is_replayed_then_closed() {
    let yard = Yard::new();
    yard.complete("done", &quick());
    yard.await_released("done");
    yard.run("stopped", &endless());
    yard.poke("stopped", "/cancel").ok(200);
    for id in ["done", "stopped"] {
        let history = yard.events(id);
        let (messages, end) = open(&yard, id, "?after=0&log=true").to_end(SOON);
        assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
        assert_eq!((&messages[0]["type"], &messages[0]["seq"]), (&json!("connected"), &json!(history.len())));
        assert_eq!(&messages[1..], history.as_slice());
        // Without a number: the current status first, then the whole history.
        let (messages, end) = open(&yard, id, "?log=true").to_end(SOON);
        assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
        assert_eq!(
            (&messages[1]["type"], &messages[1]["data"]["state"]),
            (&json!("status"), &yard.status(id)["state"])
        );
        assert_eq!(&messages[2..], history.as_slice());
        // From the end: nothing is left to tell.
        let (messages, end) = open(&yard, id, &format!("?after={}", history.len())).to_end(SOON);
        assert!(matches!(end, Heard::Closed(1000, _)) && messages.len() == 1, "{messages:?} {end:?}");
    }
}

#[test]
fn replay_goes_over_into_live_with_nothing_missed_and_nothing_twice() {
    let yard = Yard::new();
    let script = "i=1; while [ $i -le 400 ]; do echo \"{\\\"step\\\":$i,\\\"loss\\\":1}\" >> \"$TRAINYARD_METRICS_FILE\"; \
                  echo \"line $i\"; i=$((i+1)); [ $((i % 20)) = 0 ] && sleep 0.1; done; true";
    yard.run("job_1", &sh(script));
    // Readers that come at any moment, each from another number.
    let readers: Vec<_> = (0..12u64)
        .map(|i| {
            let http = yard.http.clone();
            std::thread::spawn(move || {
                // waits: for another moment of the training; any will do
                std::thread::sleep(Duration::from_millis(i * 150));
                let path = format!("/ws/training/jobs/job_1?log=true&after={}", i * 3);
                let mut socket = WebSocket::open(&http, &path, &[]).expect("open");
                (i * 3, socket.to_end(SOON))
            })
        })
        .collect();
    let ended: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    let last = yard.status("job_1")["seq"].as_u64().expect("a number");
    for (after, (messages, end)) in ended {
        assert!(matches!(end, Heard::Closed(1000, _)), "{end:?}");
        assert_eq!(seqs(&messages), (after + 1..=last).collect::<Vec<u64>>(), "after {after}");
    }
}

#[test]
fn a_deleted_job_closes_its_sockets() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let mut socket = open(&yard, "job_1", "");
    assert_eq!(socket.message_within(SOON)["type"], "connected");
    assert_eq!(yard.http.call("DELETE", &format!("{JOBS}/job_1")).send().status, 204);
    let (_, end) = socket.to_end(SOON);
    assert!(matches!(end, Heard::Closed(..)), "{end:?}");
}

#[test]
fn a_graceful_end_closes_streams_and_leaves_training_running() {
    let mut yard = Yard::new();
    let go = yard.file("go");
    yard.run("job_1", &gated(&go));
    let mut socket = open(&yard, "job_1", "");
    let mut stream = yard.stream("job_1", "/events");
    yard.server.ask_to_end();
    let (messages, end) = socket.to_end(SOON);
    assert!(matches!(end, Heard::Closed(1001, _)), "{end:?}");
    assert_eq!(messages[1]["data"]["state"], "running");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).expect("the stream ends as it should");
    assert_eq!(yard.server.ended().code(), Some(0));
    assert_eq!(yard.server.agents().len(), 1, "the training goes on");
    yard.start_again();
    assert_eq!(yard.status("job_1")["state"], "running");
    std::fs::write(&go, "").expect("the gate opens");
    yard.await_state("job_1", "completed");
    assert_eq!(list(&yard.get("job_1", "").ok(200)["attempts"]).len(), 1);
}
