//! `/world`: the truth, and what a person may do to the world.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET /world` | the whole [`Truth`](crate::world::Truth): machines, bills, counters |
//! | `GET /world/machines/ID/log` | the machine's log, host's and program's lines |
//! | `DELETE /world/machines/ID` | deletes it as a person would in the vendor's console |
//! | `POST /world/machines/ID/preempt`, `/lose`, `/find` | the vendor takes it back; its host is lost, or there again |
//! | `GET`, `PUT`, `DELETE /world/faults` | the [plan of faults](crate::faults) |
//! | `GET /world/download?bytes=N&megabits=M` | N zeros, at so many megabits a second of the world's time: a model's download |
//! | `GET`, `PUT /world/clock` | `{"speed": 60}`, `{"step_s": 300}` |
//! | `GET /world/offers/VENDOR` | what is left to rent |
//! | `PUT /world/offers/VENDOR/ID` | `{"left": 0}`, `{"price_per_hour": "2.50"}` |
//! | `PUT /world/accounts/VENDOR` | `{"credit": "0"}`, `{"quota": 1}`, `{"keys": {"KEY": "revoked"}}` |

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::FaultPlan;
use crate::http::{Response, decode};
use crate::vendor::Vendor;
use crate::world::{Machine, World};

/// What downloads are made of.
static DOWNLOAD_PIECE: Bytes = Bytes::from_static(&[0; 64 << 10]);

/// Answers a request to `/world`.
pub(crate) fn answer(head: &Parts, path: &str, body: &[u8], world: &World) -> Response {
    let parts: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let answered = match (&head.method, parts.as_slice()) {
        (&Method::GET, []) => shown(&world.truth()),
        (&Method::GET, ["faults"]) => {
            let (plan, struck) = world.faults();
            Ok(json!({"seed": plan.seed, "rules": plan.rules, "struck": struck}))
        }
        (&Method::PUT, ["faults"]) => said(body).map(|plan| {
            world.set_faults(plan);
            json!({})
        }),
        (&Method::DELETE, ["faults"]) => {
            world.set_faults(FaultPlan::default());
            Ok(json!({}))
        }
        (&Method::GET, ["download"]) => return download(head, world),
        (&Method::GET, ["clock"]) => Ok(clock(world)),
        (&Method::PUT, ["clock"]) => said(body).map(|order| {
            world.clock().set(order);
            clock(world)
        }),
        (method, ["machines", id, rest @ ..]) => machine(method, id, rest, world),
        (&Method::GET, ["offers", vendor]) => named(vendor).map(|vendor| offers(world, vendor)),
        (&Method::PUT, ["offers", vendor, id]) => set_offer(vendor, id, body, world),
        (&Method::PUT, ["accounts", vendor]) => set_account(vendor, body, world),
        _ => Err(missing("such request to the world")),
    };
    answered.map_or_else(|refused| refused, |value| Response::json(200, &value))
}

fn machine(method: &Method, id: &str, rest: &[&str], world: &World) -> Result<Value, Response> {
    let mut machines = world.machines().into_iter().rev();
    let machine = machines.find(|machine| machine.id == id).ok_or_else(|| missing("machine"))?;
    let (vendor, id) = (machine.vendor, machine.id.as_str());
    let gone = |_| missing("living machine");
    let named = |machine: Machine| json!({"id": machine.id, "phase": machine.phase.word()});
    match (method, rest) {
        (&Method::GET, ["log"]) => shown(&machine.log.tail(usize::MAX)),
        (&Method::DELETE, []) => world.delete_in_console(vendor, id).map(named).map_err(gone),
        (&Method::POST, ["preempt"]) => world.preempt(vendor, id).map(named).map_err(gone),
        (&Method::POST, ["lose"]) => world.set_reachable(vendor, id, false).map(named).map_err(gone),
        (&Method::POST, ["find"]) => world.set_reachable(vendor, id, true).map(named).map_err(gone),
        _ => Err(missing("such request to a machine")),
    }
}

/// What a machine downloads: as long as asked for, at that pace.
fn download(head: &Parts, world: &World) -> Response {
    let query = head.uri.query().unwrap_or_default();
    let number = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|text| text.parse::<u64>().ok())
    };
    let (Some(bytes), megabits @ 1..) = (number("bytes"), number("megabits").unwrap_or(1000)) else {
        return refused(400, "say how many `bytes`, and at how many `megabits` a second (at least 1)");
    };
    let (response, pieces) = Response::stream(200, "application/octet-stream");
    let clock = world.clock().clone();
    world.spawn(async move {
        let (begun, mut sent) = (clock.now(), 0);
        while sent < bytes {
            let piece = (bytes - sent).min(DOWNLOAD_PIECE.len() as u64);
            sent += piece;
            // Bits over megabits a second are microseconds.
            let due = Duration::from_micros(sent.saturating_mul(8) / megabits);
            clock.sleep_until(begun + due).await;
            if pieces.send(DOWNLOAD_PIECE.slice(..piece as usize)).await.is_err() {
                return;
            }
        }
    });
    response.with("content-length", &bytes.to_string())
}

fn set_offer(vendor: &str, id: &str, body: &[u8], world: &World) -> Result<Value, Response> {
    let (vendor, order) = (named(vendor)?, said(body)?);
    if world.set_offer(vendor, id, order) { Ok(json!({})) } else { Err(missing("offer")) }
}

fn set_account(vendor: &str, body: &[u8], world: &World) -> Result<Value, Response> {
    world.set_account(named(vendor)?, said(body)?);
    Ok(json!({}))
}

fn clock(world: &World) -> Value {
    json!({"now": world.now(), "speed": world.clock().speed()})
}

fn offers(world: &World, vendor: Vendor) -> Value {
    let offers = world.offers(vendor).into_iter().map(|offer| {
        json!({
            "id": offer.id, "gpu": offer.gpu, "gpus": offer.gpus, "region": offer.region, "tier": offer.tier,
            "price_per_hour": offer.price_per_hour, "left": offer.left,
        })
    });
    offers.collect()
}

fn said<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| refused(400, &format!("the body cannot be read: {error}")))
}

fn shown(value: &impl Serialize) -> Result<Value, Response> {
    serde_json::to_value(value).map_err(|error| refused(500, &error.to_string()))
}

fn named(vendor: &str) -> Result<Vendor, Response> {
    Vendor::parse(vendor).ok_or_else(|| missing("vendor of that name"))
}

fn missing(what: &str) -> Response {
    refused(404, &format!("there is no {what}"))
}

fn refused(status: u16, error: &str) -> Response {
    Response::json(status, &json!({"error": error}))
}
