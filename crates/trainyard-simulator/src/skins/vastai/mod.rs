//! Vast.ai's wire.
//!
//! - `answer`: the shapes of its answers and refusals.
//! - `guard`: who asks, and whether too often.
//! - `catalogue`: what there is to rent.
//! - `market`: the search; `filter`: its filters, and those of listings.
//! - `create`: an ask becomes an instance.
//! - `instance`: an instance as Vast shows it.
//! - `listing`: pages of instances, and one of them.
//! - `manage`: stop, start, label, reboot, destroy.
//! - `logs`: snapshots, and where they are fetched from.
//! - `account`: the user, charges, SSH keys.
//!
//! Its own switches ([`Fault::Own`](crate::faults::Fault::Own)):
//!
//! | name | operation | what happens |
//! | --- | --- | --- |
//! | `key_401` | any | a wrong key is answered by 401 instead of 404 |
//! | `sampled` | offers | about a quarter of the rows is missing |
//! | `unfiltered` | offers | filters of price and verification are not kept |
//! | `no_instance` | create | accepted with an id, and there is no instance |
//! | `leftover` | create | refused, and yet there is an instance, stopped |
//! | `stops` | create | accepted; `intended_status` turns to `stopped` while it loads |
//! | `null` | get | the reading shows no instance |
//! | `exited` | get, list | the container reads `exited` in passing |
//! | `resources_unavailable` | start | queued, and not started |
//! | `log_never` | logs | what was to be uploaded is never there |

mod account;
mod answer;
mod catalogue;
mod create;
mod filter;
mod guard;
mod instance;
mod listing;
mod logs;
mod manage;
mod market;

use hyper::Method;

use crate::http::{Request, Response};
use crate::world::World;

pub(crate) use catalogue::catalogue;

/// Which operation a request is.
pub(crate) fn operation(request: &Request) -> &'static str {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (&request.method, parts.as_slice()) {
        (_, ["api", "v0", "bundles"] | ["api", "v0", "search", "asks"]) => "offers",
        (&Method::PUT, ["api", "v0", "asks", _]) => "create",
        (&Method::GET, ["api", _, "instances"]) => "list",
        (&Method::GET, ["api", "v0", "instances", _]) => "get",
        (&Method::DELETE, ["api", "v0", "instances", _]) => "terminate",
        (&Method::PUT, ["api", "v0", "instances", "request_logs", _]) => "logs",
        (&Method::PUT, ["api", "v0", "instances", _]) => manage::operation(request),
        (_, ["api", "v0", "users", "current"]) => "account",
        _ => "other",
    }
}

/// Does it and answers.
pub(crate) async fn handle(request: Request, world: &World) -> Response {
    // Addresses without the slash at their end are redirected, and a body is lost on that way.
    if request.method != Method::GET && !request.path.ends_with('/') && !request.body.is_empty() {
        return answer::refused(400, "invalid_request", "Request body must be valid JSON");
    }
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let Some(rest) = parts.strip_prefix(&["api"]) else {
        return match (&request.method, parts.as_slice()) {
            (&Method::GET, ["instance_logs", name]) => logs::fetch(name, world),
            _ => Response::page(404),
        };
    };
    let caller = match guard::pass(&request, rest, world) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let request = &request;
    match (&request.method, rest) {
        (&Method::POST | &Method::GET, ["v0", "bundles"]) => market::search(request, world),
        (&Method::PUT | &Method::GET, ["v0", "search", "asks"]) => market::search(request, world),
        (&Method::GET, ["v0", "gpu_names", "unique"]) => market::names(world),
        (&Method::PUT, ["v0", "asks", ask]) => create::create(request, ask, world),
        (&Method::GET, ["v1", "instances"]) => listing::page(request, world),
        (&Method::GET, ["v0", "instances"]) => listing::retired(),
        (&Method::GET, ["v0", "instances", id]) => listing::one(request, id, world),
        (&Method::DELETE, ["v0", "instances", id]) => manage::destroy(request, id, world),
        (&Method::PUT, ["v0", "instances", "request_logs", id]) => logs::request(request, id, world),
        (&Method::PUT, ["v0", "instances", "reboot", id]) => manage::reboot(id, world).await,
        (&Method::PUT, ["v0", "instances", id]) => manage::change(request, id, world),
        (_, ["v0", "instances", id, "ssh", key @ ..]) => account::instance_keys(request, id, key, world),
        (&Method::GET, ["v0", "users", "current"]) => account::user(world),
        (&Method::GET, ["v0", "charges"]) => account::charges(request, world),
        (_, ["v0", "ssh", key @ ..]) => account::keys(request, key, world),
        _ => answer::unknown_path(&caller),
    }
}
