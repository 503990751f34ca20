//! Nothing takes longer, grows larger or goes faster than it may, and nothing leads elsewhere.

use std::time::{Duration, Instant};

use trainyard_connector::http::{HttpClient, HttpConfig, Pace};
use trainyard_connector::{Effect, ErrorKind};

use super::server::{Reply, Server, answer, full};
use super::*;

#[tokio::test]
async fn an_answer_that_drips_ends_with_the_time_it_has() {
    for bytes in [full(200, "", &"x".repeat(500)), b"HTTP/1.1 200 OK\r\nx: ".repeat(50)] {
        let server = Server::new(vec![Reply::Drip(bytes, Duration::from_millis(20))]).await;
        let begun = Instant::now();
        let error = failed(hasty(&server, Duration::from_millis(400)).call(order()).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::Unknown));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_call_may_have_a_time_of_its_own() {
    let server = Server::new(vec![Reply::Stall(Vec::new())]).await;
    let begun = Instant::now();
    let call = Call { within: Some(Duration::from_millis(200)), ..list() };
    failed(client(&server).call(call).await);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused_however_it_comes() {
    let long = "x".repeat(4000);
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfa0\r\n{long}\r\n0\r\n\r\n");
    let open = format!("HTTP/1.1 200 OK\r\n\r\n{long}");
    let replies = [full(200, "", &long), chunked.into_bytes(), open.into_bytes()];
    for reply in replies {
        let server = Server::new(vec![Reply::Bytes(reply)]).await;
        let limit = |answer_bytes_max| {
            HttpClient::new(HttpConfig { answer_bytes_max, ..config(&server.url) }).expect("a client")
        };
        let error = failed(limit(3999).call(order()).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::Unknown));
        failed(limit(3999).call(list()).await);
        assert_eq!(server.asked().len(), 2, "it would be as long again");
        assert_eq!(limit(4000).call(list()).await.expect("an answer").body.len(), 4000);
    }
}

#[tokio::test]
async fn clients_with_one_key_share_their_pace() {
    let server = Server::new(vec![answer(200, "", "{}")]).await;
    let paced = || {
        let paces = vec![Pace { op: "list", every: Duration::from_millis(150), burst: 2 }];
        HttpClient::new(HttpConfig { paces, ..config(&server.url) }).expect("a client")
    };
    let (one, other) = (paced(), paced());
    let begun = Instant::now();
    for client in [&one, &other, &one, &other, &one] {
        client.call(list()).await.expect("an answer");
    }
    // Two at once, three more at the pace.
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn a_turn_that_comes_too_late_is_refused_and_nothing_is_sent() {
    let server = Server::new(vec![answer(200, "", "{}")]).await;
    let paces = vec![Pace { op: "*", every: Duration::from_secs(100), burst: 1 }];
    let client = HttpClient::new(HttpConfig { paces, ..config(&server.url) }).expect("a client");
    client.call(list()).await.expect("an answer");
    let error = failed(client.call(order()).await);
    assert_eq!((error.kind, error.effect), (ErrorKind::RateLimited, Effect::None), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let server = Server::new(vec![answer(302, "location: http://127.0.0.1:9/\r\n", "")]).await;
    assert_eq!(client(&server).call(list()).await.expect("an answer").status, 302);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_path_stays_below_the_base_url() {
    let server = Server::new(vec![answer(200, "", "{}")]).await;
    let client = client(&server);
    for path in [
        "pods",
        "",
        "/pods/../keys",
        "/pods/%2e%2e/keys",
        "/pods/a b",
        "/pods?x=1",
        "/pods#x",
        "@evil/",
        "/é",
    ] {
        let error = failed(client.call(Call::get("look", path)).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Invalid, Effect::None), "{path}");
    }
    assert!(server.asked().is_empty());
    let query = vec![("q", r#"{"a": "b&c"}"#.to_owned())];
    client.call(Call { query, ..Call::get("look", "/pods/a%20b%2Fc/") }).await.expect("an answer");
    let asked = server.asked();
    assert!(
        asked[0].starts_with("GET /v2/pods/a%20b%2Fc/?q=%7B%22a%22%3A+%22b%26c%22%7D HTTP/1.1\r\n"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_endless_stream_is_read_until_it_falls_silent() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let stream = |text: &str| Reply::Stall(format!("{head}{text}").into_bytes());
    let server = Server::new(vec![stream("data: one\n\ndata: two\n\n")]).await;
    let (silence, at_most) = (Duration::from_millis(200), Duration::from_secs(10));
    let answer = client(&server).read_until_silent(list(), silence, at_most).await.expect("an answer");
    assert_eq!(answer.body, "data: one\n\ndata: two\n\n");
    assert!(server.asked()[0].contains("accept: text/event-stream\r\n"));

    let server = Server::new(vec![Reply::Drip(
        format!("{head}{}", "x".repeat(900)).into(),
        Duration::from_millis(10),
    )])
    .await;
    let begun = Instant::now();
    let at_most = Duration::from_millis(1500);
    let answer = client(&server).read_until_silent(list(), silence, at_most).await.expect("what came");
    assert!(!answer.body.is_empty() && answer.body.len() < 900, "{}", answer.body.len());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    let server = Server::new(vec![stream(&"y".repeat(5000))]).await;
    let client =
        HttpClient::new(HttpConfig { answer_bytes_max: 1000, ..config(&server.url) }).expect("a client");
    let answer = client.read_until_silent(list(), silence, Duration::from_secs(5)).await.expect("what came");
    assert_eq!(answer.body.len(), 1000);

    let server = Server::new(vec![Reply::Stall(Vec::new())]).await;
    let at_most = Duration::from_millis(300);
    let answer = super::client(&server).read_until_silent(list(), silence, at_most).await;
    let answer = answer.expect("a stream that has not begun is an empty one");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[tokio::test]
async fn a_dropped_call_leaves_the_client_as_it_was() {
    let server = Server::new(vec![Reply::Stall(Vec::new()), answer(200, "", "{}")]).await;
    let client = client(&server);
    let dropped = tokio::time::timeout(Duration::from_millis(200), client.call(list())).await;
    dropped.expect_err("it was dropped while it waited");
    assert_eq!(client.call(list()).await.expect("an answer").status, 200);
}
