//! Who may rent, and for how much.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trainyard_domain::Money;

use crate::vendor::Vendor;

/// The account that a vendor keeps: one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its keys.
    pub keys: BTreeMap<String, KeyState>,
    /// Money paid in; what was used comes off it. None: there is no such thing, or no end of it.
    pub credit: Option<Money>,
    /// Machines at once; none: as many as there are.
    pub quota: Option<u32>,
}

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Everything.
    Valid,
    /// Reading only.
    ReadOnly,
    /// It did once.
    Revoked,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The account's owner.
    Owner,
    /// The owner, with a key that only reads.
    Reader,
    /// A machine, with its own key: the machine's id.
    Machine(String),
    /// A key that was taken back.
    Revoked,
    /// A key that nobody gave out.
    Unknown,
    /// Nobody: there is no key.
    Missing,
}

impl Account {
    /// The usual one of a vendor: one valid key, and 100 dollars where the vendor takes money in advance.
    pub fn usual(vendor: Vendor) -> Account {
        let credit = match vendor {
            Vendor::Runpod | Vendor::Vastai => "100".parse().ok(),
            Vendor::Lambda => None,
        };
        let keys = BTreeMap::from([(Account::usual_key(vendor), KeyState::Valid)]);
        Account { keys, credit, quota: None }
    }

    /// The key that [`Simulator::environment`](crate::Simulator::environment) tells.
    pub fn usual_key(vendor: Vendor) -> String {
        format!("simulated-{vendor}-key")
    }
}

/// What `PUT /world/accounts/VENDOR` changes. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountOrder {
    /// Money paid in.
    pub credit: Option<Money>,
    /// Machines at once.
    pub quota: Option<u32>,
    /// States of keys; the others stay.
    pub keys: Option<BTreeMap<String, KeyState>>,
}
