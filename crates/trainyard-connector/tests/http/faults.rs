//! What breaks on the way: whether it may have happened is told truthfully, and an order goes out once.

use std::time::{Duration, Instant};

use trainyard_connector::http::{HttpClient, HttpConfig};
use trainyard_connector::{Effect, ErrorKind};

use super::server::{Reply, Server, answer, full};
use super::*;

const QUICKLY: Duration = Duration::from_millis(200);
const FINE: &str = r#"{"pods": [{"id": "one"}]}"#;

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[tokio::test]
async fn a_refused_connection_had_no_effect() {
    let client = HttpClient::new(config(&nobody().await)).expect("a client");
    for call in [order(), list(), remove()] {
        let error = failed(client.call(call).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_host_had_no_effect() {
    let client = HttpClient::new(config("http://no-such-host.invalid")).expect("a client");
    let error = failed(client.call(order()).await);
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None), "{error}");
}

#[tokio::test]
async fn an_order_without_an_answer_may_have_happened_and_goes_out_once() {
    for reply in [Reply::Stall(Vec::new()), Reply::Stall(full(200, "", FINE)[..30].to_vec())] {
        let server = Server::new(vec![reply]).await;
        let error = failed(hasty(&server, QUICKLY).call(order()).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::Unknown));
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_reading_has_no_effect_whatever_happens_to_it() {
    let server = Server::new(vec![Reply::Stall(Vec::new())]).await;
    let error = failed(hasty(&server, QUICKLY).call(list()).await);
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None));
    let error = failed(hasty(&server, QUICKLY).call(remove()).await);
    assert_eq!(error.effect, Effect::Unknown);
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_no_success() {
    let whole = full(200, "", FINE);
    // After every broken answer a good one, so that the operation is not left alone.
    let replies = (0..whole.len()).flat_map(|k| [Reply::Bytes(whole[..k].to_vec()), answer(200, "", FINE)]);
    let server = Server::new(replies.collect()).await;
    let client = client(&server);
    for k in 0..whole.len() {
        let error = failed(client.call(order()).await);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::Unknown), "cut at {k}");
        let good = client.call(order()).await.expect("a whole answer");
        assert_eq!(good.body, FINE);
    }
    assert_eq!(server.asked().len(), 2 * whole.len());
}

#[tokio::test]
async fn a_reading_is_repeated_after_a_cut_answer() {
    let whole = full(200, "", FINE);
    let replies = [0, 20, whole.len() - 1].map(|k| Reply::Bytes(whole[..k].to_vec()));
    let server = Server::new(replies.into_iter().chain([answer(200, "", FINE)]).collect()).await;
    assert_eq!(client(&server).call(list()).await.expect("an answer").body, FINE);
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_500_after_the_effect_is_not_followed_by_another_order() {
    for status in [408, 500, 502, 503, 504, 520] {
        let server = Server::new(vec![answer(status, "", "<html>bad</html>")]).await;
        assert_eq!(client(&server).call(order()).await.expect("an answer").status, status);
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_after_a_500() {
    let server = Server::new(vec![answer(500, "", ""), answer(503, "", ""), answer(204, "", "")]).await;
    assert_eq!(client(&server).call(remove()).await.expect("an answer").status, 204);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    for status in [400, 401, 402, 403, 404, 409, 422] {
        let server = Server::new(vec![answer(status, "", "{}")]).await;
        assert_eq!(client(&server).call(list()).await.expect("an answer").status, status);
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_429_is_waited_out_as_long_as_it_asks() {
    for header in [
        "retry-after: 1\r\n",
        "date: Mon, 23 Nov 2026 18:00:00 GMT\r\nretry-after: Mon, 23 Nov 2026 18:00:01 GMT\r\n",
    ] {
        let server = Server::new(vec![answer(429, header, "slow down"), answer(200, "", FINE)]).await;
        let begun = Instant::now();
        assert_eq!(client(&server).call(list()).await.expect("an answer").status, 200);
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_429_without_a_time_is_waited_out_for_a_second_or_more() {
    let server = Server::new(vec![answer(429, "", ""), answer(200, "", FINE)]).await;
    let begun = Instant::now();
    assert_eq!(client(&server).call(list()).await.expect("an answer").status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_429_that_asks_for_more_than_a_minute_is_told_at_once() {
    let server = Server::new(vec![answer(429, "retry-after: 3600\r\n", "")]).await;
    assert_eq!(client(&server).call(list()).await.expect("an answer").status, 429);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_order_goes_out_again_after_a_429_only_where_that_proves_it_was_not_done() {
    let replies = vec![answer(429, "retry-after: 0\r\n", ""), answer(201, "", FINE)];
    let server = Server::new(replies.clone()).await;
    assert_eq!(client(&server).call(order()).await.expect("an answer").status, 429);
    assert_eq!(server.asked().len(), 1);
    let server = Server::new(replies).await;
    let client = HttpClient::new(HttpConfig { too_many_is_refusal: true, ..config(&server.url) });
    assert_eq!(client.expect("a client").call(order()).await.expect("an answer").status, 201);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_success_that_is_no_json_leaves_open_whether_an_order_happened() {
    let bodies = ["<html>secret page</html>", "", "secret", r#"{"other": "secret"}"#, r#"{"pods": ["#];
    for body in bodies {
        let server = Server::new(vec![answer(200, "", body)]).await;
        let client = client(&server);
        for (call, effect) in [(order(), Effect::Unknown), (list(), Effect::None)] {
            let answer = client.call(call).await.expect("an answer");
            let error = answer.json::<Pods>().expect_err("no pods");
            assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, effect), "{body}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct Pods {
    #[expect(dead_code, reason = "only whether it can be read matters")]
    pods: Vec<serde_json::Value>,
}

#[tokio::test]
async fn an_operation_that_keeps_failing_is_left_alone_and_no_other() {
    let broken = Reply::Bytes(Vec::new());
    let server = Server::new(vec![broken; 5].into_iter().chain([answer(200, "", FINE)]).collect()).await;
    let client = client(&server);
    for _ in 0..5 {
        assert_eq!(failed(client.call(order()).await).effect, Effect::Unknown);
    }
    let error = failed(client.call(order()).await);
    assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::None));
    assert_eq!(server.asked().len(), 5, "nothing was sent: {error}");
    assert_eq!(client.call(list()).await.expect("an answer").status, 200);
}
