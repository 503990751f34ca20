//! The one HTTP client that vendors are spoken to with.
//!
//! What it promises. A failure tells truthfully whether the request may have reached the vendor ([`Effect`]). An order
//! ([`Repeat::Never`]) goes out once, whatever happens; only a 429 of a vendor whose 429 proves that nothing was done
//! is followed by another try. Everything else is repeated under one policy. Calls keep the vendor's pace, per key and
//! operation, over the whole process. An operation that failed five times in a row is left alone for ten seconds.
//! Every call is bounded: in time, however slowly the answer drips; in bytes, however long it is. No key is in any
//! `Debug`, `Display`, log line or error, and no URL either: their queries may be keys too.
//!
//! What it leaves to others: what a status and a body mean. Any answer that repeating did not improve comes back as
//! [`Answer`], and the vendor's `error.rs` reads it.
//!
//! - `call`: what is asked and what is answered.
//! - `client`: the loop of tries around one call.
//! - `attempt`: one try, and whether it was sent.
//! - `retry`: which outcome is tried again, and after how long. Pure.
//! - `pace`: whose turn it is.
//! - `breaker`: which operation is left alone.
//!
//! [`Effect`]: crate::Effect

mod attempt;
mod breaker;
mod call;
mod client;
mod pace;
mod retry;

use std::time::Duration;

pub use bytes::Bytes;
pub use reqwest::header::HeaderMap;
pub use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use trainyard_domain::ProviderName;

pub use call::{Answer, Call, Repeat};
pub use client::HttpClient;

/// Most time that one call waits in all: for its turn, between tries, as a `Retry-After` asks. A turn that would come
/// later is refused at once, as `RateLimited` without effect.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Who is spoken to, and within which limits.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The provider, for messages.
    pub provider: ProviderName,
    /// What every path is appended to, without a query: `https://api.example.com/v2`.
    pub base_url: String,
    /// How the key is shown.
    pub auth: Auth,
    /// Longest time until a connection stands.
    pub connect_within: Duration,
    /// Longest time on the line, from the first byte sent to the last one received; all tries of a call together,
    /// but each of the few tries of an order has it whole. A call takes at most this and [`WAIT_MAX`].
    pub within: Duration,
    /// Most bytes of an answer.
    pub answer_bytes_max: usize,
    /// The pace that the vendor allows a key.
    pub paces: Vec<Pace>,
    /// A 429 to an order proves that it was not done, so that it may be sent again.
    pub too_many_is_refusal: bool,
}

impl HttpConfig {
    /// The usual limits: 10 s to connect, 30 s to answer, 8 MiB, no pace, and a 429 proves nothing.
    pub fn new(provider: ProviderName, base_url: impl Into<String>, auth: Auth) -> HttpConfig {
        HttpConfig {
            provider,
            base_url: base_url.into(),
            auth,
            connect_within: Duration::from_secs(10),
            within: Duration::from_secs(30),
            answer_bytes_max: 8 << 20,
            paces: Vec::new(),
            too_many_is_refusal: false,
        }
    }
}

/// How a key is shown to a vendor.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer(SecretString),
    /// `Authorization: Basic`, with the key as user and no password.
    BasicUser(SecretString),
    /// Not at all.
    None,
}

/// How often an operation may be called with one key, process wide: clients with the same provider, address and key
/// share their turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// The operation; `*` is every call.
    pub op: &'static str,
    /// The time between two calls on average.
    pub every: Duration,
    /// Calls that may follow one another at once after a rest; at least 1.
    pub burst: u32,
}
