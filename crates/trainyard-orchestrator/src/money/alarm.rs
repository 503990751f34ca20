//! What goes on costing against our will. Pure.

use trainyard_domain::{Machine, Money, Timestamp};

use super::dollars;
use crate::Policy;
use crate::view::AlarmView;

/// The alarm about a machine of the ledger: nobody needs it, and it still may be billed.
pub(crate) fn alarm(entry: &Machine, now: Timestamp, policy: &Policy) -> Option<AlarmView> {
    let price = entry.price_per_hour.filter(|price| *price > Money::ZERO)?;
    if !entry.may_be_billed() || entry.placed_at.is_none() {
        return None;
    }
    let since = match (entry.unneeded_since, entry.release_asked_at) {
        (Some(one), Some(other)) => one.min(other),
        (one, other) => one.or(other)?,
    };
    if (now - since).to_std().unwrap_or_default() < policy.alarm_after {
        return None;
    }
    let cost = entry.cost(now);
    let over = entry.reserved.map(|reserved| cost.minus(reserved)).filter(|over| *over > Money::ZERO);
    let (code, how) = match entry.release_asked_at {
        Some(_) => ("release_ignored", "the provider accepted its removal and still shows it"),
        None => ("release_refused", "the provider does not take its removal"),
    };
    let excess = over.map_or_else(String::new, |over| format!(", {} more than was set aside", dollars(over)));
    let id = entry.provider_job_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
    let message = format!(
        "No job needs the machine {}{id} at `{}` since {}, but {how}. It has cost {} by now{excess}, and ${price} per hour until it is gone. Its removal is tried again and again; if this lasts, remove it in the provider's console.",
        entry.order,
        entry.provider,
        since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        dollars(cost),
    );
    Some(AlarmView {
        order: entry.order.clone(),
        provider: entry.provider.clone(),
        provider_job_id: entry.provider_job_id.clone(),
        price_per_hour: Some(price),
        code,
        since,
        over,
        message,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn entry() -> Machine {
        serde_json::from_value(serde_json::json!({
            "order": "ty-abcdefgh-01hqzzzzzzzzzzzzzzzzzzzzzz", "provider": "runpod", "provider_job_id": "pod_1",
            "attempts": [["m", 1]], "price_per_hour": "3.60", "ordered_at": at(0), "placed_at": at(0),
            "release_asked_at": null, "gone_at": null, "gone_proof": null, "reserved": "1.00"
        }))
        .unwrap()
    }

    fn code(entry: &Machine, now: i64) -> Option<(&'static str, Option<String>)> {
        let alarm = alarm(entry, at(now), &Policy::default())?;
        Some((alarm.code, alarm.over.map(|over| over.to_string())))
    }

    #[test]
    fn what_is_given_back_and_stays_is_an_alarm_and_nothing_else_is() {
        assert_eq!(code(&entry(), 1_000_000), None, "it is needed, however much it costs");
        let asked = Machine { release_asked_at: Some(at(500)), ..entry() };
        assert_eq!(code(&asked, 799), None, "removals take a while");
        assert_eq!(code(&asked, 800), Some(("release_ignored", None)));
        assert_eq!(
            code(&asked, 2000),
            Some(("release_ignored", Some("1".to_owned()))),
            "the excess is shown"
        );
        let refused = Machine { unneeded_since: Some(at(500)), ..entry() };
        assert_eq!(code(&refused, 900), Some(("release_refused", None)));
        let both = Machine { unneeded_since: Some(at(100)), ..asked.clone() };
        assert_eq!(code(&both, 400), Some(("release_ignored", None)), "since the earlier of the two");
        assert_eq!(code(&Machine { gone_at: Some(at(900)), ..asked.clone() }, 2000), None, "gone");
        assert_eq!(code(&Machine { placed_at: None, ..asked.clone() }, 2000), None, "never rented");
        assert_eq!(code(&Machine { price_per_hour: None, ..asked }, 2000), None, "for nothing");
    }
}
