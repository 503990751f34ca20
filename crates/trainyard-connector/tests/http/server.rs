//! A server that answers byte by byte as it is told, and writes down what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, one at a time, that far apart.
    Drip(Vec<u8>, Duration),
    /// These bytes, and then nothing more on an open connection.
    Stall(Vec<u8>),
}

/// A complete answer with that status, headers (`name: value\r\n` each) and body.
pub(crate) fn full(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Word\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Bytes(full(status, headers, body))
}

/// Answers the first request with the first reply and so on; the last one holds for all further ones.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn new(replies: Vec<Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v2", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, replies.clone(), seen.clone()));
            }
        });
        Server { url, asked }
    }

    /// The requests so far, head and body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the list").clone()
    }
}

async fn serve(mut stream: TcpStream, replies: Vec<Reply>, asked: Arc<Mutex<Vec<String>>>) {
    let Some(request) = request(&mut stream).await else { return };
    let turn = {
        let mut asked = asked.lock().expect("the list");
        asked.push(request);
        asked.len() - 1
    };
    // Whoever asked may be gone already.
    match replies.get(turn).or(replies.last()).expect("a reply") {
        Reply::Bytes(bytes) => drop(stream.write_all(bytes).await),
        Reply::Stall(bytes) => {
            let _ = stream.write_all(bytes).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Reply::Drip(bytes, every) => {
            for byte in bytes {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                // waits: the slowness is the point
                tokio::time::sleep(*every).await;
            }
        }
    }
    let _ = stream.shutdown().await;
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8(bytes).expect("text"));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
