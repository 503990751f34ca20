//! `GET …/events` and `…/notifications`: the numbered history, as pages and as a stream.

use std::io::Read;

use serde_json::{Value, json};

use crate::yard::{JOBS, Yard, endless, gated, keys, list, moment, quick, sh};

#[test]
fn the_history_is_numbered_without_gaps() {
    let yard = Yard::new();
    let point = "echo '{\"step\":1,\"loss\":0.5}' >> \"$TRAINYARD_METRICS_FILE\"";
    yard.complete("job_1", &sh(&format!("{point}; echo hello; printf x > \"$TRAINYARD_OUTPUT_DIR/x\"")));
    yard.await_released("job_1");
    let page = yard.get("job_1", "/events?log=true&limit=1000").ok(200);
    assert_eq!(keys(&page), ["events", "job_id", "last_seq", "more", "next_after", "oldest_seq"]);
    let events = list(&page["events"]);
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<u64>>());
    assert_eq!(page["last_seq"], events.len());
    assert_eq!(yard.status("job_1")["seq"], events.len());
    for event in events {
        assert_eq!(keys(event), ["attempt", "data", "seq", "ts", "type"]);
        moment(&event["ts"]);
        let kind = event["type"].as_str().expect("`type`");
        assert!(["status", "metrics", "notification", "progress", "log"].contains(&kind), "{event}");
    }
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    let with_loss: Vec<_> =
        of("metrics").into_iter().filter(|event| !event["data"]["loss"].is_null()).collect();
    assert_eq!(with_loss.len(), 1);
    assert_eq!((&with_loss[0]["data"]["step"], &with_loss[0]["attempt"]), (&json!(1), &json!(1)));
    let log: String = of("log").iter().filter_map(|event| event["data"]["text"].as_str()).collect();
    assert_eq!(log, "hello\n");
    for status in of("status") {
        assert!(
            keys(&status["data"]).contains(&"phase") && keys(&status["data"]).contains(&"reason"),
            "{status}"
        );
    }

    // Page by page is the same.
    let mut all = Vec::new();
    let mut after = json!(0);
    loop {
        let page = yard.get("job_1", &format!("/events?log=true&limit=2&after={after}")).ok(200);
        all.extend(list(&page["events"]).iter().cloned());
        after = page["next_after"].clone();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(&all, events);
    let without = yard.get("job_1", "/events?limit=1000").ok(200);
    assert!(
        list(&without["events"]).iter().all(|event| event["type"] != "log"),
        "the log only where asked for"
    );
    for wrong in ["after=x", "limit=0", "limit=1001", "log=1"] {
        yard.get("job_1", &format!("/events?{wrong}")).error(400, "invalid_parameter");
    }
    yard.get("nobody", "/events").error(404, "job_not_found");
}

/// The ids and the data of a stream's events.
fn parsed(text: &str) -> Vec<(u64, Value)> {
    let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
    let parse = |block: &str| {
        let line =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).expect("a field").to_owned();
        let data: Value = serde_json::from_str(&line("data: ")).expect("JSON");
        assert_eq!(line("event: "), data["type"].as_str().expect("`type`"));
        (line("id: ").parse().expect("a number"), data)
    };
    blocks.map(parse).collect()
}

#[test]
fn a_stream_goes_on_where_it_broke_off_and_ends_with_the_job() {
    let yard = Yard::new();
    let go = yard.file("go");
    yard.run("job_1", &gated(&go));
    let mut stream = yard.stream("job_1", "/events?log=true");
    assert!(
        stream
            .headers
            .iter()
            .any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"))
    );
    std::fs::write(&go, "").expect("the gate opens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the whole stream");
    let events = parsed(&text);
    assert_eq!(
        events.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        (1..=events.len() as u64).collect::<Vec<_>>()
    );
    assert!(events.iter().all(|(id, data)| data["seq"] == *id));
    assert_eq!(events.iter().map(|(_, data)| data.clone()).collect::<Vec<_>>(), yard.events("job_1"));

    let again = |last: &str| {
        let call = yard.http.call("GET", &format!("{JOBS}/job_1/events?log=true"));
        call.header("Accept", "text/event-stream").header("Last-Event-ID", last).send()
    };
    let middle = events.len() / 2;
    assert_eq!(parsed(&again(&middle.to_string()).text()), events[middle..]);
    let last = again(&events.len().to_string());
    assert_eq!((last.status, last.body.len()), (204, 0), "nothing more will come");
    again("x").error(400, "invalid_last_event_id");
}

#[test]
fn milestones_are_told_once_each() {
    let yard = Yard::new();
    yard.complete("good", &sh("true"));
    yard.await_released("good");
    let answer = yard.get("good", "/notifications").ok(200);
    assert_eq!(keys(&answer), ["job_id", "notifications"]);
    let told = list(&answer["notifications"]);
    for one in told {
        assert_eq!(keys(one), ["attempt", "kind", "message", "seq", "title", "ts"]);
        assert!(
            ["title", "message"].iter().all(|name| one[*name].as_str().is_some_and(|text| !text.is_empty()))
        );
    }
    let kinds = |told: &[Value]| -> Vec<String> {
        told.iter().map(|one| one["kind"].as_str().expect("`kind`").to_owned()).collect()
    };
    assert_eq!(kinds(told), ["submitted", "running", "completed", "machine_released"]);
    let completed = told.iter().find(|one| one["kind"] == "completed").expect("it completed");
    assert_eq!(completed["title"], "Training Complete!");
    assert!(
        completed["message"]
            .as_str()
            .is_some_and(|text| { text.starts_with("Your model training has finished successfully.") })
    );

    yard.create("bad", &sh("exit 3"));
    yard.submit("bad");
    yard.await_state("bad", "failed");
    yard.run("cancelled", &endless());
    yard.poke("cancelled", "/cancel").ok(200);
    for (id, kind) in [("bad", "failed"), ("cancelled", "cancelled")] {
        let answer = yard.get(id, "/notifications").ok(200);
        let found: Vec<&Value> =
            list(&answer["notifications"]).iter().filter(|one| one["kind"] == kind).collect();
        assert_eq!(found.len(), 1, "{id}: {answer}");
        let message = found[0]["message"].as_str().expect("`message`");
        assert!(id != "bad" || message.contains("log"), "a failure says what to do: {message}");
    }
    yard.get("nobody", "/notifications").error(404, "job_not_found");
    yard.create("new", &quick());
    assert_eq!(yard.get("new", "/notifications").ok(200)["notifications"], json!([]));
}

#[test]
fn a_quarter_a_half_and_three_quarters_are_milestones() {
    let yard = Yard::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do echo \"{\\\"step\\\":$i,\\\"total_steps\\\":8,\\\"loss\\\":0.5}\"; \
                  sleep 0.3; done >> \"$TRAINYARD_METRICS_FILE\"";
    yard.complete("job_1", &sh(script));
    let answer = yard.get("job_1", "/notifications").ok(200);
    let told = list(&answer["notifications"]);
    let kinds: Vec<&str> = told.iter().filter_map(|one| one["kind"].as_str()).collect();
    let milestones: Vec<&str> = kinds.iter().copied().filter(|kind| kind.starts_with("progress")).collect();
    assert_eq!(milestones, ["progress25", "progress50", "progress75"], "{kinds:?}");
    let half = told.iter().find(|one| one["kind"] == "progress50").expect("told");
    assert!(half["message"].as_str().is_some_and(|text| text.contains("50 %")), "{half}");
}
