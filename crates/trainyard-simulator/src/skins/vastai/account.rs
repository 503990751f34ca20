//! The user, what was charged, and SSH keys.

use hyper::Method;
use serde_json::{Value, json};
use trainyard_domain::Money;

use super::answer::{done, no_instance, refused};
use super::market::float;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Machine, World};

/// The account's number.
const USER: u64 = 412_345;
/// Most charges of a page.
const PER_PAGE: usize = 500;

/// Who the key belongs to, and what is left to spend.
pub(super) fn user(world: &World) -> Response {
    let credit = world.credit_left(Vendor::Vastai).map_or(0.0, float);
    let spent = float(world.bill(Vendor::Vastai).decimal());
    Response::json(
        200,
        &json!({
            "id": USER, "key_id": 7, "email": "somebody@example.com", "username": "somebody",
            // On a prepaid account the money is the credit.
            "balance": 0.0, "credit": credit, "ssh_key": "", "sid": USER.to_string(),
            "balance_threshold": 0.0, "balance_threshold_enabled": false, "total_spend": -spent,
        }),
    )
}

/// What each instance has cost within some days.
pub(super) fn charges(request: &Request, world: &World) -> Response {
    let filters =
        request.parameter("select_filters").and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let day = filters.as_ref().map(|filters| &filters["day"]);
    let bound = |name: &str| day.and_then(|day| day[name].as_i64());
    let (Some(from), Some(to)) = (bound("gte"), bound("lte")) else {
        let msg = "Must provide both 'day' gte and lte filters for instance charges";
        return Response::json(400, &json!({"success": false, "msg": msg}));
    };
    let now = world.now();
    let lived = |machine: &Machine| {
        machine.placed_at.timestamp() <= to && machine.gone_at.unwrap_or(now).timestamp() >= from
    };
    let mut machines: Vec<Machine> = world.machines_of(Vendor::Vastai).into_iter().filter(lived).collect();
    if request.parameter("latest_first").is_none_or(|text| text != "false") {
        machines.reverse();
    }
    let limit =
        request.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(100).clamp(1, PER_PAGE);
    let from = match request.parameter("after_token").map(|token| token.parse::<usize>()) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return refused(400, "invalid_token", "Invalid pagination token"),
    };
    let total = machines.len();
    let page: Vec<Value> =
        machines.iter().skip(from).take(limit).map(|machine| charge(machine, world)).collect();
    let next = (from + page.len() < total).then(|| (from + page.len()).to_string());
    done(json!({"count": page.len(), "total": total, "next_token": next, "results": page}))
}

fn charge(machine: &Machine, world: &World) -> Value {
    let now = world.now();
    let invoice = machine.invoice(now);
    let (start, end) = (machine.placed_at.timestamp(), machine.gone_at.unwrap_or(now).timestamp());
    let item = |kind: &str, text: String, amount: Money| {
        json!({"start": start, "end": end, "type": kind, "source": null, "description": text,
               "amount": rounded(amount), "metadata": {}, "items": []})
    };
    let hours = |seconds: u64| format!("{:.3} hours", seconds as f64 / 3600.0);
    let half = Money::per_hour_for(invoice.traffic, 1800);
    let bytes = format!("{} bytes", invoice.traffic_bytes / 2);
    json!({
        "start": start, "end": end, "type": "instance", "source": format!("instance-{}", machine.id),
        "description": format!("Instance {} Charges", machine.id), "amount": rounded(invoice.total),
        "metadata": {"label": machine.name},
        "items": [
            item("gpu", hours(invoice.gpu_seconds), invoice.gpu),
            item("disk", hours(invoice.disk_seconds), invoice.disk),
            item("bwd", bytes.clone(), half),
            item("bwu", bytes, half),
        ],
    })
}

/// To three decimals, as the books show it.
fn rounded(amount: Money) -> f64 {
    float(amount.decimal().round_dp_with_strategy(3, rust_decimal::RoundingStrategy::MidpointAwayFromZero))
}

/// The account's SSH keys.
pub(super) fn keys(request: &Request, rest: &[&str], world: &World) -> Response {
    kept(request, "ssh account", rest, world)
}

/// An instance's SSH keys.
pub(super) fn instance_keys(request: &Request, id: &str, rest: &[&str], world: &World) -> Response {
    if world.machine(Vendor::Vastai, id).filter(Machine::is_alive).is_none() {
        return no_instance(id);
    }
    kept(request, &format!("ssh {id}"), rest, world)
}

fn kept(request: &Request, shelf: &str, rest: &[&str], world: &World) -> Response {
    let text = || request.json()?.get("ssh_key")?.as_str().map(str::to_owned);
    match (&request.method, rest, text()) {
        (&Method::POST, [], Some(key)) if key.starts_with("ssh-") => add(&key, shelf, world),
        (&Method::POST, [], _) => refused(400, "no_ssh_key", "No SSH key was given."),
        (&Method::GET, [], _) => {
            let keys =
                world.shelf(Vendor::Vastai, |all| all.get(shelf).cloned()).unwrap_or_else(|| json!([]));
            if shelf == "ssh account" {
                Response::json(200, &keys)
            } else {
                done(json!({"ssh_keys": keys.to_string()}))
            }
        }
        (&Method::DELETE, [id], _) => {
            let id = id.parse::<u64>().ok();
            let removed = world.shelf(Vendor::Vastai, |all| {
                let keys = all.get_mut(shelf)?.as_array_mut()?;
                let at = keys.iter().position(|key| id.is_some() && key["id"].as_u64() == id)?;
                Some(keys.remove(at))
            });
            removed.map_or_else(|| refused(404, "no_such_ssh_key", "No such SSH key."), |_| done(json!({})))
        }
        _ => Response::page(405),
    }
}

fn add(key: &str, shelf: &str, world: &World) -> Response {
    let now = world.now();
    let added = world.shelf(Vendor::Vastai, |all| {
        let number = all.get("ssh keys").and_then(Value::as_u64).unwrap_or_default() + 1;
        let keys = all.entry(shelf.to_owned()).or_insert_with(|| json!([])).as_array_mut()?;
        if keys.iter().any(|kept| kept["public_key"] == key) {
            return None;
        }
        let kept =
            json!({"id": number, "user_id": USER, "public_key": key, "created_at": now, "deleted_at": null});
        keys.push(kept.clone());
        all.insert("ssh keys".to_owned(), json!(number));
        Some(kept)
    });
    match added {
        Some(key) => done(json!({"key": key})),
        None => refused(400, "duplicate_ssh_key", "This SSH key is there already."),
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn books_round_to_tenths_of_a_cent() {
        assert_eq!(rounded("0.0005".parse().unwrap()), 0.001);
        assert_eq!(rounded("1.23449".parse().unwrap()), 1.234);
    }
}
