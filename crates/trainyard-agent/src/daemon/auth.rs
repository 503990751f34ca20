//! Whether a request is from who may command this agent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::refusal::Refusal;
use crate::clock;
use crate::key::PublicKey;
use crate::protocol::{
    BOOT_HEADER, CODE_BOOT_CHANGED, CODE_CLOCK, SIGNATURE_HEADER, TIME_HEADER, string_to_sign,
};

/// A request may be this far from the agent's clock.
const SKEW_MS_MAX: u64 = 60_000;

/// Who may command, and whom.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) key: PublicKey,
    pub(crate) order: String,
    pub(crate) boot_id: String,
}

impl Guard {
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
        if self.key.verifies(message.as_bytes(), &signature) {
            Ok(())
        } else {
            Err(unauthorized("bad_signature", "the signature is not right"))
        }
    }
}

fn unauthorized(code: &'static str, text: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, text)
}
