//! Lambda's wire: Cloud API 1.10, and SSH on every machine.
//!
//! - `answers`: envelopes, refusals, who may ask and how often.
//! - `catalogue`: instance types, regions, images.
//! - `launch`: an order, checked as Lambda checks it.
//! - `instances`: machines as Lambda shows them, and what can be done with them.
//! - `keys`: SSH keys.
//! - `cloud_init`: what `user_data` says.
//! - `boot`: a machine's first boot, and SSH to it (`ssh`).
//!
//! Switches of its own, as [`Fault::Own`](crate::faults::Fault::Own):
//!
//! | switch | at | what happens |
//! | --- | --- | --- |
//! | `missing_is_400` | create | what an order names and is not there is refused with 400 instead of 404 |
//! | `account_inactive`, `invalid_address`, `quota`, `provider_unavailable` | create | refused with that code |
//! | `unhealthy` | create | the machine is shown as `unhealthy` instead of `active` |
//! | `active_lag` (seconds) | create | it works so long before it is shown as `active` |
//! | `sshd_lag` (seconds) | create | SSH answers so long after the machine runs |
//! | `other_host_key` | create | the image does not take the host key of `user_data` |
//! | `no_cloud_init` | create | the image runs nothing of `user_data` |
//! | `no_private_ip` | create | it has no private address |
//! | `terminate_blocked` (seconds) | create | it cannot be terminated in its first seconds, and says so |
//! | `terminate_again_unknown` | terminate | asking for what is under way is answered with `global/unknown` |
//! | `vanish_at_once` | list, get | a machine that is gone is not shown as `terminated` first |
//! | `too_many` (`json`, `page` or `retry_after`) | any | over the limit, in that form |

mod answers;
mod boot;
mod catalogue;
mod cloud_init;
mod file_systems;
mod instances;
mod keys;
mod launch;
mod ssh;

use hyper::Method;
use serde_json::json;

use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

pub(crate) use catalogue::catalogue;

/// The vendor of this room.
const LAMBDA: Vendor = Vendor::Lambda;

/// The path below the API's version: both `/lambda/instances` and `/lambda/api/v1/instances` are served.
fn parts(request: &Request) -> Vec<String> {
    let mut parts = request.parts();
    if parts.len() >= 2 && parts[0] == "api" && parts[1] == "v1" {
        parts.drain(..2);
    }
    parts
}

/// Which operation a request is.
pub(crate) fn operation(request: &Request) -> &'static str {
    let parts = parts(request);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (&request.method, parts.as_slice()) {
        (&Method::GET, ["instance-types"]) => "offers",
        (&Method::POST, ["instance-operations", "launch"]) => "create",
        (&Method::GET, ["instances"]) => "list",
        (&Method::GET, ["instances", _]) => "get",
        (&Method::POST, ["instance-operations", "terminate"]) => "terminate",
        (&Method::POST, ["instance-operations", "restart"]) => "start",
        _ => "other",
    }
}

/// Does it and answers.
pub(crate) async fn handle(request: Request, world: &World) -> Response {
    if let Some(refused) = answers::too_many(&request, world) {
        return refused;
    }
    if let Some(refused) = answers::shut(&request, world) {
        return refused;
    }
    let parts = parts(&request);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (&request.method, parts.as_slice()) {
        (&Method::GET, ["instance-types"]) => catalogue::types(world),
        (&Method::GET, ["regions"]) => catalogue::regions(world),
        (&Method::GET, ["images"]) => catalogue::images(world),
        (&Method::POST, ["instance-operations", "launch"]) => launch::launch(&request, world),
        (&Method::POST, ["instance-operations", "terminate"]) => instances::terminate(&request, world),
        (&Method::POST, ["instance-operations", "restart"]) => instances::restart(&request, world),
        (&Method::GET, ["instances"]) => instances::list(&request, world),
        (&Method::GET, ["instances", id]) => instances::get(&request, world, id),
        (&Method::POST, ["instances", id]) => instances::rename(&request, world, id),
        (&Method::GET, ["ssh-keys"]) => keys::list(world),
        (&Method::POST, ["ssh-keys"]) => keys::add(&request, world),
        (&Method::DELETE, ["ssh-keys", id]) => keys::delete(world, id),
        (&Method::GET, ["file-systems"]) => file_systems::list(world),
        (&Method::POST, ["filesystems"]) => file_systems::create(&request, world),
        (&Method::DELETE, ["filesystems", id]) => file_systems::delete(world, id),
        (&Method::GET, ["firewall-rulesets"]) => answers::data(&json!([])),
        (&Method::GET, ["firewall-rules"]) => answers::data(&catalogue::firewall()),
        // The list has a hyphen, the creation has none.
        (_, ["file-systems"]) => Response::empty(405),
        _ => answers::refused(404, "global/not-found", "The requested resource was not found."),
    }
}
