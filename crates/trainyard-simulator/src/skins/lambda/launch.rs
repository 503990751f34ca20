//! An order, checked in Lambda's sequence: fields, then what it names, then quota, then capacity.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::answers::{advised, data, invalid, refused};
use super::boot::{self, Boot};
use super::cloud_init::CloudInit;
use super::{LAMBDA, catalogue, file_systems, keys};
use crate::http::{Request, Response};
use crate::world::{Environment, Kind, Order, Refused, World};

/// Most bytes of `user_data`. The document says a megabyte; which one, it does not.
const USER_DATA_BYTES_MAX: usize = 1_000_000;
/// The variable that tells which port the agent will listen on: all machines share this computer's ports.
const PORT_VARIABLE: &str = "TRAINYARD_BOOT_PORT";

/// The fields of an order that matter here.
struct Asked {
    region: String,
    kind: String,
    ssh_key: String,
    name: Option<String>,
    hostname: Option<String>,
    family: String,
    user_data: String,
    tags: Vec<(String, String)>,
    file_systems: Vec<String>,
}

/// `POST /instance-operations/launch`.
pub(super) fn launch(request: &Request, world: &World) -> Response {
    let asked = match request.json().as_ref().map(read) {
        Some(Ok(asked)) => asked,
        Some(Err(text)) => return invalid(&text),
        None => return invalid("Invalid request data."),
    };
    if !catalogue::region_names(world).contains(&asked.region) {
        return invalid(&format!("Region {} does not exist", asked.region));
    }
    let offers = world.offers(LAMBDA);
    if !offers.iter().any(|offer| catalogue::type_name(offer) == asked.kind) {
        return invalid(&format!("Instance type {} does not exist", asked.kind));
    }
    let missing = |what: String| {
        let status = if request.call.drawn.own("missing_is_400").is_some() { 400 } else { 404 };
        advised(status, "global/object-does-not-exist", &what, "Check its name and try again.")
    };
    let Some(public) = keys::public(world, &asked.ssh_key) else {
        return missing(format!("SSH key with name '{}' does not exist.", asked.ssh_key));
    };
    if !catalogue::FAMILIES.contains(&asked.family.as_str()) {
        return missing(format!("Image family '{}' does not exist.", asked.family));
    }
    if let Err(refused) = file_systems::check(&asked.file_systems, &asked.region, world) {
        return refused;
    }
    if let Some(refused) = switched(request) {
        return refused;
    }
    match world.place(&request.call, order(asked, public, request, world)) {
        Ok(machine) => data(&json!({ "instance_ids": [machine.id] })),
        Err(Refused::NoCapacity | Refused::UnknownOffer) => advised(
            400,
            "instance-operations/launch/insufficient-capacity",
            "Not enough capacity to fulfill launch request.",
            "Choose an instance type with more availability, or try again later.",
        ),
        Err(Refused::Quota) => quota(),
        Err(Refused::NoCredit) => inactive(),
    }
}

fn quota() -> Response {
    let suggestion = "Contact Support to increase your quota.";
    advised(400, "global/quota-exceeded", "Quota exceeded.", suggestion)
}

fn inactive() -> Response {
    let suggestion = "Make sure you have verified your email address and have a valid payment method.";
    advised(403, "global/account-inactive", "Your account is inactive.", suggestion)
}

/// What a switch refuses.
fn switched(request: &Request) -> Option<Response> {
    let on = |name: &str| request.call.drawn.own(name).is_some();
    if on("account_inactive") {
        Some(inactive())
    } else if on("invalid_address") {
        let suggestion = "Make sure your billing address is valid and try again.";
        Some(advised(403, "global/invalid-address", "Your billing address is invalid.", suggestion))
    } else if on("quota") {
        Some(quota())
    } else if on("provider_unavailable") {
        Some(refused(400, "provider/internal-unavailable", "Provider unavailable"))
    } else {
        None
    }
}

