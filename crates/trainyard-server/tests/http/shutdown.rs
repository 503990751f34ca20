//! Going down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Frame, WebSocket, read_head};
use crate::rig::rig;

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_and_the_server_ends() {
    let mut rig = rig().await;
    rig.running("job_1").await;
    let mut socket = WebSocket::open(&rig.address, "/ws/training/jobs/job_1", "").await.unwrap();
    socket.json().await;
    socket.json().await;
    let head = format!(
        "GET /api/training/jobs/job_1/events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        rig.address
    );
    let mut events = TcpStream::connect(&rig.address).await.unwrap();
    events.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut events).await.starts_with("HTTP/1.1 200"));
    rig.stop.take().unwrap().send(()).unwrap();
    assert_eq!(socket.rest().await.1, Frame::Close(1001, "the server is shutting down".to_owned()));
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), events.read_to_end(&mut rest)).await;
    ended.expect("the stream ends").unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut rig.served).await;
    ended.expect("the server ends").unwrap().unwrap();
}
