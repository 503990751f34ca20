//! `GET …/logs`: parts by offset, the last lines, and following.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use crate::yard::{JOBS, Yard, gated, keys, sh};

#[test]
fn a_log_by_parts_and_by_lines() {
    let yard = Yard::new();
    yard.complete("job_1", &sh("for i in 1 2 3 4 5; do echo \"line $i\"; done; echo err >&2"));
    let whole = yard.get("job_1", "/logs").ok(200);
    assert_eq!(keys(&whole), ["complete", "next_offset", "offset", "size", "text"]);
    assert_eq!(whole["text"], "line 1\nline 2\nline 3\nline 4\nline 5\nerr\n");
    assert_eq!((&whole["offset"], &whole["size"], &whole["complete"]), (&json!(0), &json!(39), &json!(true)));
    let rest = yard.get("job_1", "/logs?after=35").ok(200);
    assert_eq!((&rest["text"], &rest["next_offset"]), (&json!("err\n"), &json!(39)));
    assert_eq!(yard.get("job_1", "/logs?after=39").ok(200)["text"], "");
    assert_eq!(yard.get("job_1", "/logs?tail=2").ok(200)["text"], "line 5\nerr\n");
    assert_eq!(yard.get("job_1", "/logs?tail=100").ok(200)["text"], whole["text"]);
    assert_eq!(yard.get("job_1", "/logs?tail=0").ok(200)["text"], "");
    let plain =
        yard.http.call("GET", &format!("{JOBS}/job_1/logs?tail=1")).header("Accept", "text/plain").send();
    assert_eq!((plain.status, plain.text()), (200, "err\n".to_owned()));
    for wrong in ["after=x", "tail=-1", "tail=1&after=1", "follow=yes"] {
        yard.get("job_1", &format!("/logs?{wrong}")).error(400, "invalid_parameter");
    }
    yard.get("nobody", "/logs").error(404, "job_not_found");
    yard.create("created", &sh("true"));
    assert_eq!(yard.get("created", "/logs").ok(200)["text"], "");
}

#[test]
fn a_log_that_reaches_its_limit_says_so_once_and_ends() {
    let yard = Yard::with("[local]\nslots = 8\nuse_gpus = false\n[limits]\nlog_max_bytes = 20000\n");
    let go = yard.file("go");
    let script = format!(
        "yes 'a line of the log' | head -n 2000; until [ -e '{go}' ]; do sleep 0.05; done; echo too late"
    );
    yard.run("job_1", &sh(&script));
    trainyard_tests::until(Duration::from_secs(20), "the log to end", || {
        yard.log("job_1").contains("has reached its limit").then_some(())
    });
    std::fs::write(&go, "").expect("a file");
    yard.await_state("job_1", "completed");
    let log = yard.log("job_1");
    assert!(log.starts_with("a line of the log\n") && log.len() >= 20_000, "{} bytes", log.len());
    assert_eq!(log.matches("has reached its limit").count(), 1);
    assert!(log.ends_with("what follows is not kept]\n") && !log.contains("too late"), "{log:?}");
}

#[test]
fn what_is_no_text_and_what_overwrites_itself_is_shown_sensibly() {
    let yard = Yard::new();
    yard.complete("job_1", &sh(r"printf 'a\377b\n'; printf '10%%\r20%%\r30%%\n'; printf 'no line break'"));
    let log = yard.log("job_1");
    assert!(log.starts_with("a\u{fffd}b\n"), "{log:?}");
    assert!(log.contains("30%\n") && !log.contains("20%") && !log.contains('\r'), "{log:?}");
    assert!(log.trim_end().ends_with("no line break"), "{log:?}");
}

#[test]
fn following_ends_with_the_job_and_misses_nothing() {
    let yard = Yard::new();
    let go = yard.file("go");
    let script = format!("echo before; until [ -e '{go}' ]; do sleep 0.05; done; echo after");
    yard.run("job_1", &sh(&script));
    yard.await_log("job_1", "before");
    let mut stream = yard.stream("job_1", "/logs?follow=true");
    std::fs::write(&go, "").expect("the gate opens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the whole stream");
    assert_eq!(told(&text), "before\nafter\n");
    assert!(text.trim_end().rsplit("\n\n").next().is_some_and(|last| last.contains("event: end")), "{text}");

    let path = format!("{JOBS}/job_1/logs?follow=true");
    let again = yard.http.call("GET", &path).header("Last-Event-ID", "7").send();
    assert_eq!(told(&again.text()), "after\n");
    let mut tail = yard.stream("job_1", "/logs?follow=true&tail=1");
    let mut text = String::new();
    tail.read_to_string(&mut text).expect("the whole stream");
    assert_eq!(told(&text), "after\n");
}

/// The text that a followed log told.
fn told(stream: &str) -> String {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let parts = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
    parts.map(|part| part["text"].as_str().expect("`text`").to_owned()).collect()
}

#[test]
fn a_log_is_kept_after_its_machine_is_gone() {
    let yard = Yard::new();
    yard.run("job_1", &sh("echo kept; while :; do sleep 0.2; done"));
    yard.await_log("job_1", "kept");
    yard.poke("job_1", "/cancel").ok(200);
    assert!(yard.server.agents().is_empty());
    assert!(yard.log("job_1").starts_with("kept\n"));
    // And while it waits for a line to be whole, what is there is shown.
    let go = yard.file("go");
    let mut spec = gated(&go);
    let script = format!("printf half; until [ -e '{go}' ]; do sleep 0.05; done; echo ' and half'");
    spec["trainer"]["command"][2] = json!(script);
    yard.run("job_2", &spec);
    std::fs::write(&go, "").expect("the gate opens");
    yard.await_state("job_2", "completed");
    assert_eq!(yard.log("job_2"), "half and half\n");
}
