//! Whether a request is from who may command this agent.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::refusal::Refusal;
use crate::clock;
use crate::key::PublicKey;
use crate::protocol::{
    BOOT_HEADER, CODE_BOOT_CHANGED, CODE_CLOCK, CODE_REPLAYED, SIGNATURE_HEADER, TIME_HEADER, string_to_sign,
};

/// A request may be this far from the agent's clock.
const SKEW_MS_MAX: u64 = 60_000;

/// Requests that change something and are remembered, for as long as their time is good: a hundred a second.
const REMEMBERED_MAX: usize = 12_000;

/// Who may command, and whom.
#[derive(Debug)]
pub(crate) struct Guard {
    key: PublicKey,
    order: String,
    boot_id: String,
    seen: Mutex<Seen>,
}

/// Signatures of requests that changed something, with the times they were made for.
#[derive(Debug, Default)]
struct Seen {
    order: BinaryHeap<Reverse<(i64, [u8; 64])>>,
    all: HashSet<[u8; 64]>,
}

impl Guard {
    pub(crate) fn new(key: PublicKey, order: String, boot_id: String) -> Guard {
        Guard { key, order, boot_id, seen: Mutex::default() }
    }

    pub(crate) fn order(&self) -> &str {
        &self.order
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// What can be told before the body came: whether all is there, for this boot and of this minute.
    pub(crate) fn look(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(time), Some(_)) = (header(TIME_HEADER), header(SIGNATURE_HEADER)) else {
            return Err(unauthorized("unsigned", "the request is not signed"));
        };
        if header(BOOT_HEADER) != Some(&self.boot_id) {
            let text = "the request is for another boot of the agent";
            return Err(Refusal::new(StatusCode::CONFLICT, CODE_BOOT_CHANGED, text));
        }
        let time: i64 = time.parse().map_err(|_| unauthorized("unsigned", "the time cannot be read"))?;
        if clock::now().timestamp_millis().abs_diff(time) > SKEW_MS_MAX {
            return Err(unauthorized(CODE_CLOCK, "the request's time is too far from the agent's clock"));
        }
        Ok(())
    }

    /// The signature over everything.
    pub(crate) fn check(&self, request: &Parts, body: &[u8]) -> Result<(), Refusal> {
        let header =
            |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        let message = string_to_sign(
            &self.order,
            &self.boot_id,
            request.method.as_str(),
            target,
            header(TIME_HEADER),
            body,
        );
        let signature = BASE64_STANDARD.decode(header(SIGNATURE_HEADER)).unwrap_or_default();
        if !self.key.verifies(message.as_bytes(), &signature) {
            return Err(unauthorized("bad_signature", "the signature is not right"));
        }
        if request.method == Method::GET {
            return Ok(());
        }
        let time = header(TIME_HEADER).parse().unwrap_or_default();
        let signature = signature.try_into().map_err(|_| unauthorized("bad_signature", "too long"))?;
        self.remember(time, signature)
    }

    /// A request that changes something is taken once: whoever overheard it cannot send it again.
    fn remember(&self, time: i64, signature: [u8; 64]) -> Result<(), Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = clock::now().timestamp_millis() - SKEW_MS_MAX as i64;
        while seen.order.peek().is_some_and(|Reverse((time, _))| *time < oldest) {
            if let Some(Reverse((_, old))) = seen.order.pop() {
                seen.all.remove(&old);
            }
        }
        if seen.all.len() >= REMEMBERED_MAX {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many",
                "too many requests this minute",
            ));
        }
        if !seen.all.insert(signature) {
            return Err(Refusal::new(StatusCode::CONFLICT, CODE_REPLAYED, "this very request came before"));
        }
        seen.order.push(Reverse((time, signature)));
        Ok(())
    }
}

