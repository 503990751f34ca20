//! Network volumes: made, listed and deleted; mounted when a pod is ordered. They are not billed here.

use serde_json::{Map, Value, json};

use super::answer;
use super::check::{Field, Rule, may, must};
use super::collection::{Collection, Made};
use crate::http::Response;
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
/// `/v2/network-volumes`.
pub(super) const VOLUMES: Collection =
    Collection { shelf: "volume/", name: "networkVolumes", fields: VOLUME, make };

fn make(asked: Map<String, Value>, world: &World) -> Made {
    if asked["size"].as_i64().is_some_and(|size| size > SIZE_MAX) {
        return Err(answer::unprocessable(&[format!("$.size: must be <= {SIZE_MAX}")]));
    }
    let centers: Vec<String> = world.offers(Vendor::Runpod).into_iter().map(|offer| offer.region).collect();
    if !centers.iter().any(|center| asked["dataCenter"] == center.as_str()) {
        return Err(answer::bad_request(&format!("data center must be one of: {}", centers.join(", "))));
    }
    let id = world.word("abcdefghijklmnopqrstuvwxyz0123456789", 10);
    let mut volume = asked;
    volume.entry("type").or_insert_with(|| json!("STANDARD"));
    volume.insert("id".to_owned(), json!(id));
    Ok((id, Value::Object(volume)))
}

/// The volume that an order mounts, with its data centre and the path; none where it mounts none.
///
/// # Errors
/// Why it cannot be mounted.
pub(super) fn mounted(asked: &Map<String, Value>, world: &World) -> Result<Option<Mounted>, Box<Response>> {
    let mount = asked.get("mounts").and_then(|mounts| mounts["network"].get(0));
    let Some(mount) = mount else { return Ok(None) };
    let text = |name: &str| mount[name].as_str().unwrap_or_default().to_owned();
    let Some(volume) = VOLUMES.find(world, &text("volumeId")) else {
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
