//! What goes wrong, and how often. Of each scenario's faults about half are off, so that the others are met in every
//! company.

use crate::dice::Dice;

/// Rates in times of a thousand, and times. `Default` is a world in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// An order is refused, nothing happened.
    pub refused: u32,
    /// The order's answer is lost and nothing happened.
    pub lost_before: u32,
    /// The order's answer is lost and it happened.
    pub lost_after: u32,
    /// An accepted order makes two machines of one name.
    pub doubled: u32,
    /// An order takes up to this many seconds.
    pub order_takes_s: u64,
    /// A listing fails.
    pub listing_fails: u32,
    /// A listing leaves a machine out, never the same one twice in a row.
    pub listing_short: u32,
    /// Seconds until a new machine shows at most; always less than the settling time.
    pub shows_after_s: u64,
    /// A removal is refused.
    pub removal_refused: u32,
    /// A removal's answer is lost, before or after the effect.
    pub removal_lost: u32,
    /// A removal is accepted and does not come true.
    pub removal_ignored: u32,
    /// A removal is answered with "no such machine" though it is there.
    pub removal_denied: u32,
    /// Seconds that a removal takes at most.
    pub removal_takes_s: u64,
    /// Seconds that the vendor's books are behind at most.
    pub books_lag_s: u64,
    /// A machine never comes up.
    pub never_up: u32,
    /// A machine is taken away at some time.
    pub preempted: u32,
    /// An agent dies at some time, and its machine goes on.
    pub agent_dies: u32,
    /// An agent starts anew at some time.
    pub agent_restarts: u32,
    /// A call to an agent breaks off.
    pub agent_silent: u32,
    /// Bytes of a file come wrong.
    pub bytes_wrong: u32,
    /// Reading offers fails.
    pub offers_fail: u32,
    /// A call to storage fails.
    pub storage_fails: u32,
    /// Milliseconds that a call to storage takes at most.
    pub storage_ms: u64,
    /// Milliseconds that any call to others takes at most.
    pub call_ms: u64,
}

impl Faults {
    /// A seed's swarm.
    pub fn swarm(dice: &mut Dice) -> Faults {
        if dice.hits(80) {
            return Faults { call_ms: 100, ..Faults::default() };
        }
        let strong = dice.one_of(&[20, 60, 150, 300]).unwrap_or(20);
        let mut rate = |most: u32| {
            let most = u64::from(most.min(strong * 2));
            if dice.hits(500) { u32::try_from(dice.from_to(1, most)).unwrap_or(1) } else { 0 }
        };
        let mut faults = Faults {
            refused: rate(400),
            lost_before: rate(300),
            lost_after: rate(400),
            doubled: rate(100),
            listing_fails: rate(400),
            listing_short: rate(200),
            removal_refused: rate(400),
            removal_lost: rate(400),
            removal_ignored: rate(400),
            removal_denied: rate(200),
            never_up: rate(200),
            preempted: rate(400),
            agent_dies: rate(200),
            agent_restarts: rate(150),
            agent_silent: rate(300),
            bytes_wrong: rate(300),
            offers_fail: rate(300),
            storage_fails: rate(60),
            ..Faults::default()
        };
        let mut time = |most: u64| if dice.hits(500) { dice.from_to(1, most) } else { 0 };
        faults.order_takes_s = time(60);
        faults.shows_after_s = time(25);
        faults.removal_takes_s = time(60);
        faults.books_lag_s = time(60);
        faults.storage_ms = time(30);
        faults.call_ms = time(2000) + 20;
        faults
    }
}
