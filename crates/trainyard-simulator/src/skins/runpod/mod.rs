//! RunPod's REST API v2 over the world, and the network before it.
//!
//! Promises the wire as RunPod's API reference and live recordings show it: strict bodies and lenient queries, problem
//! JSON, a capacity refusal that only its text tells, a pod that is `RUNNING` before its image is there and after its
//! program has ended, logs as an endless event stream, pages that hold fewer than asked for. Left out are the parts of
//! RunPod that no pod of ours needs: serverless, clusters, templates (their lists are empty).
//!
//! Its own switches ([`Fault::Own`](crate::faults::Fault::Own)), each at the operation that it concerns:
//!
//! | switch | at | what |
//! | --- | --- | --- |
//! | `blocked` | all | the network before RunPod refuses it: 403, `error code: 1010` |
//! | `minute_quota` n | all | so many requests a minute, then 429 with `Retry-After` |
//! | `forbidden_pool` | create | 403: the account may not use that GPU |
//! | `unknown_image` | create | 422 with prose: the registry does not know the image |
//! | `show_boot` | list, get | `PROVISIONING` and `STARTING` are shown, not `RUNNING` at once |
//! | `status` word | list, get | every pod shows that status |
//! | `cost_zero_when_exited` | list, get | as the document says, and live recordings do not |
//! | `page_size` n | list | pages of n, however many were asked for |
//! | `repeat_cursor` | list | the next page is always the same one |
//! | `no_pagination` | list | as before pagination came |
//! | `cut_log` n | logs | the stream breaks off after n lines |
//! | `billing_lag` | other | the books show nothing yet |

mod account;
mod answer;
mod billing;
mod catalog;
mod catalogue;
mod check;
mod collection;
mod create;
mod gate;
mod logs;
mod pod;
mod pods;
mod volumes;

use crate::http::{Request, Response};
use crate::world::{Access, World};

pub(crate) use catalogue::catalogue;
pub(crate) use gate::proxy_refusal;

/// Which operation a request is.
pub(crate) fn operation(request: &Request) -> &'static str {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["v2", "catalog", ..]) => "offers",
        ("GET", ["v2", "pods"]) => "list",
        ("POST", ["v2", "pods"]) => "create",
        ("GET", ["v2", "pods", _]) => "get",
        ("DELETE", ["v2", "pods", _]) => "terminate",
        ("GET", ["v2", "pods", _, "logs"]) => "logs",
        ("POST", ["v2", "pods", _, "action"]) => match pods::action_of(request).as_deref() {
            Some("stop") => "stop",
            Some("start" | "restart") => "start",
            Some("terminate") => "terminate",
            _ => "other",
        },
        (_, ["v2", "account", ..]) => "account",
        _ => "other",
    }
}

/// Does it and answers.
pub(crate) async fn handle(request: Request, world: &World) -> Response {
    if let Some(refused) = gate::before_key(&request) {
        return refused;
    }
    let access = world.access(request.call.vendor, request.bearer());
    if let Some(refused) = gate::by_key(&request, &access) {
        return refused;
    }
    let limits = gate::limits(&request, world);
    let answer = match limits.refused {
        Some(wait) => gate::too_many(wait),
        None => route(&request, &access, world).await,
    };
    answer.with("ratelimit", &limits.left).with("ratelimit-policy", &limits.policy)
}

async fn route(request: &Request, access: &Access, world: &World) -> Response {
    let parts = request.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    if !gate::may(access, method, &parts) {
        return answer::forbidden();
    }
    match (method, parts.as_slice()) {
        ("GET", ["v2", "pods"]) => pods::list(request, world),
        ("POST", ["v2", "pods"]) => create::create(request, world),
        ("GET", ["v2", "pods", id]) => pods::get(request, id, world),
        ("PATCH", ["v2", "pods", id]) => pods::patch(request, id, world),
        ("DELETE", ["v2", "pods", id]) => pods::delete(request, id, world),
        ("POST", ["v2", "pods", id, "action"]) => pods::act(request, id, world),
        ("GET", ["v2", "pods", id, "logs"]) => logs::stream(request, id, world).await,
        ("GET", ["v2", "catalog", "gpus"]) => catalog::gpus(request, world),
        ("GET", ["v2", "catalog", "gpus", id]) => catalog::gpu(request, id, world),
        ("GET", ["v2", "catalog", "datacenters"]) => catalog::data_centers(world),
        ("GET", ["v2", "billing", "pods"]) => billing::pods(request, world),
        (_, ["v2", "registries", ..]) => account::REGISTRIES.handle(request, &parts[2..], world),
        (_, ["v2", "account", "ssh-keys"]) => account::ssh_keys(request, world),
        (_, ["v2", "network-volumes", ..]) => volumes::VOLUMES.handle(request, &parts[2..], world),
        ("GET", ["v2", "templates"]) => answer::empty_list("templates"),
        (_, ["v2", "pods"]) => answer::wrong_method("GET, POST"),
        (_, ["v2", "pods", _]) => answer::wrong_method("DELETE, GET, PATCH"),
        (_, ["v2", "pods", _, "logs"] | ["v2", "catalog" | "billing", ..]) => answer::wrong_method("GET"),
        (_, ["v2", "pods", _, "action"]) => answer::wrong_method("POST"),
        _ => answer::problem(404, "Not Found", "The requested path was not found."),
    }
}
