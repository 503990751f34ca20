//! Network volumes: made, listed and deleted; mounted when a pod is ordered. They are not billed here.

use serde_json::{Map, Value, json};

use super::answer;
use super::check::{Field, Rule, body, may, must};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

const VOLUME: &[Field] = &[
    must("name", Rule::Word),
    must("size", Rule::AtLeast(10)),
    must("dataCenter", Rule::Word),
    may("type", Rule::OneOf(&["STANDARD", "HIGH_PERFORMANCE"])),
];
/// Most gigabytes of one.
const SIZE_MAX: i64 = 4096;
/// Where they lie on the shelf, by id.
const SHELF: &str = "volume/";

/// `/v2/network-volumes` and one of them.
pub(super) fn handle(request: &Request, rest: &[&str], world: &World) -> Response {
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let all = world.shelf(Vendor::Runpod, |shelf| {
                let volumes = shelf.iter().filter(|(key, _)| key.starts_with(SHELF));
                volumes.map(|(_, volume)| volume.clone()).collect::<Vec<Value>>()
            });
            Response::json(200, &json!({ "networkVolumes": all }))
        }
        ("POST", []) => match body(request.json(), VOLUME) {
            Err(errors) => answer::unprocessable(&errors),
            Ok(asked) => make(&asked, world),
        },
        ("GET", [id]) => {
            find(world, id).map_or_else(answer::not_found, |volume| Response::json(200, &volume))
        }
        ("DELETE", [id]) => {
            let found = world.shelf(Vendor::Runpod, |shelf| shelf.remove(&format!("{SHELF}{id}")));
            if found.is_some() { Response::empty(204) } else { answer::not_found() }
        }
        (_, []) => answer::wrong_method("GET, POST"),
        (_, [_]) => answer::wrong_method("DELETE, GET"),
        _ => answer::problem(404, "Not Found", "The requested path was not found."),
    }
}

fn make(asked: &Map<String, Value>, world: &World) -> Response {
    if asked["size"].as_i64().is_some_and(|size| size > SIZE_MAX) {
        return answer::unprocessable(&[format!("$.size: must be <= {SIZE_MAX}")]);
    }
    let centers: Vec<String> = world.offers(Vendor::Runpod).into_iter().map(|offer| offer.region).collect();
    if !centers.iter().any(|center| asked["dataCenter"] == center.as_str()) {
        return answer::bad_request(&format!("data center must be one of: {}", centers.join(", ")));
    }
    let id = world.word("abcdefghijklmnopqrstuvwxyz0123456789", 10);
    let mut volume = Value::Object(asked.clone());
    volume["id"] = json!(id);
    volume["type"] = asked.get("type").cloned().unwrap_or_else(|| json!("STANDARD"));
    world.shelf(Vendor::Runpod, |shelf| shelf.insert(format!("{SHELF}{id}"), volume.clone()));
    Response::json(201, &volume)
}

fn find(world: &World, id: &str) -> Option<Value> {
    world.shelf(Vendor::Runpod, |shelf| shelf.get(&format!("{SHELF}{id}")).cloned())
}

/// The volume that an order mounts, with its data centre and the path; none where it mounts none.
///
/// # Errors
/// Why it cannot be mounted.
pub(super) fn mounted(asked: &Map<String, Value>, world: &World) -> Result<Option<Mounted>, Box<Response>> {
    let mount = asked.get("mounts").and_then(|mounts| mounts["network"].get(0));
    let Some(mount) = mount else { return Ok(None) };
    let text = |name: &str| mount[name].as_str().unwrap_or_default().to_owned();
    let Some(volume) = find(world, &text("volumeId")) else {
        return Err(answer::bad_request("network volume not found").into());
    };
    if asked.get("cloud").is_some_and(|cloud| cloud != "SECURE") {
        return Err(answer::bad_request("network volumes need cloud SECURE").into());
    }
    let center = volume["dataCenter"].as_str().unwrap_or_default().to_owned();
    Ok(Some(Mounted { id: text("volumeId"), path: text("path"), center }))
}

/// A network volume in a pod.
pub(super) struct Mounted {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) center: String,
}
