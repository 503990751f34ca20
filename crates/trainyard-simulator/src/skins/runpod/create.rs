//! `POST /v2/pods`: a strict body, an order, a pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::check::{Field, Rule, body, may, must, version};
use super::volumes::{self, Mounted};
use super::{answer, pod};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Environment, Kind, Machine, Offer, Order, Refused, World};

const GPU: &[Field] = &[
    must("id", Rule::Word),
    may("count", Rule::AtLeast(1)),
    may("minCudaVersion", Rule::Version),
    may("allowedCudaVersions", Rule::Versions),
    may("minRamPerGpu", Rule::AtLeast(1)),
    may("minVcpuCountPerGpu", Rule::AtLeast(1)),
];
const CPU: &[Field] = &[must("id", Rule::Word), must("vcpuCount", Rule::AtLeast(2))];
const PERSISTENT: &[Field] = &[must("size", Rule::AtLeast(10)), must("path", Rule::Word)];
const NETWORK: &[Field] = &[must("volumeId", Rule::Word), must("path", Rule::Word)];
const MOUNTS: &[Field] = &[may("persistent", Rule::Object(PERSISTENT)), may("network", Rule::One(NETWORK))];
const POD: &[Field] = &[
    must("name", Rule::Word),
    may("image", Rule::Word),
    may("args", Rule::Text),
    may("cmd", Rule::Texts),
    may("entrypoint", Rule::Texts),
    may("gpu", Rule::Object(GPU)),
    may("cpu", Rule::Object(CPU)),
    may("cloud", Rule::OneOf(&["SECURE", "COMMUNITY"])),
    may("dataCenterIds", Rule::Texts),
    may("disk", Rule::AtLeast(1)),
    may("mounts", Rule::Object(MOUNTS)),
    may("ports", Rule::Texts),
    may("env", Rule::TextMap),
    may("registry", Rule::TextOrNull),
    may("startSsh", Rule::Flag),
    may("startJupyter", Rule::Flag),
    may("globalNetworking", Rule::Flag),
    may("templateId", Rule::Word),
];
/// Most ports behind the proxy.
const HTTP_PORTS_MAX: usize = 10;
/// The container disk where none is named.
const DISK_GB: u32 = 20;

/// Orders a pod.
pub(super) fn create(request: &Request, world: &World) -> Response {
    let asked = match body(request.json(), POD) {
        Ok(asked) => asked,
        Err(errors) => return answer::unprocessable(&errors),
    };
    let gpu = match contradictions(&asked, world) {
        Ok(gpu) => gpu,
        Err(refused) => return *refused,
    };
    if request.call.drawn.own("forbidden_pool").is_some() {
        return answer::forbidden();
    }
    if request.call.drawn.own("unknown_image").is_some() {
        let text = "create pod: the image could not be found in its registry, or needs a login";
        return answer::problem(422, "Unprocessable Entity", text);
    }
    let Some(units) = gpu.get("count").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok())
    else {
        // Left out, placement finds nothing, whatever the document says of a default.
        return answer::no_capacity();
    };
    let volume = match volumes::mounted(&asked, world) {
        Ok(volume) => volume,
        Err(refused) => return *refused,
    };
    let in_reach = |offer: &Offer| volume.as_ref().is_none_or(|volume| volume.center == offer.region);
    for offer in candidates(world, &asked, gpu, units).into_iter().filter(in_reach) {
        match world.place(&request.call, order(&asked, &offer, units, volume.as_ref(), world)) {
            Ok(machine) => return Response::json(201, &pod::shown(&machine, &request.call, world)),
            Err(Refused::UnknownOffer | Refused::NoCapacity) => {}
            Err(Refused::NoCredit | Refused::Quota) => {
                return answer::problem(402, "Payment Required", "Insufficient balance to create this pod.");
            }
        }
    }
    answer::no_capacity()
}

/// The GPU that is asked for, where the fields do not contradict each other.
fn contradictions<'a>(
    asked: &'a Map<String, Value>,
    world: &World,
) -> Result<&'a Map<String, Value>, Box<Response>> {
    if asked.contains_key("templateId") {
        return Err(answer::not_found().into());
    }
    if !asked.contains_key("image") {
        return Err(answer::unprocessable(&["$: missing property 'image'".to_owned()]).into());
    }
    let gpu = match (asked.get("gpu").and_then(Value::as_object), asked.get("cpu")) {
        (Some(gpu), None) => gpu,
        (None, Some(_)) => return Err(answer::no_capacity().into()),
        (Some(_), Some(_)) | (None, None) => {
            return Err(answer::bad_request("exactly one of gpu or cpu must be set").into());
        }
    };
    let exact = gpu.get("allowedCudaVersions").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if exact && gpu.contains_key("minCudaVersion") {
        return Err(answer::bad_request("allowedCudaVersions and minCudaVersion exclude each other").into());
    }
    let ports = texts(asked, "ports");
    if ports.iter().any(|port| port_of(port).is_none()) {
        return Err(answer::bad_request("ports must be of the form port/http or port/tcp").into());
    }
    if ports.iter().filter(|port| port.ends_with("/http")).count() > HTTP_PORTS_MAX {
        return Err(answer::bad_request("at most 10 http ports can be exposed").into());
    }
    let login = asked.get("registry").and_then(Value::as_str);
    if login.is_some_and(|id| super::account::REGISTRIES.find(world, id).is_none()) {
        return Err(answer::bad_request("registry credential not found").into());
    }
    Ok(gpu)
}

