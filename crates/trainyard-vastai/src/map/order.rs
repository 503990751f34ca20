//! An order in Vast's words: which ask, what body, what bid.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trainyard_connector::{ConnectorError, ErrorKind, Offer, ProvisionOrder, RegistryLogin};

use super::offers::disk_per_hour;

/// Least disk that Vast rents, in GB.
pub(crate) const DISK_GB_MIN: u32 = 8;
/// Most characters of `onstart` and `args` together. Vast's own statements differ (4048, 4096, 16384): this satisfies all.
const ARGS_CHARS_MAX: usize = 4000;
/// Most characters of an image's name.
const IMAGE_CHARS_MAX: usize = 1024;
/// Bounds of a bid, in dollars per hour, by Vast's API reference.
const BID_MIN: Decimal = Decimal::from_parts(1, 0, 0, false, 3);
const BID_MAX: Decimal = Decimal::from_parts(128, 0, 0, false, 0);
/// The program that runs the bootstrap: every image has one, and no path is fixed.
const SHELL: &str = "sh";

/// What an [`Offer::id`] of ours says: `machine:{id}/ask:{id}/disk:{dollars per GB and month}`. The machine stands first,
/// because it is what a bad host is avoided by; asks come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) machine: u64,
    pub(crate) ask: u64,
    pub(crate) storage_cost: Decimal,
}

impl Ask {
    /// The id of the offer.
    pub(crate) fn id(&self) -> String {
        format!("machine:{}/ask:{}/disk:{}", self.machine, self.ask, self.storage_cost.normalize())
    }

    /// Reads the id of an offer of ours.
    ///
    /// # Errors
    /// `Invalid`, effect none.
    pub(crate) fn of(id: &str) -> Result<Ask, ConnectorError> {
        let mut parts = id.split('/');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).map(str::to_owned);
        let read = || {
            let machine = part("machine:")?.parse().ok()?;
            let ask = part("ask:")?.parse().ok()?;
            let storage_cost = part("disk:")?.parse().ok()?;
            Some(Ask { machine, ask, storage_cost })
        };
        let mut read = read;
        read().ok_or_else(|| invalid("the order names an offer that is not one of Vast.ai's"))
    }
}

/// What is bid for a spot offer: its price without the disk, which is charged beside the bid. The price of such an offer
/// already holds the margin over the lowest bid.
fn bid_of(offer: &Offer, ask: &Ask, disk_gb: u32) -> Decimal {
    let gpu = offer.price_per_hour.decimal() - disk_per_hour(ask.storage_cost, disk_gb);
    gpu.clamp(BID_MIN, BID_MAX)
}

/// The disk to rent for an order.
pub(crate) fn disk_gb(order: &ProvisionOrder) -> u32 {
    order.resources.disk_gb.max(DISK_GB_MIN)
}

/// The body of `PUT /api/v0/asks/{id}/`. Whatever is in it comes back in clear in every reading, so nothing secret may
/// be in `env` but the attempt's own TLS key.
///
/// # Errors
/// `Invalid`, effect none: something does not fit Vast's limits.
pub(crate) fn create_body(
    order: &ProvisionOrder,
    offer: &Offer,
    default_image: &str,
    port: u16,
    script: &str,
    env: &BTreeMap<String, String>,
) -> Result<Value, ConnectorError> {
    let image = order.image.as_deref().unwrap_or(default_image);
    if image.len() > IMAGE_CHARS_MAX || image.is_empty() || image.chars().any(char::is_whitespace) {
        return Err(invalid("Vast.ai takes image names of 1 to 1024 characters without blanks"));
    }
    if SHELL.len() + "-c".len() + script.len() > ARGS_CHARS_MAX {
        return Err(invalid("the bootstrap is longer than what Vast.ai takes"));
    }
    let mut variables: BTreeMap<String, Value> =
        env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    variables.insert(format!("-p {port}:{port}"), json!("1"));
    let login = order.registry.as_ref().map(|login| image_login(login, image)).transpose()?;
    let ask = Ask::of(&offer.id)?;
    let bid = offer.spot.then(|| bid_of(offer, &ask, disk_gb(order)).to_f64()).flatten();
    let mut body = json!({
        "client_id": "me",
        "image": image,
        "disk": disk_gb(order),
        "label": order.name.as_str(),
        "runtype": "args",
        "onstart": SHELL,
        "args": ["-c", script],
        "env": variables,
        "target_state": "running",
        // Without it a machine that cannot start now would be kept, stopped, and bill its disk.
        "cancel_unavail": true,
    });
    if let (Some(body), Some(login)) = (body.as_object_mut(), login) {
        body.insert("image_login".to_owned(), json!(login));
    }
    if let (Some(body), Some(bid)) = (body.as_object_mut(), bid) {
        body.insert("price".to_owned(), json!(bid));
    }
    Ok(body)
}

/// A login as `docker login` takes it, which is the form that Vast wants. It is split at blanks there, so what holds any
/// cannot be sent.
fn image_login(login: &RegistryLogin, image: &str) -> Result<String, ConnectorError> {
    let password = login.password.expose_secret();
    let odd = |text: &str| {
        text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control() || "'\"\\`$".contains(c))
    };
    if odd(&login.username) || odd(password) {
        let text =
            "Vast.ai takes a registry's user and password only without blanks, quotes, `$` and backslashes";
        return Err(invalid(text));
    }
    Ok(format!("-u {} -p {} {}", login.username, password, registry_of(image)))
}

