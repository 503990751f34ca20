//! An ask becomes an instance: `PUT /api/v0/asks/{id}/`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use trainyard_domain::Money;

use super::answer::{done, invalid, refused};
use super::market::min_bid;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Cause, Environment, Kind, Machine, Offer, Order, Refused, World};

/// What one message of Vast's is about: lengths of image, arguments, label.
const TOO_LONG: &str = "len(image) > 1024, or len(args) > 16384, or len(label) > 256";
/// The words of which a `runtype` consists.
const RUNTYPES: [&str; 9] = [
    "args",
    "ssh",
    "jupyter",
    "ssh_proxy",
    "ssh_direct",
    "ssh_direc",
    "jupyter_proxy",
    "jupyter_direct",
    "jupyter_direc",
];
/// Least disk, in GB.
const DISK_GB_MIN: f64 = 8.0;
/// Most ports of an instance.
const PORTS_MAX: usize = 64;
/// Most characters of the environment.
const ENV_CHARS_MAX: usize = 32_768;
/// The image of who names none.
const IMAGE: &str = "vastai/base-image:@vastai-automatic-tag";

/// Rents an offer.
pub(super) fn create(request: &Request, ask: &str, world: &World) -> Response {
    let Ok(number) = ask.parse::<u64>() else {
        return invalid(3467, "'id' is required and must be a valid offer ID");
    };
    let wish = match Wish::read(request) {
        Ok(wish) => wish,
        Err(response) => return response,
    };
    if request.call.drawn.own("no_instance").is_some() {
        return created(number + 1, "");
    }
    let offers = world.offers(Vendor::Vastai);
    let Some(offer) = offers.into_iter().find(|offer| offer.id == ask) else { return taken(number) };
    let leftover =
        request.call.drawn.own("leftover").is_some() || wish.bid.is_some_and(|bid| bid < min_bid(&offer));
    match world.place(&request.call, wish.order(&offer)) {
        Ok(machine) if leftover => {
            // The machine is gone again before anybody sees it run: stopping one that was placed is fine.
            let _ = world.stop(Vendor::Vastai, &machine.id, Cause::Preempted);
            let id: u64 = machine.id.parse().unwrap_or_default();
            Response::json(
                400,
                &json!({
                    "success": false, "error": "invalid_price", "ask_id": number, "new_contract": id,
                    "msg": "error 400/3908: bid is too low",
                }),
            )
        }
        Ok(machine) => {
            if request.call.drawn.own("stops").is_some() {
                let _ = world.stop(Vendor::Vastai, &machine.id, Cause::Console);
            }
            created(machine.id.parse().unwrap_or_default(), &machine.key)
        }
        Err(Refused::UnknownOffer | Refused::NoCapacity) => taken(number),
        Err(Refused::NoCredit) => {
            refused(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
        }
        Err(Refused::Quota) => refused(
            400,
            "invalid_args",
            "Your account has reached its spend rate limit; verify your email or contact support.",
        ),
    }
}

fn created(id: u64, key: &str) -> Response {
    done(json!({"new_contract": id, "instance_api_key": key}))
}

/// Somebody was faster.
fn taken(ask: u64) -> Response {
    let msg = format!("error 404/3603: no_such_ask  Instance type by id {ask} is not available.");
    Response::json(400, &json!({"success": false, "error": "invalid_args", "msg": msg, "ask_id": ask}))
}

/// What is asked for, read and checked.
struct Wish {
    image: String,
    label: String,
    runtype: String,
    onstart: String,
    args: Vec<String>,
    env: Map<String, Value>,
    disk_gb: f64,
    bid: Option<Decimal>,
    ports: Vec<u16>,
}

impl Wish {
    fn read(request: &Request) -> Result<Wish, Response> {
        let body = request.json().filter(Value::is_object);
        let body = body.ok_or_else(|| {
            Response::json(400, &json!({"error": "invalid_request", "msg": "Invalid json body"}))
        })?;
        if body.get("id").is_some() {
            return Err(refused(400, "invalid_args", "params duplicated in URL and body: ['id']"));
        }
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let args = args_of(&body)?;
        let runtype = match text("runtype") {
            said if said.is_empty() => (if args.is_empty() { "ssh" } else { "args" }).to_owned(),
            said => said,
        };
        if !runtype.split_whitespace().all(|word| RUNTYPES.contains(&word)) {
            return Err(invalid(3467, &format!("runtype {runtype} is not known")));
        }
        let env = env_of(&body)?;
        let wish = Wish {
            image: Some(text("image")).filter(|image| !image.is_empty()).unwrap_or_else(|| IMAGE.to_owned()),
            label: text("label"),
            runtype,
            onstart: text("onstart"),
            args,
            ports: ports_of(&env),
            env,
            disk_gb: number(body.get("disk")).unwrap_or(DISK_GB_MIN),
            bid: bid_of(&body)?,
        };
        wish.check()?;
        Ok(wish)
    }

    fn check(&self) -> Result<(), Response> {
        let args =
            self.onstart.chars().count() + self.args.iter().map(|arg| arg.chars().count()).sum::<usize>();
        if self.image.chars().count() > 1024 || args > 16_384 || self.label.chars().count() > 256 {
            return Err(invalid(3471, TOO_LONG));
        }
        if self.disk_gb < DISK_GB_MIN {
            return Err(invalid(3468, &format!("disk must be at least {DISK_GB_MIN} GB")));
        }
        let env = self.env.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>();
        if env > ENV_CHARS_MAX || self.ports.len() > PORTS_MAX {
            return Err(invalid(3469, "env is too long"));
        }
        Ok(())
    }

    /// The program that runs: in `args` mode the image's own with `onstart` in place of its entrypoint; else Vast's own,
    /// which runs `onstart` as a script and never ends.
    fn program(&self) -> Vec<String> {
        if self.runtype != "args" {
            let forever = "sh -c \"$1\"; while :; do sleep 3600; done";
            return ["sh", "-c", forever, "onstart", &self.onstart].map(str::to_owned).to_vec();
        }
        if self.onstart.is_empty() {
            // The image's own entrypoint, which is not simulated: the arguments are the program.
            return self.args.clone();
        }
        [std::slice::from_ref(&self.onstart), &self.args].concat()
    }

    fn order(&self, offer: &Offer) -> Order {
        let given: BTreeMap<String, String> = self
            .env
            .iter()
            .filter(|(name, _)| !name.starts_with('-'))
            .map(|(name, value)| {
                (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect();
        let pairs: Vec<Value> = self.env.iter().map(|(name, value)| json!([name, value])).collect();
        Order {
            vendor: Vendor::Vastai,
            name: self.label.clone(),
            tags: BTreeMap::new(),
            offer: offer.id.clone(),
            units: 1,
            price_per_hour: self.bid.and_then(|bid| bid.to_string().parse::<Money>().ok()),
            kind: Kind::Container,
            image: self.image.clone(),
            disk_gb: self.disk_gb.ceil() as u32,
            program: self.program(),
            environment: Environment::new(move |machine| environment(machine, &given)),
            ports: self.ports.clone(),
            mapped: true,
            service: None,
            details: json!({
                "runtype": self.runtype, "onstart": self.onstart, "args": self.args, "env": pairs,
                "is_bid": self.bid.is_some(),
            }),
        }
    }
}

/// What a container's first process is given.
fn environment(machine: &Machine, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut environment = given.clone();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("CONTAINER_ID", machine.id.clone());
    set("CONTAINER_API_KEY", machine.key.clone());
    set("VAST_CONTAINERLABEL", format!("C.{}", machine.id));
    set("PUBLIC_IPADDR", "127.0.0.1".to_owned());
    set("GPU_COUNT", machine.offer.gpus.to_string());
    set("DATA_DIRECTORY", machine.root.display().to_string());
    for (inside, outside) in &machine.mapped {
        set(&format!("VAST_TCP_PORT_{inside}"), outside.to_string());
    }
    environment
}

fn args_of(body: &Value) -> Result<Vec<String>, Response> {
    match (body.get("args"), body.get("args_str").and_then(Value::as_str)) {
        (Some(Value::Array(args)), _) => {
            let texts = args.iter().map(|arg| arg.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| invalid(3467, "args must be a list of strings"))
        }
        (None | Some(Value::Null), Some(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        (None | Some(Value::Null), None) => Ok(Vec::new()),
        (Some(_), _) => Err(invalid(3467, "args must be a list of strings")),
    }
}

fn env_of(body: &Value) -> Result<Map<String, Value>, Response> {
    match body.get("env") {
        Some(Value::Object(env)) => Ok(env.clone()),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(refused(400, "invalid_args", "invalid env type: env must be a dict")),
    }
}

/// The inner ports of keys such as `-p 8000:8000`, `-p 8082:8082/udp`. UDP is not simulated.
fn ports_of(env: &Map<String, Value>) -> Vec<u16> {
    let port = |key: &String| {
        let (_, inside) = key.strip_prefix("-p ")?.trim().rsplit_once(':')?;
        inside.strip_suffix("/tcp").unwrap_or(inside).parse().ok()
    };
    env.keys().filter_map(port).collect()
}

fn bid_of(body: &Value) -> Result<Option<Decimal>, Response> {
    let Some(price) = number(body.get("price")) else { return Ok(None) };
    let bid = price.to_string().parse::<Decimal>().ok();
    match bid.filter(|_| (0.001..=128.0).contains(&price)) {
        Some(bid) => Ok(Some(bid)),
        None => Err(refused(400, "invalid_price", "price must be between 0.001 and 128")),
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ports_of;

    #[test]
    fn ports_stand_in_the_environment() {
        let env =
            json!({"A": "b", "-p 8000:8000": "1", "-p 9:9/tcp": "1", "-p 8082:8082/udp": "1", "-h x": ""});
        assert_eq!(ports_of(env.as_object().unwrap()), [8000, 9]);
    }
}
