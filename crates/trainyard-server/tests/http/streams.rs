//! Server-sent events and followed logs.

use trainyard_domain::{AttemptNumber, EventBody, LogSpan};
use trainyard_storage::{Telemetry, TelemetryItem};

use crate::rig::{Rig, rig};

async fn log(rig: &Rig, offset: u64, text: &'static str, cursor: u64) {
    let id = "job_1".parse().unwrap();
    rig.logs.write_at(&id, offset, text.as_bytes().into()).await.unwrap();
    let span = LogSpan { offset, len: text.len() as u32 };
    let item = TelemetryItem { at: rig.orchestrator.now(), body: EventBody::Log(span) };
    let telemetry =
        Telemetry { job_id: id, attempt: AttemptNumber::FIRST, after: cursor - 1, cursor, items: vec![item] };
    rig.storage.append(telemetry).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_as_pages_and_as_a_stream_that_ends() {
    let rig = rig().await;
    rig.running("job_1").await;
    rig.points("job_1", 1, &[1.0, 0.5]).await;
    log(&rig, 0, "line 1\n", 10).await;
    rig.complete("job_1", None).await;
    let stored = rig.events("job_1").await.len() as u64;
    let page = rig.call("GET", "/api/training/jobs/job_1/events?limit=2", "").await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["more"]), (2, &true.into()));
    assert_eq!(page["last_seq"], stored);
    let path = format!("/api/training/jobs/job_1/events?log=true&after={}", page["next_after"]);
    let rest = rig.call("GET", &path, "").await.json();
    let events = rest["events"].as_array().unwrap();
    assert_eq!(events.len() as u64, stored - 2);
    assert!(
        events.iter().any(|event| event["type"] == "log" && event["data"]["text"] == "line 1\n"),
        "{rest}"
    );

    let sse = "Accept: text/event-stream\r\n";
    let stream = rig.send("GET", "/api/training/jobs/job_1/events", sse, b"").await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    assert!(stream.text().contains("event: metrics\ndata: {\"type\":\"metrics\""), "{}", stream.text());
    assert!(!stream.text().contains("event: log"), "{}", stream.text());
    assert!(stream.text().contains(&format!("id: {stored}\nevent: status\n")), "{}", stream.text());
    let back = rig
        .send("GET", "/api/training/jobs/job_1/events", &format!("{sse}Last-Event-ID: {stored}\r\n"), b"")
        .await;
    assert_eq!(back.status, 204);
    let back =
        rig.send("GET", "/api/training/jobs/job_1/events", &format!("{sse}Last-Event-ID: 1\r\n"), b"").await;
    assert!(!back.text().contains("id: 1\n") && back.text().contains("id: 2\n"), "{}", back.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_in_parts_and_followed_to_its_end() {
    let rig = rig().await;
    rig.running("job_1").await;
    log(&rig, 0, "line 1\nline 2\n", 1).await;
    let part = rig.call("GET", "/api/training/jobs/job_1/logs?after=7", "").await.json();
    assert_eq!((&part["text"], &part["next_offset"]), (&"line 2\n".into(), &14.into()));
    let tail = rig.call("GET", "/api/training/jobs/job_1/logs?tail=1", "").await.json();
    assert_eq!((&tail["text"], &tail["complete"]), (&"line 2\n".into(), &false.into()));
    let plain = rig.send("GET", "/api/training/jobs/job_1/logs", "Accept: text/plain\r\n", b"").await;
    assert_eq!(plain.text(), "line 1\nline 2\n");
    rig.call("GET", "/api/training/jobs/job_1/logs?tail=1&after=1", "")
        .await
        .refused(400, "invalid_parameter");
    let follow = rig.call("GET", "/api/training/jobs/job_1/logs?follow=true", "");
    let more = async {
        log(&rig, 14, "line 3\n", 2).await;
        rig.complete("job_1", None).await;
    };
    let (followed, ()) = tokio::join!(follow, more);
    let text = followed.text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let joined: String = lines.iter().map(|part| part["text"].as_str().unwrap()).collect();
    assert_eq!(joined, "line 1\nline 2\nline 3\n", "{text}");
    assert!(text.contains("event: end\n"), "{text}");
}