/// Reads an order, or says what is wrong with it.
fn read(body: &Value) -> Result<Asked, String> {
    let wrong = |field: &str| format!("Invalid request data: {field}.");
    let text = |field: &str| body[field].as_str().map(str::to_owned).ok_or_else(|| wrong(field));
    let maybe = |field: &str| match &body[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong(field)),
    };
    if body["quantity"].as_u64().is_some_and(|count| count != 1) {
        return Err("Requested too many instances.".to_owned());
    }
    let [Value::String(ssh_key)] = body["ssh_key_names"].as_array().map(Vec::as_slice).unwrap_or_default()
    else {
        return Err(wrong("ssh_key_names"));
    };
    let user_data = maybe("user_data")?.unwrap_or_default();
    if user_data.len() > USER_DATA_BYTES_MAX {
        return Err(wrong("user_data"));
    }
    let name = maybe("name")?;
    if name.as_ref().is_some_and(|name| name.chars().count() > 64) {
        return Err(wrong("name"));
    }
    let hostname = maybe("hostname")?;
    if hostname.as_deref().is_some_and(|name| !is_hostname(name)) {
        return Err(wrong("hostname"));
    }
    Ok(Asked {
        region: text("region_name")?,
        kind: text("instance_type_name")?,
        ssh_key: ssh_key.clone(),
        name,
        hostname,
        family: body["image"]["family"].as_str().unwrap_or("lambda-stack-22-04").to_owned(),
        user_data,
        tags: tags(&body["tags"]).ok_or_else(|| wrong("tags"))?,
        file_systems: names(&body["file_system_names"]).ok_or_else(|| wrong("file_system_names"))?,
    })
}

/// A list of texts, or none.
fn names(list: &Value) -> Option<Vec<String>> {
    if list.is_null() {
        return Some(Vec::new());
    }
    list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// `^[a-z0-9][0-9a-z-]{0,62}$`
fn is_hostname(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    bytes.next().is_some_and(plain) && bytes.all(|byte| plain(byte) || byte == b'-') && name.len() <= 63
}

/// Keys of at most 55 signs, `^[a-z][a-z0-9-:]+$`; values of at most 128.
fn tags(tags: &Value) -> Option<Vec<(String, String)>> {
    if tags.is_null() {
        return Some(Vec::new());
    }
    let one = |tag: &Value| {
        let (key, value) = (tag["key"].as_str()?, tag["value"].as_str()?);
        let mut bytes = key.bytes();
        let begins = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b':';
        let good = begins && (2..=55).contains(&key.len()) && bytes.all(rest) && value.chars().count() <= 128;
        good.then(|| (key.to_owned(), value.to_owned()))
    };
    tags.as_array()?.iter().map(one).collect()
}

fn order(asked: Asked, public: String, request: &Request, world: &World) -> Order {
    let drawn = &request.call.drawn;
    let seconds = |name: &str| drawn.own(name).map(|value| value.as_f64().unwrap_or(5.0));
    let on = |name: &str| drawn.own(name).is_some();
    let user_data = file_systems::mounted(&asked.file_systems, &asked.user_data, world);
    let mut init = CloudInit::read(&user_data);
    if on("other_host_key") {
        init.host_key = None;
    }
    if on("no_cloud_init") {
        init.script = None;
    }
    let port = CloudInit::variable(&asked.user_data, PORT_VARIABLE).and_then(|port| port.parse().ok());
    let boot = Arc::new(Boot { init, public, sshd_lag_s: seconds("sshd_lag").unwrap_or_default() });
    Order {
        vendor: LAMBDA,
        name: asked.name.unwrap_or_default(),
        tags: asked.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
        offer: format!("{}@{}", asked.kind, asked.region),
        units: 1,
        price_per_hour: None,
        kind: Kind::Whole,
        image: asked.family,
        // Whole machines come with their disk.
        disk_gb: 0,
        program: Vec::new(),
        environment: environment(world),
        ports: port.into_iter().collect(),
        mapped: false,
        service: Some(boot::service(boot)),
        details: json!({
            "ssh_key": asked.ssh_key,
            "hostname": asked.hostname,
            "file_systems": asked.file_systems,
            "tags": asked.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Vec<_>>(),
            "unhealthy": on("unhealthy"),
            "no_private_ip": on("no_private_ip"),
            "active_lag_s": seconds("active_lag"),
            "terminate_blocked_s": seconds("terminate_blocked"),
        }),
    }
}

/// The user `ubuntu`'s, whose `PATH` begins with what the first boot installs.
fn environment(world: &World) -> Environment {
    let path = world.options().path.to_string_lossy().into_owned();
    Environment::new(move |machine| {
        let bin = boot::bin(machine);
        let set = [
            ("PATH", format!("{}:{path}", bin.display())),
            ("USER", "ubuntu".to_owned()),
            ("LOGNAME", "ubuntu".to_owned()),
        ];
        set.map(|(name, value)| (name.to_owned(), value)).into()
    })
}
