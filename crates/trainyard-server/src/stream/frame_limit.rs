//! Refuses a frame that is too large when its head comes. actix-http's own limit looks only once the whole frame is in
//! memory, so that a client could fill the server's by announcing a gigabyte and sending it.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpRequest, web};
use bytes::Bytes;
use futures_core::Stream;

/// Longest head of a frame, its mask included.
const HEAD_BYTES_MAX: usize = 14;

/// The same payload, cut off with [`PayloadError::Overflow`] at a frame larger than `max` bytes.
pub(crate) async fn limited(
    request: &HttpRequest,
    payload: web::Payload,
    max: usize,
) -> actix_web::Result<web::Payload> {
    let frames = Frames::new(max as u64);
    let limited = Limited { inner: payload.into_inner(), frames };
    let mut limited: Payload = Payload::Stream { payload: Box::pin(limited) };
    web::Payload::from_request(request, &mut limited).await
}

struct Limited {
    inner: Payload,
    frames: Frames,
}

impl Stream for Limited {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        Pin::new(&mut this.inner).poll_next(cx).map(|part| {
            part.map(|part| {
                part.and_then(
                    |part| if this.frames.take(&part) { Ok(part) } else { Err(PayloadError::Overflow) },
                )
            })
        })
    }
}

/// Where in which frame the stream is.
struct Frames {
    max: u64,
    /// Bytes of the present frame's payload still to come.
    left: u64,
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
}

impl Frames {
    fn new(max: u64) -> Frames {
        Frames { max, left: 0, head: [0; HEAD_BYTES_MAX], head_len: 0 }
    }

    /// Takes the next bytes. `false` where a frame is too large.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[skip..];
            self.left -= skip as u64;
            while self.left == 0 && !bytes.is_empty() {
                self.head[self.head_len] = bytes[0];
                self.head_len += 1;
                bytes = &bytes[1..];
                if let Some(length) = self.length() {
                    if length > self.max {
                        return false;
                    }
                    (self.left, self.head_len) = (length, 0);
                }
            }
        }
        true
    }

    /// The payload's length, once the whole head is there.
    fn length(&self) -> Option<u64> {
        let head = &self.head[..self.head_len];
        let second = *head.get(1)?;
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 != 0 { 4 } else { 0 };
        if head.len() < 2 + length_bytes + mask_bytes {
            return None;
        }
        match length_bytes {
            0 => Some(u64::from(second & 0x7f)),
            n => Some(head[2..2 + n].iter().fold(0, |length, byte| (length << 8) | u64::from(*byte))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u64) -> Vec<u8> {
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(0x80 | length as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame
    }

    #[test]
    fn frames_up_to_the_limit_pass_however_they_are_cut() {
        let mut bytes = Vec::new();
        for length in [0u64, 1, 125, 126, 1000, 65_535, 65_536] {
            bytes.extend(frame(length));
            bytes.extend(vec![0xff; length as usize]);
        }
        for cut in [1, 2, 3, 7, 1000, 1_000_000] {
            let mut frames = Frames::new(65_536);
            assert!(bytes.chunks(cut).all(|part| frames.take(part)), "cut at {cut}");
            assert_eq!((frames.left, frames.head_len), (0, 0));
        }
    }

    #[test]
    fn a_larger_frame_is_refused_at_its_head() {
        for length in [65_537, 1 << 30, u64::MAX] {
            let mut frames = Frames::new(65_536);
            assert!(!frames.take(&frame(length)), "{length}");
        }
    }
}
