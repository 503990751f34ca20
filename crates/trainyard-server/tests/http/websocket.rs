//! The WebSocket, frame by frame.

use std::time::Duration;

use trainyard_domain::{AttemptNumber, EventBody, Progress};
use trainyard_storage::{Telemetry, TelemetryItem};

use crate::client::{Frame, WebSocket};
use crate::rig::{rig, rig_with};

const PATH: &str = "/ws/training/jobs/job_1";

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_followed_to_its_end() {
    let rig = rig().await;
    rig.running("job_1").await;
    let last = rig.events("job_1").await.len() as u64;
    let mut socket = WebSocket::open(&rig.address, PATH, "").await.unwrap();
    let connected = socket.json().await;
    assert_eq!((&connected["type"], &connected["seq"]), (&"connected".into(), &last.into()));
    let status = socket.json().await;
    assert_eq!((&status["type"], &status["seq"]), (&"status".into(), &last.into()));
    assert_eq!(status["data"]["state"], "running");
    rig.points("job_1", 1, &[0.5]).await;
    let metrics = socket.json().await;
    assert_eq!(metrics["data"]["loss"], 0.5);
    assert_eq!((&metrics["seq"], &metrics["attempt"]), (&(last + 1).into(), &1.into()));
    socket.send(1, b"ping").await;
    assert_eq!(socket.next().await, Frame::Text(r#"{"type":"pong"}"#.to_owned()));
    socket.send(9, b"abc").await;
    assert_eq!(socket.next().await, Frame::Pong(b"abc".to_vec()));
    rig.complete("job_1", None).await;
    let (texts, end) = socket.rest().await;
    assert_eq!(texts.last().unwrap()["data"]["state"], "completed");
    assert_eq!(end, Frame::Close(1000, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_goes_on_after_the_number_and_an_ended_job_is_told_whole() {
    let rig = rig().await;
    rig.running("job_1").await;
    rig.points("job_1", 1, &[3.0, 2.0, 1.0]).await;
    rig.complete("job_1", None).await;
    let last = rig.events("job_1").await.len() as u64;
    let numbers =
        |texts: &[serde_json::Value]| texts.iter().map(|t| t["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    let mut socket = WebSocket::open(&rig.address, &format!("{PATH}?after=2"), "").await.unwrap();
    let (texts, end) = socket.rest().await;
    assert_eq!(texts[0]["type"], "connected");
    assert_eq!(numbers(&texts[1..]), (3..=last).collect::<Vec<_>>());
    assert_eq!(end, Frame::Close(1000, String::new()));
    let mut socket = WebSocket::open(&rig.address, PATH, "").await.unwrap();
    let (texts, end) = socket.rest().await;
    assert_eq!(texts[1]["data"]["state"], "completed");
    assert_eq!(numbers(&texts[2..]), (1..=last).collect::<Vec<_>>());
    assert_eq!(end, Frame::Close(1000, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_refused_before_the_upgrade() {
    let rig = rig().await;
    let refused = WebSocket::open(&rig.address, PATH, "").await.err().unwrap();
    assert_eq!(refused.refused(404, "job_not_found")["job_id"], "job_1");
    rig.create("job_1").await;
    rig.call("GET", PATH, "").await.refused(426, "not_a_websocket");
    let refused = WebSocket::open(&rig.address, &format!("{PATH}?after=x"), "").await.err().unwrap();
    refused.refused(400, "invalid_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_texts_come_in_several_frames_and_logs_only_where_asked_for() {
    let rig = rig_with(|config| config.streams.frame_bytes_max = 1000).await;
    rig.running("job_1").await;
    let id: trainyard_domain::JobId = "job_1".parse().unwrap();
    let text = "ä".repeat(5000);
    rig.logs.write_at(&id, 0, text.clone().into()).await.unwrap();
    let span = trainyard_domain::LogSpan { offset: 0, len: text.len() as u32 };
    let bodies =
        [EventBody::Log(span), EventBody::Progress(Progress { fraction: Some(0.5), ..Progress::default() })];
    let items = bodies.map(|body| TelemetryItem { at: rig.orchestrator.now(), body }).to_vec();
    rig.storage
        .append(Telemetry { job_id: id, attempt: AttemptNumber::FIRST, after: 0, cursor: 2, items })
        .await
        .unwrap();
    let mut with = WebSocket::open(&rig.address, &format!("{PATH}?after=1&log=true"), "").await.unwrap();
    let mut without = WebSocket::open(&rig.address, &format!("{PATH}?after=1"), "").await.unwrap();
    assert_eq!(with.json().await["type"], "connected");
    assert_eq!(with.json().await["data"]["text"], text);
    assert_eq!(with.json().await["type"], "progress");
    assert_eq!(without.json().await["type"], "connected");
    assert_eq!(without.json().await["seq"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_dropped_and_a_rude_one_is_told() {
    let rig = rig_with(|config| {
        config.streams.ping_every = Duration::from_millis(100);
        config.streams.silence_max = Duration::from_millis(500);
    })
    .await;
    rig.running("job_1").await;
    let mut silent = WebSocket::open(&rig.address, PATH, "").await.unwrap();
    let (texts, end) = silent.rest().await;
    assert_eq!(texts.len(), 2);
    assert_eq!(end, Frame::Gone);
    let mut rude = WebSocket::open(&rig.address, PATH, "").await.unwrap();
    rude.raw(&[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!(rude.rest().await.1, Frame::Close(1009, String::new()));
    let mut unmasked = WebSocket::open(&rig.address, PATH, "").await.unwrap();
    unmasked.raw(&[0x81, 0x01, b'x']).await;
    assert_eq!(unmasked.rest().await.1, Frame::Close(1002, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_get_every_event_in_order() {
    const READERS: usize = 100;
    const POINTS: u64 = 50;
    let rig = rig().await;
    rig.running("job_1").await;
    let mut sockets = Vec::new();
    for _ in 0..READERS {
        let mut socket = WebSocket::open(&rig.address, PATH, "").await.unwrap();
        socket.json().await;
        socket.json().await;
        sockets.push(socket);
    }
    let first = rig.events("job_1").await.len() as u64 + 1;
    for step in 1..=POINTS {
        rig.points("job_1", step, &[1.0]).await;
    }
    let readings = sockets.into_iter().map(|mut socket| async move {
        for seq in first..first + POINTS {
            assert_eq!(socket.json().await["seq"], seq);
        }
    });
    futures_util::future::join_all(readings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_closed_with_its_last_number_and_holds_back_nobody() {
    // Far more than the kernel holds for a connection.
    const EVENTS: usize = 1000;
    const TEXT_BYTES: usize = 60_000;
    let rig = rig_with(|config| config.streams.send_max = Duration::from_millis(300)).await;
    rig.running("job_1").await;
    let id: trainyard_domain::JobId = "job_1".parse().unwrap();
    rig.logs.write_at(&id, 0, vec![b'x'; TEXT_BYTES].into()).await.unwrap();
    let body = EventBody::Log(trainyard_domain::LogSpan { offset: 0, len: TEXT_BYTES as u32 });
    let item = TelemetryItem { at: rig.orchestrator.now(), body };
    let telemetry = Telemetry {
        job_id: id,
        attempt: AttemptNumber::FIRST,
        after: 0,
        cursor: 1,
        items: vec![item; EVENTS],
    };
    rig.storage.append(telemetry).await.unwrap();
    let last = rig.events("job_1").await.len() as u64;
    let path = format!("{PATH}?after=0&log=true");
    let mut slow = WebSocket::open(&rig.address, &path, "").await.unwrap();
    let mut fast = WebSocket::open(&rig.address, &path, "").await.unwrap();
    fast.json().await;
    for seq in 1..=last {
        assert_eq!(fast.json().await["seq"], seq);
    }
    let (texts, end) = slow.rest().await;
    let got = texts.last().unwrap()["seq"].as_u64().unwrap();
    assert!(got < last, "it got everything");
    assert_eq!(end, Frame::Close(1013, got.to_string()));
    let mut back = WebSocket::open(&rig.address, &format!("{PATH}?after={got}&log=true"), "").await.unwrap();
    back.json().await;
    assert_eq!(back.json().await["seq"], got + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_closed_before_its_first_event_is_told_its_own_number() {
    // One event that is far more than the kernel holds for a connection.
    const TEXT_BYTES: usize = 24 << 20;
    const SEND_MAX: Duration = Duration::from_millis(100);
    let rig = rig_with(|config| config.streams.send_max = SEND_MAX).await;
    rig.running("job_1").await;
    let after = rig.events("job_1").await.len() as u64;
    let id: trainyard_domain::JobId = "job_1".parse().unwrap();
    rig.logs.write_at(&id, 0, vec![b'x'; TEXT_BYTES].into()).await.unwrap();
    let body = EventBody::Log(trainyard_domain::LogSpan { offset: 0, len: TEXT_BYTES as u32 });
    let items = vec![TelemetryItem { at: rig.orchestrator.now(), body }];
    rig.storage
        .append(Telemetry { job_id: id, attempt: AttemptNumber::FIRST, after: 0, cursor: 1, items })
        .await
        .unwrap();
    let path = format!("{PATH}?after={after}&log=true");
    let mut slow = WebSocket::open(&rig.address, &path, "").await.unwrap();
    assert_eq!(slow.json().await["seq"], after + 1);
    slow.begun().await;
    // waits: for the server's patience to end; nothing tells that it has
    tokio::time::sleep(SEND_MAX * 10).await;
    let (texts, end) = slow.rest().await;
    assert!(texts.is_empty(), "it got the event");
    assert_eq!(end, Frame::Close(1013, after.to_string()));
}
