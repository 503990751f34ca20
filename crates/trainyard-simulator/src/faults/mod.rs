//! What goes wrong: a plan of rules, by script or by seed, and what was drawn of it for one request.
//!
//! A [`Rule`] says where (vendor and operation; none: everywhere), when (always, the next *n*, the *n*-th from now,
//! by chance) and what. In JSON, as `PUT /world/faults` takes it:
//!
//! ```json
//! {"seed": 7, "rules": [
//!   {"vendor": "runpod", "operation": "create", "when": {"next": 1}, "fault": {"stall_after": {"seconds": 30}}},
//!   {"operation": "list", "when": {"chance": 0.05}, "fault": {"status_before": {"status": 503}}},
//!   {"vendor": "lambda", "when": {"nth": 3}, "fault": "no_capacity"}]}
//! ```
//!
//! The operations are the same for all three vendors: `offers`, `create`, `list`, `get`, `terminate`, `stop`, `start`,
//! `logs`, `account`, and `other`. Each skin says which of its requests is which. What goes through RunPod's proxy to an
//! agent is `proxy_events`, `proxy_log`, `proxy_manifest`, `proxy_file`, and for the rest `proxy`; the faults of the way
//! strike there too. Equal rules strike one after another, different ones at once.
//!
//! Where each fault strikes:
//!
//! | fault | where | what happens |
//! | --- | --- | --- |
//! | `drop_before`, `drop_after` | way | the connection is closed without an answer; before, nothing was done |
//! | `stall_before`, `stall_after` `{seconds}` | way | no answer for so long, then closed; before, nothing was done |
//! | `status_before`, `status_after` `{status, body?, content_type?, retry_after_s?}` | way | that answer instead (429, 401, 403, 5xx, an HTML page …); after, it was done all the same |
//! | `cut` `{bytes}` | way | the connection breaks in the body's byte *k* |
//! | `truncate` `{bytes}` | way | the body ends at byte *k* and its length agrees |
//! | `answer` `{body, content_type?}` | way | done, and 200 with that text instead (empty, HTML, an error in a 200) |
//! | `slow` `{bytes_per_s}` | way | the answer's body drips, at most so many bytes a real second |
//! | `replace` `{pointer, value}` | way | that value in the answer's JSON (RFC 6901; `*` stands for every element) |
//! | `extra_fields` | way | fields that nobody documented, in every object of the answer |
//! | `numbers_as_strings` | way | every number of the answer as a string |
//! | `date_skew` `{seconds}` | way, skin | the vendor's clock is that far ahead (negative: behind) |
//! | `twice` | way | it is done twice, answered once |
//! | `no_capacity`, `no_credit` | create | refused in the vendor's words |
//! | `price_jump` `{factor}` | create | what is bought costs that many times what was shown |
//! | `other_size` `{gpus?, region?}` | create | another machine than asked is placed |
//! | `never_boots` | create | it is placed, billed as the vendor bills, and stays as it is |
//! | `broken_image` `{text?}` | create | the image cannot be pulled |
//! | `broken_start` `{text?}` | create | the container cannot be started |
//! | `exits` `{code, times, after_ms}` | create | the container's first process is killed and counted as that exit, so often |
//! | `preempt`, `console_delete`, `host_lost` `{after_ms}` | create | that befalls the machine so long after it runs |
//! | `reuse_id` | create | it gets the id of the last machine that is gone, where there is one |
//! | `listing_lag` `{seconds}` | list, get | machines younger than that are not shown |
//! | `dead_shown` `{seconds}` | list, get | machines gone for less than that are shown as they were before |
//! | `page_slip` | list | one machine slips through between the pages of this reading |
//! | `terminate_ignored` | terminate | accepted, and nothing happens |
//! | `terminate_not_found` | terminate | done, and answered as unknown |
//! | `own` `{name, value?}` | skin | a vendor's own switch, see the skins |

mod plan;

pub(crate) use plan::Faults;
pub use plan::{Drawn, FaultPlan, Rule, When};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What goes wrong. See the table of the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each is a row of the module's table, with its fields")]
pub enum Fault {
    DropBefore,
    DropAfter,
    StallBefore {
        seconds: f64,
    },
    StallAfter {
        seconds: f64,
    },
    StatusBefore(Canned),
    StatusAfter(Canned),
    Cut {
        bytes: usize,
    },
    Truncate {
        bytes: usize,
    },
    Answer {
        body: String,
        #[serde(default)]
        content_type: Option<String>,
    },
    Slow {
        bytes_per_s: u32,
    },
    Replace {
        pointer: String,
        value: Value,
    },
    ExtraFields,
    NumbersAsStrings,
    DateSkew {
        seconds: i64,
    },
    Twice,
    NoCapacity,
    NoCredit,
    PriceJump {
        factor: u32,
    },
    OtherSize {
        #[serde(default)]
        gpus: Option<u32>,
        #[serde(default)]
        region: Option<String>,
    },
    NeverBoots,
    BrokenImage {
        #[serde(default)]
        text: Option<String>,
    },
    BrokenStart {
        #[serde(default)]
        text: Option<String>,
    },
    Exits {
        code: i32,
        times: u32,
        after_ms: u64,
    },
    Preempt {
        after_ms: u64,
    },
    ConsoleDelete {
        after_ms: u64,
    },
    HostLost {
        after_ms: u64,
    },
    ReuseId,
    ListingLag {
        seconds: f64,
    },
    DeadShown {
        seconds: f64,
    },
    PageSlip,
    TerminateIgnored,
    TerminateNotFound,
    Own {
        name: String,
        #[serde(default)]
        value: Value,
    },
}

/// An answer that stands ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canned {
    /// Its status.
    pub status: u16,
    /// Its body; none: a proxy's page in HTML.
    #[serde(default)]
    pub body: Option<String>,
    /// The body's kind; none: JSON where it begins with `{`, else HTML.
    #[serde(default)]
    pub content_type: Option<String>,
    /// `Retry-After`, in seconds.
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

impl Canned {
    /// That status with a proxy's page.
    pub fn status(status: u16) -> Canned {
        Canned { status, body: None, content_type: None, retry_after_s: None }
    }
}
