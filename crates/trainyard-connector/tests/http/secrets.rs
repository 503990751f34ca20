//! The key goes to the vendor and nowhere else.

use std::error::Error;
use std::time::Duration;

use trainyard_connector::ErrorKind;
use trainyard_connector::http::{Auth, HttpClient, HttpConfig};

use super::server::{Reply, Server, answer};
use super::*;

const KEY: &str = "key-that-nobody-may-see";

/// Everything that may be printed of an error.
fn printed(error: &ConnectorError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(&format!(" {error} {error:?}"));
        below = error.source();
    }
    text
}

#[tokio::test]
async fn the_key_is_shown_to_the_vendor_in_the_form_it_wants() {
    let forms = [
        (Auth::Bearer as fn(SecretString) -> Auth, Some("authorization: Bearer secret_a_1.b")),
        (Auth::BasicUser, Some("authorization: Basic c2VjcmV0X2FfMS5iOg==")),
        (|_| Auth::None, None),
    ];
    for (form, header) in forms {
        let server = Server::new(vec![answer(200, "", "{}")]).await;
        let auth = form(SecretString::from("secret_a_1.b"));
        let client = HttpClient::new(HttpConfig { auth, ..config(&server.url) }).expect("a client");
        client.call(order()).await.expect("an answer");
        let asked = server.asked().concat();
        let line = asked.lines().find(|line| line.to_lowercase().starts_with("authorization"));
        assert_eq!(line, header);
        assert!(asked.contains(concat!("user-agent: trainyard/", env!("CARGO_PKG_VERSION"))), "{asked}");
        assert!(
            asked.ends_with(r#"{"name":"one"}"#) && asked.contains("content-type: application/json"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn neither_key_nor_url_nor_body_is_printed() {
    let replies = vec![Reply::Bytes(Vec::new()), answer(200, "", "no JSON: quiet-answer")];
    let server = Server::new(replies).await;
    let client = client(&server);
    let secret = || Call {
        query: vec![("token", "quiet-query".to_owned())],
        body: Some(json!({"env": "quiet-body"})),
        ..order()
    };
    let broken = failed(client.call(secret()).await);
    let answer = client.call(secret()).await.expect("an answer");
    let unread = answer.json::<u32>().expect_err("no number");
    let refused = HttpClient::new(config("http://127.0.0.1:1")).expect("a client");
    let unsent = failed(refused.call(secret()).await);
    let slow = Server::new(vec![Reply::Stall(Vec::new())]).await;
    let late = failed(hasty(&slow, Duration::from_millis(100)).call(secret()).await);
    let elsewhere = failed(client.get_elsewhere("http://127.0.0.1:1/x?signature=quiet-query").await);
    let bad_key = Auth::Bearer(SecretString::from(format!("{KEY}\n")));
    let bad = HttpClient::new(HttpConfig { auth: bad_key, ..config(&server.url) }).expect_err("no such key");
    assert_eq!(bad.kind, ErrorKind::Invalid);

    let mut text = [broken, unread, unsent, late, elsewhere, bad].iter().map(printed).collect::<String>();
    text.push_str(&format!("{:?} {client:?} {answer:?} {:?}", config(&server.url), secret()));
    for secret in [KEY, "quiet-query", "quiet-body", "quiet-answer", "token"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[tokio::test]
async fn what_the_vendor_points_to_does_not_see_the_key() {
    let (vendor, store) =
        (Server::new(vec![answer(200, "", "{}")]).await, Server::new(vec![answer(200, "", "log")]).await);
    let client = client(&vendor);
    let url = format!("{}/result?signature=1", store.url);
    assert_eq!(client.get_elsewhere(&url).await.expect("an answer").body, "log");
    let asked = store.asked().concat().to_lowercase();
    assert!(asked.starts_with("get /v2/result?signature=1 ") && !asked.contains("authorization"), "{asked}");
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "nonsense", ""] {
        assert_eq!(failed(client.get_elsewhere(url).await).kind, ErrorKind::Invalid, "{url}");
    }
}

#[test]
fn an_address_that_is_none_is_refused_with_the_client() {
    for url in ["", "cloud", "ftp://127.0.0.1", "http://user:pass@127.0.0.1/", "http://127.0.0.1/?key=1"] {
        let error = HttpClient::new(config(url)).expect_err("no base URL");
        assert_eq!(error.kind, ErrorKind::Invalid, "{url}");
        assert!(!printed(&error).contains("pass@"));
    }
}