/// Where such a pod can stand, the fullest place first.
fn candidates(world: &World, asked: &Map<String, Value>, gpu: &Map<String, Value>, units: u32) -> Vec<Offer> {
    let id = gpu.get("id").and_then(Value::as_str).unwrap_or_default();
    let tier = asked.get("cloud").and_then(Value::as_str).unwrap_or("SECURE");
    let centers = texts(asked, "dataCenterIds");
    let least = gpu.get("minCudaVersion").and_then(Value::as_str).and_then(version);
    let exact: Vec<_> = texts(gpu, "allowedCudaVersions").iter().filter_map(|text| version(text)).collect();
    let mut all = world.offers(Vendor::Runpod);
    all.retain(|offer| {
        let cuda = offer.details["cuda"].as_str().and_then(version);
        let most = offer.details["max"].as_u64().unwrap_or(u64::MAX);
        offer.gpu == id
            && offer.tier == tier
            && u64::from(units) <= most
            && (centers.is_empty() || centers.contains(&offer.region))
            && least.is_none_or(|least| cuda.is_some_and(|cuda| cuda >= least))
            && (exact.is_empty() || cuda.is_some_and(|cuda| exact.contains(&cuda)))
    });
    all.sort_by(|one, other| other.left.cmp(&one.left).then(one.id.cmp(&other.id)));
    all
}

fn order(
    asked: &Map<String, Value>,
    offer: &Offer,
    units: u32,
    volume: Option<&Mounted>,
    world: &World,
) -> Order {
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let disk =
        asked.get("disk").and_then(Value::as_u64).and_then(|gb| u32::try_from(gb).ok()).unwrap_or(DISK_GB);
    let ports = texts(asked, "ports");
    let variables: BTreeMap<String, String> = asked
        .get("env")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .map(|(name, value)| match volume {
            Some(volume) => (name, world.mounted(Vendor::Runpod, &volume.id, &volume.path, &value)),
            None => (name, value),
        })
        .collect();
    let mut details = Value::Object(asked.clone());
    details["disk"] = json!(disk);
    details["gpuId"] = json!(offer.gpu);
    // Below 1024 this computer's own programs listen; such a port is shown as mapped and leads nowhere.
    let listened = ports.iter().filter_map(|port| port_of(port)).filter(|port| *port >= 1024);
    Order {
        vendor: Vendor::Runpod,
        name: text("name"),
        tags: BTreeMap::new(),
        offer: offer.id.clone(),
        units,
        price_per_hour: None,
        kind: Kind::Container,
        image: text("image"),
        disk_gb: disk,
        program: program(asked),
        environment: Environment::new(move |machine| environment(&variables, machine)),
        ports: listened.collect(),
        mapped: ports.iter().any(|port| port.ends_with("/tcp")),
        service: None,
        details,
    }
}

/// What runs: `entrypoint` and `cmd`, or the words of `args`. An image's own program is not known here: nothing runs.
fn program(asked: &Map<String, Value>) -> Vec<String> {
    let told = [texts(asked, "entrypoint"), texts(asked, "cmd")].concat();
    if !told.is_empty() {
        return told;
    }
    let args = asked.get("args").and_then(Value::as_str).unwrap_or_default();
    match serde_json::from_str::<Value>(args) {
        Ok(Value::Object(form)) => [texts(&form, "entrypoint"), texts(&form, "cmd")].concat(),
        _ => args.split_whitespace().map(str::to_owned).collect(),
    }
}

/// The order's variables and RunPod's own, which win.
fn environment(variables: &BTreeMap<String, String>, machine: &Machine) -> BTreeMap<String, String> {
    let own = [
        ("RUNPOD_POD_ID", machine.id.clone()),
        ("RUNPOD_API_KEY", machine.key.clone()),
        ("RUNPOD_DC_ID", machine.offer.region.clone()),
        ("RUNPOD_POD_HOSTNAME", format!("{}-64411eb2", machine.id)),
        ("RUNPOD_GPU_COUNT", machine.units.to_string()),
        ("RUNPOD_CPU_COUNT", (machine.units * 8).to_string()),
        ("RUNPOD_PUBLIC_IP", "127.0.0.1".to_owned()),
    ];
    let mut all = variables.clone();
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    for (private, public) in &machine.mapped {
        all.insert(format!("RUNPOD_TCP_PORT_{private}"), public.to_string());
    }
    all
}

/// The texts of a list.
pub(super) fn texts(object: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The number of `8000/http`.
pub(super) fn port_of(port: &str) -> Option<u16> {
    let (number, kind) = port.split_once('/')?;
    matches!(kind, "http" | "tcp").then(|| number.parse().ok())?
}
