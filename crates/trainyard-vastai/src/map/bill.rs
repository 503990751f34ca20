//! What a machine has cost, from Vast's charges.

use serde_json::json;
use trainyard_domain::{Money, OrderName};
use ulid::Ulid;

use super::money;
use crate::wire::Charge;

/// Charges are asked for from a day before the order on: their days are UTC, and clocks differ.
const EARLIER_S: i64 = 86_400;
/// And to a day after now.
const LATER_S: i64 = 86_400;
/// The server's most.
const PER_PAGE: &str = "500";

/// The query for the charges of instances since an order was named; its name tells when.
pub(crate) fn charges_query(order: &OrderName, now_s: i64) -> Vec<(&'static str, String)> {
    let named = order.as_str().rsplit('-').next().and_then(|text| Ulid::from_string(text).ok());
    let named_s = named.map_or(0, |ulid| i64::try_from(ulid.timestamp_ms() / 1000).unwrap_or(0));
    let from = named_s.min(now_s).saturating_sub(EARLIER_S).max(0);
    let filters = json!({
        "day": {"gte": from, "lte": now_s.saturating_add(LATER_S)},
        "type": {"in": ["instance"]},
    });
    vec![
        ("select_filters", filters.to_string()),
        ("latest_first", "true".to_owned()),
        ("limit", PER_PAGE.to_owned()),
        ("format", "table".to_owned()),
    ]
}

/// What one page charges for an instance: GPU, disk and traffic together. None where it is not on the page.
pub(crate) fn charged(charges: &[Charge], id: &str) -> Option<Money> {
    let source = format!("instance-{id}");
    let ours = charges.iter().filter(|charge| charge.source.as_deref() == Some(&source));
    ours.filter_map(|charge| money(charge.amount?)).reduce(Money::plus)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{charged, charges_query};
    use crate::wire::ChargesPage;

    #[test]
    fn the_charges_of_one_instance_are_summed() {
        let page: ChargesPage = serde_json::from_value(json!({"success": true, "results": [
            {"source": "instance-12", "amount": 1.125, "type": "instance", "items": []},
            {"source": "instance-123", "amount": 7.5},
            {"source": "instance-12", "amount": "0.5"},
            {"source": "instance-5", "amount": null},
        ], "next_token": null}))
        .expect("a page");
        assert_eq!(charged(&page.results, "12").expect("charged").to_string(), "1.625");
        assert_eq!(charged(&page.results, "5"), None);
        assert_eq!(charged(&page.results, "4"), None);
    }

    #[test]
    fn charges_are_asked_for_from_the_day_before_the_order() {
        // Named 2026-01-01T00:00:00Z.
        let ulid = ulid::Ulid::from_parts(1_767_225_600_000, 7);
        let order = trainyard_domain::OrderName::new(&"abcdefgh".parse().expect("an id"), ulid);
        let query = charges_query(&order, 1_767_225_700);
        let filters: Value = serde_json::from_str(&query[0].1).expect("JSON");
        assert_eq!(filters["day"], json!({"gte": 1_767_225_600 - 86_400, "lte": 1_767_225_700 + 86_400}));
        // A name that lies in the future asks from now on.
        let early: Value = serde_json::from_str(&charges_query(&order, 1000)[0].1).expect("JSON");
        assert_eq!(early["day"]["gte"], 0);
    }
}
