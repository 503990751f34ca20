//! `GET /v2/billing/pods`: what each pod has cost.

use std::collections::BTreeSet;

use chrono::{Days, NaiveTime};
use serde_json::{Value, json};
use trainyard_domain::{Money, Timestamp};

use super::answer;
use super::pod::{number, stamp};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

const BUCKETS: [&str; 5] = ["hour", "day", "week", "month", "year"];

/// One record for each pod: the books of this world have one bucket, from the day it was placed.
pub(super) fn pods(request: &Request, world: &World) -> Response {
    let (from, to) = (request.parameter("startTime"), request.parameter("endTime"));
    if request.parameter("lastN").is_some() && (from.is_some() || to.is_some()) {
        return answer::bad_request("lastN and startTime/endTime exclude each other");
    }
    let bucket = request.parameter("bucketSize").unwrap_or_else(|| "day".to_owned());
    if !BUCKETS.contains(&bucket.as_str()) {
        return answer::unprocessable(&[
            "query.bucketSize: value must be one of 'hour', 'day', 'week', 'month', 'year'".to_owned(),
        ]);
    }
    let only = request.parameter("podId");
    let now = world.now();
    let mut machines = world.machines_of(Vendor::Runpod);
    machines.retain(|machine| only.as_ref().is_none_or(|only| machine.id == *only));
    if request.call.drawn.own("billing_lag").is_some() {
        machines.clear();
    }
    let mut total = [Money::ZERO; 3];
    let mut pods = BTreeSet::new();
    let records: Vec<Value> = machines
        .iter()
        .map(|machine| {
            let invoice = machine.invoice(now);
            let amounts = [invoice.total, invoice.gpu, invoice.disk];
            total = [0, 1, 2].map(|at| total[at].plus(amounts[at]));
            pods.insert(machine.id.clone());
            let day = day(machine.placed_at);
            let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
            let mut record = shown(amounts);
            record["startTime"] = json!(stamp(day, &request.call));
            record["endTime"] = json!(stamp(next, &request.call));
            record["podId"] = json!(machine.id);
            record
        })
        .collect();
    let first = machines.first().map_or(now, |machine| day(machine.placed_at));
    let query = json!({"startTime": stamp(first, &request.call), "endTime": stamp(now, &request.call),
        "bucketSize": bucket, "podId": only});
    let metadata = json!({"query": query, "recordCount": records.len(), "uniquePodCount": pods.len(),
        "totals": shown(total)});
    Response::json(200, &json!({"records": records, "metadata": metadata}))
}

fn shown([total, gpu, disk]: [Money; 3]) -> Value {
    json!({"totalAmount": number(total), "gpuAmount": number(gpu), "cpuAmount": 0, "diskAmount": number(disk)})
}

fn day(at: Timestamp) -> Timestamp {
    at.with_time(NaiveTime::MIN).single().unwrap_or(at)
}
