//! A WebSocket client that does as little as possible: it shares the machine with the server it measures.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Fault;
use crate::clock::now_us;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// One text message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its text.
    pub(crate) text: String,
    /// When its last byte was read, in microseconds since 1970.
    pub(crate) at_us: u64,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were taken.
    taken: usize,
    read_us: u64,
}

impl Socket {
    /// Connects and asks for the WebSocket.
    pub(crate) async fn connect(address: &str, path: &str) -> Result<Socket, Fault> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut socket = Socket { stream, buffer: Vec::new(), taken: 0, read_us: 0 };
        loop {
            socket.fill().await?;
            let end = socket.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                if !socket.buffer.starts_with(b"HTTP/1.1 101") {
                    return Err(String::from_utf8_lossy(&socket.buffer).into_owned().into());
                }
                socket.taken = end + 4;
                return Ok(socket);
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let read = self.stream.read_buf(&mut self.buffer).await?;
        self.read_us = now_us();
        if read == 0 { Err("the connection was closed".into()) } else { Ok(()) }
    }

    /// The next text message; none where the server says goodbye.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Fault> {
        loop {
            let Some((kind, from, to)) = frame(&self.buffer[self.taken..])? else {
                self.fill().await?;
                continue;
            };
            let payload = &self.buffer[self.taken + from..self.taken + to];
            match kind {
                TEXT => {
                    let text = std::str::from_utf8(payload)?.to_owned();
                    self.taken += to;
                    return Ok(Some(Message { text, at_us: self.read_us }));
                }
                CLOSE => return Ok(None),
                PING => {
                    // Masked by four zeros, which leave it as it is.
                    let mut pong = vec![0x8a, 0x80 | u8::try_from(payload.len())?, 0, 0, 0, 0];
                    pong.extend_from_slice(payload);
                    self.taken += to;
                    self.stream.write_all(&pong).await?;
                }
                _ => self.taken += to,
            }
        }
    }
}

/// The first frame: its kind, and where its payload lies; none where it is not all there yet.
fn frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, Fault> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (from, len) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        (126 | 127, _) => return Ok(None),
        (len, _) => (2, u64::from(len)),
    };
    if first & 0x80 == 0 {
        return Err("a message in several frames".into());
    }
    let to = from + usize::try_from(len)?;
    Ok((bytes.len() >= to).then_some((first & 0x0f, from, to)))
}

/// A text frame as a server sends it.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match u16::try_from(text.len()) {
        Ok(len) if len > 125 => {
            frame.push(126);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        Ok(len) => frame.push(u8::try_from(len).unwrap_or(125)),
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::{frame, text_frame};

    #[test]
    fn frames_are_read_as_they_are_written() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = text_frame(&"x".repeat(len));
            let (kind, from, to) = frame(&bytes).unwrap().unwrap();
            assert_eq!((kind, to - from, to), (1, len, bytes.len()));
            assert!(frame(&bytes[..bytes.len() - 1]).unwrap().is_none(), "not all there");
        }
    }
}