fn unauthorized(code: &'static str, text: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    /// No age at all.
    const NOW: i64 = 0;

    /// A signed request: by which key, for which boot, how old, over which target and body.
    fn request(key: u8, boot: &str, age_ms: i64, target: &str, body: &[u8]) -> Parts {
        let time = (clock::now().timestamp_millis() - age_ms).to_string();
        let message = string_to_sign("order", boot, "POST", target, &time, body);
        let signature = SigningKey::from_seed([key; 32]).unwrap().sign(message.as_bytes());
        let request = hyper::Request::post(target)
            .header(TIME_HEADER, time)
            .header(BOOT_HEADER, boot)
            .header(SIGNATURE_HEADER, BASE64_STANDARD.encode(signature));
        request.body(()).unwrap().into_parts().0
    }

    fn judge(request: &Parts, body: &[u8]) -> Result<(), &'static str> {
        let hex = SigningKey::from_seed([1; 32]).unwrap().public_hex();
        let key = PublicKey::from_hex(&hex).unwrap();
        let guard = Guard::new(key, "order".to_owned(), "boot".to_owned());
        judge_by(&guard, request, body)
    }

    fn judge_by(guard: &Guard, request: &Parts, body: &[u8]) -> Result<(), &'static str> {
        let both = guard.look(&request.headers).and_then(|()| guard.check(request, body));
        both.map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_changes_something_is_taken_once() {
        let hex = SigningKey::from_seed([1; 32]).unwrap().public_hex();
        let guard = Guard::new(PublicKey::from_hex(&hex).unwrap(), "order".to_owned(), "boot".to_owned());
        let post = request(1, "boot", NOW, "/v1/stop", b"{}");
        assert_eq!(judge_by(&guard, &post, b"{}"), Ok(()));
        assert_eq!(judge_by(&guard, &post, b"{}"), Err(CODE_REPLAYED));
        assert_eq!(
            judge_by(&guard, &request(1, "boot", 5, "/v1/stop", b"{}"), b"{}"),
            Ok(()),
            "another time"
        );
        // A wrong one leaves no trace: nobody can use up the room without the key.
        assert_eq!(judge_by(&guard, &request(2, "boot", 7, "/v1/stop", b"{}"), b"{}"), Err("bad_signature"));
        assert_eq!(guard.seen.lock().unwrap().all.len(), 2);
    }

    #[test]
    fn a_signature_covers_everything() {
        let target = "/v1/stop?x=1";
        let good = request(1, "boot", NOW, target, b"{}");
        assert_eq!(judge(&good, b"{}"), Ok(()));
        assert_eq!(judge(&good, b"{ }"), Err("bad_signature"), "another body");
        assert_eq!(
            judge(&request(2, "boot", NOW, target, b"{}"), b"{}"),
            Err("bad_signature"),
            "another key"
        );
        let mut other = request(1, "boot", NOW, target, b"{}");
        other.uri = "/v1/stop?x=2".parse().unwrap();
        assert_eq!(judge(&other, b"{}"), Err("bad_signature"), "another query");
        let mut other = request(1, "boot", NOW, target, b"{}");
        other.method = hyper::Method::GET;
        assert_eq!(judge(&other, b"{}"), Err("bad_signature"), "another method");
        let mut other = request(1, "boot", NOW, target, b"{}");
        let later = (clock::now().timestamp_millis() + 5).to_string();
        other.headers.insert(TIME_HEADER, later.parse().unwrap());
        assert_eq!(judge(&other, b"{}"), Err("bad_signature"), "another time");
    }

    #[test]
    fn a_request_is_of_this_minute_and_this_boot() {
        for age in [59_000, -59_000] {
            assert_eq!(judge(&request(1, "boot", age, "/v1/x", b""), b""), Ok(()));
        }
        for age in [61_000, -61_000] {
            assert_eq!(judge(&request(1, "boot", age, "/v1/x", b""), b""), Err(CODE_CLOCK));
        }
        assert_eq!(judge(&request(1, "other", NOW, "/v1/x", b""), b""), Err(CODE_BOOT_CHANGED));
        let mut lied = request(1, "other", NOW, "/v1/x", b"");
        lied.headers.insert(BOOT_HEADER, "boot".parse().unwrap());
        assert_eq!(judge(&lied, b""), Err("bad_signature"), "signed for another boot");
        let unsigned = hyper::Request::get("/v1/x").body(()).unwrap().into_parts().0;
        assert_eq!(judge(&unsigned, b""), Err("unsigned"));
    }
}
