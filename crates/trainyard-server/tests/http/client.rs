//! A client that sees the bytes: what is asserted here is what stands on the wire.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks that this is an error of that status and code, in the one form of errors.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}{}", self.head, self.text());
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert!(body["error"].is_string() && body["detail"].is_string(), "{body}");
        assert!(body.as_object().unwrap().contains_key("job_id"), "{body}");
        body
    }
}

/// Sends bytes and reads the whole answer; the request must ask for the connection to be closed.
pub(crate) async fn ask(address: &str, request: &[u8], is_head: bool) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before all is written.
    let _ = stream.write_all(request).await;
    read_answer(&mut stream, is_head).await
}

pub(crate) async fn read_answer(stream: &mut TcpStream, is_head: bool) -> Answer {
    let head = read_head(stream).await;
    let status = head[9..12].parse().unwrap();
    let mut answer = Answer { status, head, body: Vec::new() };
    if is_head || matches!(status, 101 | 204 | 304) {
        return answer;
    }
    let length: Option<usize> = answer.header("content-length").map(|length| length.parse().unwrap());
    let body = async {
        match length {
            Some(length) => {
                answer.body = vec![0; length];
                stream.read_exact(&mut answer.body).await.unwrap();
            }
            None => {
                let mut raw = Vec::new();
                let _ = stream.read_to_end(&mut raw).await;
                answer.body = unchunked(&raw);
            }
        }
    };
    timeout(PATIENCE, body).await.unwrap();
    answer
}

/// Reads up to the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    };
    timeout(PATIENCE, read).await.expect("an answer in time")
}

/// The data of a chunked body, as far as it came.
fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        raw = &raw[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[..size]);
        raw = &raw[size + 2..];
    }
    body
}

/// A WebSocket client that knows just enough.
pub(crate) struct WebSocket {
    stream: TcpStream,
    pub(crate) head: String,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    /// The connection ended without a close frame.
    Gone,
}

impl WebSocket {
    /// Asks for the upgrade; `Err` is the answer of a server that refuses.
    pub(crate) async fn open(address: &str, path: &str, more: &str) -> Result<WebSocket, Answer> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        if answer.status != 101 {
            return Err(answer);
        }
        Ok(WebSocket { stream, head: answer.head })
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        assert!(payload.len() < 126);
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        frame.extend(payload.iter().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Waits until something has come, and leaves it there.
    pub(crate) async fn begun(&self) {
        timeout(PATIENCE, self.stream.peek(&mut [0])).await.expect("something in time").unwrap();
    }

    /// The next whole message.
    pub(crate) async fn next(&mut self) -> Frame {
        timeout(PATIENCE, self.read()).await.expect("a frame in time")
    }

    async fn read(&mut self) -> Frame {
        let mut text = Vec::new();
        loop {
            let Ok(first) = self.stream.read_u8().await else { return Frame::Gone };
            let length = match self.stream.read_u8().await.unwrap() {
                126 => u64::from(self.stream.read_u16().await.unwrap()),
                127 => self.stream.read_u64().await.unwrap(),
                length => u64::from(length),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            match first & 0x0f {
                0 | 1 => {
                    text.extend_from_slice(&payload);
                    if first & 0x80 != 0 {
                        return Frame::Text(String::from_utf8(text).unwrap());
                    }
                }
                8 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return Frame::Close(code, String::from_utf8(payload[2..].to_vec()).unwrap());
                }
                9 => return Frame::Ping,
                10 => return Frame::Pong(payload),
                other => panic!("opcode {other}"),
            }
        }
    }

    /// The next text as JSON; pings are passed over.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            match self.next().await {
                Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
                Frame::Ping => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// All texts up to the close frame, with it.
    pub(crate) async fn rest(&mut self) -> (Vec<Value>, Frame) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Frame::Text(text) => texts.push(serde_json::from_str(&text).unwrap()),
                Frame::Ping | Frame::Pong(_) => {}
                end => return (texts, end),
            }
        }
    }
}
