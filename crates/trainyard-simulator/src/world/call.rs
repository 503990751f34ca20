//! One request as the world sees it: whose operation, what was drawn for it, and the counters.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use trainyard_domain::Timestamp;

use super::World;
use crate::faults::{Drawn, Fault};
use crate::vendor::Vendor;

/// Most exchanges kept; older ones are dropped.
const TAPE_MAX: usize = 20_000;

/// One request to a vendor.
#[derive(Debug, Clone)]
pub struct Call {
    /// At which vendor.
    pub vendor: Vendor,
    /// Which operation; the words are in [`faults`](crate::faults).
    pub operation: &'static str,
    /// The faults that strike it.
    pub drawn: Drawn,
}

impl Call {
    /// A request without faults that nobody counts.
    pub fn plain(vendor: Vendor, operation: &'static str) -> Call {
        Call { vendor, operation, drawn: Drawn::default() }
    }

    /// How far the vendor's clock is from the world's, in seconds: for `Date` and for timestamps in bodies.
    pub fn skew_s(&self) -> i64 {
        let skew = |fault: &Fault| match fault {
            Fault::DateSkew { seconds } => Some(*seconds),
            _ => None,
        };
        self.drawn.find(skew).unwrap_or_default()
    }

    pub(crate) fn listing_lag(&self) -> Option<Duration> {
        self.drawn.find(|fault| match fault {
            Fault::ListingLag { seconds } => Some(span(*seconds)),
            _ => None,
        })
    }

    pub(crate) fn dead_shown(&self) -> Option<Duration> {
        self.drawn.find(|fault| match fault {
            Fault::DeadShown { seconds } => Some(span(*seconds)),
            _ => None,
        })
    }
}

/// Seconds of a fault; at most a year, so that nothing overflows.
pub(crate) fn span(seconds: f64) -> Duration {
    let sane = if seconds.is_finite() { seconds.clamp(0.0, 366.0 * 86_400.0) } else { 0.0 };
    Duration::from_secs_f64(sane)
}

/// How often something was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Requests.
    pub asked: u64,
    /// Of these, answered with a status of 400 and above.
    pub refused: u64,
    /// Of these, not answered at all.
    pub unanswered: u64,
}

/// A request and its answer, as they were on the wire.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it came, by the world's clock.
    pub at: Timestamp,
    /// To whom.
    pub vendor: Vendor,
    /// Which operation.
    pub operation: &'static str,
    /// The method.
    pub method: String,
    /// Path below the vendor's base address, percent-encoded, without the query.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// The request's headers, names in lower case; not the authorization.
    pub headers: BTreeMap<String, String>,
    /// The request's body.
    pub body: bytes::Bytes,
    /// The answer's status; none where there was no answer.
    pub status: Option<u16>,
    /// The answer's body; of a stream none.
    pub answer: Option<bytes::Bytes>,
}

impl World {
    /// A request begins: it is counted, and faults are drawn for it.
    pub fn call(&self, vendor: Vendor, operation: &'static str) -> Call {
        self.state().counts.entry((vendor, operation)).or_default().asked += 1;
        self.ring();
        Call { vendor, operation, drawn: self.inner.faults.draw(vendor, operation) }
    }

    /// A request was answered with that status; none: the connection was closed instead.
    pub(crate) fn answered(&self, call: &Call, status: Option<u16>) {
        let mut state = self.state();
        let count = state.counts.entry((call.vendor, call.operation)).or_default();
        match status {
            Some(status) => count.refused += u64::from(status >= 400),
            None => count.unanswered += 1,
        }
        drop(state);
        self.ring();
    }

    pub(crate) fn record(&self, exchange: Exchange) {
        if self.options().tape {
            let mut state = self.state();
            if state.tape.len() == TAPE_MAX {
                state.tape.pop_front();
            }
            state.tape.push_back(exchange);
        }
    }

    /// How often that operation was asked.
    pub fn count(&self, vendor: Vendor, operation: &str) -> Count {
        let state = self.state();
        let mut counts = state.counts.iter();
        let found = counts.find(|((of, name), _)| *of == vendor && *name == operation);
        found.map(|(_, count)| *count).unwrap_or_default()
    }

    /// Every counter.
    pub fn counts(&self) -> BTreeMap<Vendor, BTreeMap<&'static str, Count>> {
        let mut counts: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((vendor, operation), count) in &self.state().counts {
            counts.entry(*vendor).or_default().insert(*operation, *count);
        }
        counts
    }

    /// Every exchange so far where [`Options::tape`](crate::Options::tape) is on (the last twenty thousand), to be held
    /// against the vendors' own documents.
    pub fn tape(&self) -> Vec<Exchange> {
        self.state().tape.iter().cloned().collect()
    }
}
