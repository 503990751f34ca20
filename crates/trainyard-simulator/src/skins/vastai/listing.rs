//! Pages of instances, and one of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::answer::{invalid, refused};
use super::filter::{passes, sorting};
use super::instance::shown;
use crate::faults::Fault;
use crate::http::{Request, Response};
use crate::world::{Machine, World};

/// Most instances of a page.
const PER_PAGE: usize = 25;
/// And where less than one is asked for.
const PER_ODD_PAGE: usize = 5;
/// Instances show in the list a moment after they were made; where nothing takes any time, at once.
const LAG: Duration = Duration::from_secs(1);
/// What is stored with a contract, and so can be filtered and sorted by.
const STORED: [&str; 12] = [
    "id",
    "label",
    "actual_status",
    "intended_status",
    "cur_state",
    "next_state",
    "gpu_name",
    "verification",
    "machine_id",
    "host_id",
    "image_uuid",
    "start_date",
];

/// The list of old.
pub(super) fn retired() -> Response {
    let msg = "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead.";
    refused(410, "deprecated_endpoint", msg)
}

/// One instance; null where there is none.
pub(super) fn one(request: &Request, id: &str, world: &World) -> Response {
    if id.parse::<u64>().is_err() {
        return invalid(3400, "invalid instance_id");
    }
    let machine = world.reading(&request.call, id, Duration::ZERO);
    let machine = machine.filter(|_| request.call.drawn.own("null").is_none());
    let instance = machine.map_or(Value::Null, |machine| shown(&machine, world, &request.call));
    Response::json(200, &json!({"instances": instance}))
}

/// One page.
pub(super) fn page(request: &Request, world: &World) -> Response {
    read(request, world).unwrap_or_else(|refused| refused)
}

fn read(request: &Request, world: &World) -> Result<Response, Response> {
    let query = Query::read(request)?;
    let machines = world.listing(&request.call, Duration::ZERO);
    let visible = machines.iter().filter(|machine| is_old_enough(machine, world));
    let mut rows = Vec::new();
    for row in visible.map(|machine| shown(machine, world, &request.call)) {
        if query.passes(&row)? {
            rows.push(row);
        }
    }
    rows.sort_by(|one, other| query.order(&query.keys(one), &query.keys(other)));
    // The count is the books', which nothing slips from.
    let slipped = usize::from(request.call.drawn.has(&Fault::PageSlip));
    let (total, counts) = (rows.len() + slipped, label_counts(&rows));
    let after = |row: &Value| {
        query.after.as_ref().is_none_or(|after| query.order(&query.keys(row), after) == Ordering::Greater)
    };
    let mut rest = rows.into_iter().filter(after);
    let rows: Vec<Value> = rest.by_ref().take(query.limit).collect();
    let more = rest.next().is_some();
    let next = rows.last().filter(|_| more).map(|last| token(&query.keys(last)));
    let instances: Vec<Value> = rows.into_iter().map(|row| query.columns(row)).collect();
    Ok(Response::json(
        200,
        &json!({
            "success": true, "instances_found": instances.len(), "total_instances": total,
            "label_counts": counts, "next_token": next, "instances": instances,
        }),
    ))
}

fn is_old_enough(machine: &Machine, world: &World) -> bool {
    let lag = world.delays().boot.min(LAG);
    (world.now() - machine.placed_at).to_std().unwrap_or_default() >= lag
}

fn label_counts(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row["label"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

struct Query {
    limit: usize,
    filters: Map<String, Value>,
    /// Columns, and whether they fall.
    order: Vec<(String, bool)>,
    columns: Option<Vec<String>>,
    /// The keys of the last row before this page.
    after: Option<Vec<Value>>,
}

impl Query {
    fn read(request: &Request) -> Result<Query, Response> {
        let json = |name: &str| match request.parameter(name) {
            Some(text) => serde_json::from_str::<Value>(&text)
                .map_err(|_| bad(&format!("Error in query parameters: {name} is not valid JSON"))),
            None => Ok(Value::Null),
        };
        let limit = request.parameter("limit").and_then(|text| text.parse::<i64>().ok());
        let filters = json("select_filters")?.as_object().cloned().unwrap_or_default();
        let mut order = Vec::new();
        for by in json("order_by")?.as_array().into_iter().flatten() {
            let column = by.get("col").and_then(Value::as_str).unwrap_or_default();
            order.push((known(column)?.to_owned(), by.get("dir") == Some(&json!("desc"))));
        }
        if !order.iter().any(|(column, _)| column == "id") {
            order.push(("id".to_owned(), false));
        }
        let columns = json("select_cols")?;
        let columns = columns
            .as_array()
            .map(|all| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>());
        let after = request.parameter("after_token").map(|text| read_token(&text)).transpose()?;
        if after.as_ref().is_some_and(|after| after.len() != order.len()) {
            return Err(bad_token());
        }
        Ok(Query {
            limit: match limit {
                None => PER_PAGE,
                Some(..=0) => PER_ODD_PAGE,
                Some(limit) => usize::try_from(limit).map_or(PER_PAGE, |limit| limit.min(PER_PAGE)),
            },
            filters,
            order,
            columns: columns.filter(|columns| !columns.iter().any(|column| column == "*")),
            after,
        })
    }

    fn passes(&self, row: &Value) -> Result<bool, Response> {
        let mut passed = true;
        for (field, conditions) in &self.filters {
            passed &= passes(field, &row[known(field)?], conditions).map_err(|text| bad(&text))?;
        }
        Ok(passed)
    }

    fn keys(&self, row: &Value) -> Vec<Value> {
        self.order.iter().map(|(column, _)| row[column].clone()).collect()
    }

    fn order(&self, one: &[Value], other: &[Value]) -> Ordering {
        let by = self.order.iter().zip(one.iter().zip(other)).map(|((_, falling), (one, other))| {
            let order = sorting(one, other);
            if *falling { order.reverse() } else { order }
        });
        by.fold(Ordering::Equal, Ordering::then)
    }

    /// Only the columns that were asked for; unknown ones are null.
    fn columns(&self, row: Value) -> Value {
        match &self.columns {
            None => row,
            Some(columns) => columns.iter().map(|column| (column.clone(), row[column].clone())).collect(),
        }
    }
}

fn known(column: &str) -> Result<&str, Response> {
    if STORED.contains(&column) {
        Ok(column)
    } else {
        Err(bad(&format!("Error in query parameters: {column} is not a valid search key")))
    }
}

fn bad(msg: &str) -> Response {
    Response::json(400, &json!({"error": "invalid_request", "msg": msg}))
}

fn bad_token() -> Response {
    Response::json(400, &json!({"error": "invalid_token", "msg": "Invalid pagination token"}))
}

fn token(keys: &[Value]) -> String {
    BASE64_STANDARD.encode(json!({"values": keys}).to_string())
}

fn read_token(text: &str) -> Result<Vec<Value>, Response> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| bad_token())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad_token())?;
    value["values"].as_array().cloned().ok_or_else(bad_token)
}
