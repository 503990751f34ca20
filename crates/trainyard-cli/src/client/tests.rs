//! The client against a server that breaks off, comes back, and lies.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A server that gives one prepared answer per connection, then closes it; at the end it tells what it was asked.
struct Scripted {
    api: Api,
    asked: JoinHandle<Vec<String>>,
}

impl Scripted {
    async fn start(answers: Vec<Vec<u8>>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                asked.push(read_request(&mut connection).await);
                connection.write_all(&answer).await.unwrap();
                connection.shutdown().await.unwrap();
            }
            asked
        });
        Scripted { api: Api::at(&url, None).unwrap(), asked }
    }

    async fn asked(self) -> Vec<String> {
        tokio::time::timeout(Duration::from_secs(10), self.asked)
            .await
            .expect("every answer is fetched")
            .unwrap()
    }
}

/// Head and body of a request.
async fn read_request(connection: &mut tokio::net::TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = connection.read(&mut buffer).await.unwrap();
        all.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if n == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    // More than is sent is promised where `headers` says so.
    let length = if headers.contains("content-length") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let mut all = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{length}{headers}\r\n").into_bytes();
    all.extend_from_slice(body);
    all
}

fn stream(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{body}")
        .into_bytes()
}

fn event(seq: u64, state: &str) -> String {
    format!(
        "id: {seq}\nevent: status\ndata: {{\"type\":\"status\",\"seq\":{seq},\"data\":{{\"state\":\"{state}\"}}}}\n\n"
    )
}

#[tokio::test]
async fn events_across_a_cut_connection_come_once_and_in_order() {
    let third = event(3, "running");
    let cut = format!("{}{}{}", event(1, "created"), event(2, "initializing"), &third[..third.len() / 2]);
    let rest = format!("{}{}{}", event(2, "initializing"), third, event(4, "completed"));
    let busy = answer("503 Service Unavailable", "", br#"{"error":"draining","code":"draining"}"#);
    let server = Scripted::start(vec![stream(&cut), busy, stream(&rest)]).await;
    let api = server.api.clone();
    let mut feed = EventFeed::after(&api, "j", 0, false);
    let mut seen = Vec::new();
    while let Some(event) = feed.next().await.unwrap() {
        seen.push(event.seq.unwrap());
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    let asked = server.asked().await;
    assert!(asked[2].contains("last-event-id: 2\r\n"), "{}", asked[2]);
}

#[tokio::test]
async fn events_that_are_no_longer_kept_are_skipped() {
    let gone = answer("410 Gone", "", br#"{"error":"gone","code":"gone","oldest_seq":40}"#);
    let server = Scripted::start(vec![gone, stream(&event(40, "completed"))]).await;
    let api = server.api.clone();
    let mut feed = EventFeed::after(&api, "j", 3, false);
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(40));
    assert!(feed.next().await.unwrap().is_none());
    assert!(server.asked().await[1].contains("after=39"));
}

#[tokio::test]
async fn a_job_that_is_not_there_ends_the_feed() {
    let server =
        Scripted::start(vec![answer("404 Not Found", "", br#"{"error":"no job","code":"job_not_found"}"#)])
            .await;
    let mut feed = EventFeed::after(&server.api, "j", 0, false);
    let failure = feed.next().await.unwrap_err();
    assert_eq!((failure.exit, failure.code.as_deref()), (Exit::NotFound, Some("job_not_found")));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let there = answer("200 OK", "upload-offset: 4\r\nupload-complete: ?0\r\n", b"");
    let done = answer("201 Created", "", br#"{"received":10,"complete":true}"#);
    let server = Scripted::start(vec![there, done]).await;
    let uploaded = upload(&server.api, file.path(), |_, _| {}).await.unwrap();
    assert_eq!((uploaded.bytes, uploaded.sent), (10, 6));
    let asked = server.asked().await;
    assert!(
        asked[1].contains("content-range: bytes 4-9/10\r\n") && asked[1].ends_with("456789"),
        "{}",
        asked[1]
    );
}

#[tokio::test]
async fn an_upload_beside_another_of_the_same_file_is_done_when_that_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let there = |offset, whole| {
        answer("200 OK", &format!("upload-offset: {offset}\r\nupload-complete: ?{whole}\r\n"), b"")
    };
    let busy = answer("409 Conflict", "", br#"{"error":"another upload is under way","code":"input_busy"}"#);
    let script = vec![there(0, 0), busy, there(10, 0), there(10, 1)];
    let server = Scripted::start(script).await;
    let uploaded = upload(&server.api, file.path(), |_, _| {}).await.unwrap();
    assert_eq!((uploaded.bytes, uploaded.sent), (10, 0));
}

fn artifact_of(bytes: &[u8]) -> (String, Vec<u8>) {
    let digest = hex::encode(Sha256::digest(bytes));
    let body = format!(
        r#"{{"path":"/a/j/x/y.bin","size_bytes":{0},"hash_sha256":"{digest}","files":[{{"path":"x/y.bin","size_bytes":{0},"hash_sha256":"{digest}"}}]}}"#,
        bytes.len()
    );
    (digest, answer("200 OK", "", body.as_bytes()))
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off_and_has_its_digest() {
    let (digest, told) = artifact_of(b"0123456789");
    let cut = answer("200 OK", "content-length: 10\r\n", b"0123");
    let rest = answer("206 Partial Content", "content-range: bytes 4-9/10\r\n", b"456789");
    let server = Scripted::start(vec![told, cut, rest]).await;
    let home = tempfile::tempdir().unwrap();
    let files = fetch_artifact(&server.api, "j", home.path(), |_, _, _| {}).await.unwrap();
    assert_eq!(std::fs::read(home.path().join("x/y.bin")).unwrap(), b"0123456789");
    assert_eq!((files[0].sha256.as_str(), files[0].main), (digest.as_str(), true));
    assert!(server.asked().await[2].contains("range: bytes=4-\r\n"));
}

#[tokio::test]
async fn a_file_with_another_digest_never_gets_its_name() {
    let (_, told) = artifact_of(b"0123456789");
    let lie = || answer("200 OK", "", b"0123456788");
    let server = Scripted::start(vec![told, lie(), lie(), lie(), lie(), lie()]).await;
    let home = tempfile::tempdir().unwrap();
    let failure = fetch_artifact(&server.api, "j", home.path(), |_, _, _| {}).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.to_string().contains("expected"), "{failure}");
    assert_eq!(std::fs::read_dir(home.path().join("x")).unwrap().count(), 0, "nothing is left of it");
    server.asked().await;
}
