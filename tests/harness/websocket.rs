//! A small WebSocket client (RFC 6455): the handshake, masked frames, messages of several frames, and the close code.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Answer, Http};

/// Longest wait for the rest of a frame that has begun.
const FRAME_MAX: Duration = Duration::from_secs(30);
/// The key of the RFC's example and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Any mask is as good as another: proxies are what it is against.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a server says.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message.
    Message(Value),
    /// A protocol ping, answered already.
    Ping,
    /// A protocol pong.
    Pong,
    /// The close frame: code and text.
    Closed(u16, String),
    /// The connection is gone without a close frame.
    Lost,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    reader: BufReader<TcpStream>,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
}

impl WebSocket {
    /// Opens one; what the server answers where it does not want to.
    ///
    /// # Errors
    /// The answer that is not 101.
    ///
    /// # Panics
    /// If the handshake is wrong.
    pub fn open(http: &Http, path: &str, headers: &[(&str, &str)]) -> Result<WebSocket, Answer> {
        let mut call = http.call("GET", path).header("Upgrade", "websocket");
        call = call.header("Connection", "Upgrade");
        call = call.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", KEY);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let open = call.upgrade();
        if open.status != 101 {
            return Err(open.finish());
        }
        let find =
            |wanted: &str| open.headers.iter().find(|(name, _)| name == wanted).map(|(_, v)| v.clone());
        assert_eq!(find("sec-websocket-accept").as_deref(), Some(ACCEPT));
        let protocol = find("sec-websocket-protocol");
        Ok(WebSocket { reader: open.into_connection(), protocol })
    }

    /// What comes next; none if nothing begins to come in time.
    pub fn hear(&mut self, within: Duration) -> Option<Heard> {
        self.limit(within);
        match self.reader.fill_buf() {
            Ok([]) => return Some(Heard::Lost),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return None,
            Err(_) => return Some(Heard::Lost),
        }
        self.limit(FRAME_MAX);
        Some(self.message().unwrap_or(Heard::Lost))
    }

    /// All messages until it is closed, and how it was closed.
    ///
    /// # Panics
    /// If it is not closed in time.
    pub fn to_end(&mut self, within: Duration) -> (Vec<Value>, Heard) {
        let deadline = Instant::now() + within;
        let mut messages = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.hear(left) {
                Some(Heard::Message(message)) => messages.push(message),
                Some(Heard::Ping | Heard::Pong) => {}
                Some(end) => return (messages, end),
                None => {
                    panic!("not closed in {within:?}; the last of {}: {:?}", messages.len(), messages.last())
                }
            }
        }
    }

    /// The next message, whatever pings come between.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn message_within(&mut self, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
            {
                Some(Heard::Message(message)) => return message,
                Some(Heard::Ping | Heard::Pong) => {}
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// Sends a text.
    pub fn say(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    /// Sends a protocol ping.
    pub fn ping(&mut self) {
        self.frame(0x89, b"there?");
    }

    fn limit(&self, within: Duration) {
        self.reader.get_ref().set_read_timeout(Some(within)).expect("a limit");
    }

    fn message(&mut self) -> io::Result<Heard> {
        let mut text = Vec::new();
        loop {
            let (first, payload) = self.read_frame()?;
            match first & 0x0f {
                0x0 | 0x1 => {
                    text.extend(payload);
                    if first & 0x80 != 0 {
                        return serde_json::from_slice(&text).map(Heard::Message).map_err(io::Error::other);
                    }
                }
                0x8 => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                    self.frame(0x88, &payload);
                    return Ok(Heard::Closed(code, why));
                }
                0x9 => {
                    self.frame(0x8a, &payload);
                    if text.is_empty() {
                        return Ok(Heard::Ping);
                    }
                }
                0xa => return Ok(Heard::Pong),
                other => return Err(io::Error::other(format!("a frame of kind {other}"))),
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.reader.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.reader.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.reader.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            masked if masked & 0x80 != 0 => return Err(io::Error::other("a server must not mask")),
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        self.reader.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).expect("a short frame")];
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        // A server that is gone is heard as such.
        let _ = self.reader.get_mut().write_all(&frame);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