/// The registry that an image's name speaks of, by Docker's rule: the first part, where it looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn invalid(text: &str) -> ConnectorError {
    ConnectorError::refused(ErrorKind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use trainyard_connector::{Arch, Offer, ProvisionOrder, RegistryLogin, Stock};
    use trainyard_domain::Resources;

    use super::{Ask, create_body, registry_of};

    fn order() -> ProvisionOrder {
        ProvisionOrder {
            name: "ty-abcdefgh-01k0000000000000000000000a".parse().expect("a name"),
            resources: Resources { disk_gb: 20, ..Resources::default() },
            offer: None,
            image: None,
            registry: None,
        }
    }

    fn offer(spot: bool, price: &str) -> Offer {
        Offer {
            id: "machine:178/ask:4242/disk:0.15".to_owned(),
            gpu: "RTX4090".to_owned(),
            gpu_memory_gb: 24,
            gpu_count: 1,
            price_per_hour: price.parse().expect("money"),
            traffic_per_gb: "0".parse().expect("money"),
            region: "US, Texas".to_owned(),
            spot,
            stock: Stock::Low,
            arch: Arch::X86_64,
            disk_gb_max: None,
        }
    }

    #[test]
    fn an_order_is_the_body_that_vast_documents() {
        let env = BTreeMap::from([("TRAINYARD_BOOT_PORT".to_owned(), "12345".to_owned())]);
        let body = create_body(&order(), &offer(false, "0.4"), "img:1", 12345, "echo hello", &env);
        assert_eq!(
            body.expect("a body"),
            json!({
                "client_id": "me", "image": "img:1", "disk": 20, "runtype": "args", "onstart": "sh",
                "label": "ty-abcdefgh-01k0000000000000000000000a", "args": ["-c", "echo hello"],
                "env": {"TRAINYARD_BOOT_PORT": "12345", "-p 12345:12345": "1"},
                "target_state": "running", "cancel_unavail": true,
            })
        );
    }

    #[test]
    fn a_bid_is_the_price_without_the_disk() {
        // 20 GB at 0.15 dollars a month of 720 hours: 0.0041666… an hour.
        let body = create_body(&order(), &offer(true, "0.2041666667"), "img", 1, "x", &BTreeMap::new());
        let bid = body.expect("a body")["price"].as_f64().expect("a bid");
        assert!((bid - 0.2).abs() < 1e-6, "{bid}");
    }

    #[test]
    fn the_least_disk_is_eight() {
        let small = ProvisionOrder { resources: Resources { disk_gb: 1, ..Resources::default() }, ..order() };
        let body = create_body(&small, &offer(false, "1"), "img", 1, "x", &BTreeMap::new());
        assert_eq!(body.expect("a body")["disk"], 8);
    }

    #[test]
    fn what_vast_would_refuse_is_refused_here() {
        let long = "x".repeat(4000);
        let none = BTreeMap::new();
        assert!(create_body(&order(), &offer(false, "1"), "img", 1, &long, &none).is_err());
        assert!(create_body(&order(), &offer(false, "1"), "a b", 1, "x", &none).is_err());
        let login = RegistryLogin { username: "me".to_owned(), password: "a b".to_owned().into() };
        let private = ProvisionOrder { registry: Some(login), ..order() };
        let error =
            create_body(&private, &offer(false, "1"), "img", 1, "x", &none).expect_err("it is refused");
        assert!(!error.to_string().contains("a b"), "{error}");
        let foreign = Offer { id: "H100".to_owned(), ..offer(false, "1") };
        assert!(create_body(&order(), &foreign, "img", 1, "x", &none).is_err());
    }

    #[test]
    fn a_private_image_brings_its_login() {
        let login = RegistryLogin { username: "me".to_owned(), password: "token".to_owned().into() };
        let private =
            ProvisionOrder { registry: Some(login), image: Some("ghcr.io/a/b:c".to_owned()), ..order() };
        let body = create_body(&private, &offer(false, "1"), "img", 1, "x", &BTreeMap::new());
        assert_eq!(body.expect("a body")["image_login"], "-u me -p token ghcr.io");
        for (image, registry) in [
            ("a/b", "docker.io"),
            ("ubuntu:22", "docker.io"),
            ("localhost/x", "localhost"),
            ("r:5000/x", "r:5000"),
        ] {
            assert_eq!(registry_of(image), registry, "{image}");
        }
    }

    #[test]
    fn the_id_of_an_offer_is_read_back() {
        let ask = Ask { machine: 178, ask: 4242, storage_cost: "0.150".parse().expect("a decimal") };
        assert_eq!(ask.id(), "machine:178/ask:4242/disk:0.15");
        let back = Ask::of(&ask.id()).expect("an ask");
        assert_eq!((back.machine, back.ask, back.id()), (178, 4242, ask.id()));
        for odd in ["", "machine:1", "ask:1/machine:2/disk:0", "machine:x/ask:1/disk:0", "machine:1/ask:1"] {
            assert!(Ask::of(odd).is_err(), "{odd}");
        }
    }
}
