//! The corpus: what is done to an answer on its way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dice::Dice;

/// An answer as it goes over the wire.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) status: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// What `Content-Length` says; none: chunks of a tenth, without an end where `cut`.
    pub(super) length: Option<usize>,
    pub(super) body: Vec<u8>,
    /// The connection breaks before the body is whole.
    pub(super) cut: bool,
}

impl Wire {
    /// An answer as it should be.
    pub(super) fn of(kind: &str, body: Vec<u8>) -> Wire {
        let headers = vec![("Content-Type", kind.to_owned())];
        Wire { status: "200 OK", headers, length: Some(body.len()), body, cut: false }
    }

    fn with_body(mut self, body: Vec<u8>) -> Wire {
        self.length = Some(body.len());
        self.body = body;
        self
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        match self.length {
            Some(length) => {
                bytes.extend(format!("Content-Length: {length}\r\n\r\n").into_bytes());
                let end = if self.cut { self.body.len() / 2 } else { self.body.len() };
                bytes.extend(&self.body[..end]);
            }
            None => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks((self.body.len() / 10).max(1)) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                if !self.cut {
                    bytes.extend(b"0\r\n\r\n");
                }
            }
        }
        bytes
    }
}

/// Other bytes that an answer may be mixed up with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others<'a> {
    /// The whole file.
    pub(super) file: &'a [u8],
    /// Another file of the same artifact.
    pub(super) another: &'a [u8],
    /// The same file as it was before.
    pub(super) older: &'a [u8],
    /// Where the answer begins in it.
    pub(super) offset: usize,
}

/// A corruption of a part of a file, and its name.
pub(super) fn of_part(dice: &mut Dice, wire: Wire, others: &Others<'_>) -> (&'static str, Wire) {
    let (body, n) = (wire.body.clone(), wire.body.len() as u64);
    let like = |source: &[u8], from: usize| -> Vec<u8> {
        (0..body.len()).map(|i| source.get((from + i) % source.len().max(1)).copied().unwrap_or(0)).collect()
    };
    match dice.below(22) {
        0..=4 => ("one bit is turned", wire.with_body(turned(dice, body))),
        5 => (
            "it is cut short, and its length agrees",
            wire.with_body(body[..dice.below(n) as usize].to_vec()),
        ),
        6 => {
            let more = [body, vec![0; 1 + dice.below(64) as usize]].concat();
            ("bytes are added", wire.with_body(more))
        }
        7 => {
            ("its length says more", Wire { length: Some(body.len() + 1 + dice.below(99) as usize), ..wire })
        }
        8 => ("its length says less", Wire { length: Some(dice.below(n) as usize), ..wire }),
        9 => ("the connection breaks", Wire { cut: true, ..wire }),
        10 => ("chunks without an end", Wire { length: None, cut: true, ..wire }),
        11 => {
            let from = others.offset + 1 + dice.below(200) as usize;
            ("another range", wire.with_body(like(others.file, from)))
        }
        12 => ("another file", wire.with_body(like(others.another, others.offset))),
        13 => {
            let half = body.len() / 2;
            let other = like(others.another, others.offset);
            ("two files in one", wire.with_body([&body[..half], &other[half..]].concat()))
        }
        14 | 15 => ("the file as it was before", wire.with_body(like(others.older, others.offset))),
        16 => ("nothing", wire.with_body(Vec::new())),
        17 => {
            let page = b"<html><body>Bad gateway</body></html>".to_vec();
            ("a page in HTML", wire.with_body(page))
        }
        18 => {
            let mut wire = wire.with_body([&[0x1f, 0x8b, 8, 0][..], &body].concat());
            wire.headers.push(("Content-Encoding", "gzip".to_owned()));
            ("packed though nobody asked", wire)
        }
        19 => {
            let mut wire = Wire { status: "206 Partial Content", ..wire };
            wire.headers.push(("Content-Range", format!("bytes 7-{}/99999", 6 + n)));
            let from = others.offset + 7;
            ("another range, and it says so", wire.with_body(like(others.file, from)))
        }
        20 => ("zeros", wire.with_body(vec![0; body.len()])),
        _ => ("503", Wire { status: "503 Service Unavailable", ..wire.with_body(b"upstream".to_vec()) }),
    }
}

/// A corruption of a manifest, and its name. Its digest is that of the true one.
pub(super) fn of_manifest(dice: &mut Dice, wire: Wire) -> (&'static str, Wire) {
    let text = wire.body.clone();
    let parsed: Value = serde_json::from_slice(&text).expect("a manifest");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = parsed.clone();
        change(&mut value);
        wire.clone().with_body(value.to_string().into_bytes())
    };
    let digest = parsed["files"][0]["sha256"].as_str().expect("a digest").to_owned();
    match dice.below(14) {
        0..=3 => ("manifest: one bit is turned", wire.with_body(turned(dice, text))),
        4 => {
            let end = dice.below(text.len() as u64) as usize;
            ("manifest: cut short", wire.with_body(text[..end].to_vec()))
        }
        5 => ("manifest: the connection breaks", Wire { cut: true, ..wire }),
        6 => ("manifest: of another attempt", changed(&|m| m["attempt"] = json!(99))),
        7 => ("manifest: of no file", changed(&|m| m["files"] = json!([]))),
        8 => ("manifest: a file is missing", changed(&|m| drop(m["files"].as_array_mut().map(Vec::pop)))),
        9 => ("manifest: another digest", changed(&|m| m["files"][0]["sha256"] = json!("0".repeat(64)))),
        10 => {
            let digest = format!("sha256:{digest}");
            ("manifest: a digest with a prefix", changed(&|m| m["files"][0]["sha256"] = json!(digest)))
        }
        11 => ("manifest: a path that leads out", changed(&|m| m["files"][0]["path"] = json!("../../x"))),
        12 => ("manifest: a file twice", changed(&|m| m["files"][0]["path"] = m["files"][1]["path"].clone())),
        _ => ("manifest: another size", changed(&|m| m["files"][0]["size_bytes"] = json!(7))),
    }
}

/// The same with one bit turned.
pub(super) fn turned(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = dice.below(bytes.len() as u64) as usize;
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << dice.below(8);
    }
    bytes
}

/// How often each kind was made.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn tell(&self) -> String {
        self.0.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    }
}
