//! What belongs to the account: logins at image registries, SSH keys.

use serde_json::{Value, json};

use super::answer;
use super::check::{Field, Rule, body, must};
use super::create::texts;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

const LOGIN: &[Field] =
    &[must("name", Rule::Word), must("username", Rule::Word), must("password", Rule::Word)];
const KEYS: &[Field] = &[must("keys", Rule::Texts)];
/// Where logins lie on the shelf, by id. Names only: nobody is told a password again, so none is kept.
const SHELF: &str = "registry/";

/// `/v2/registries` and one of them.
pub(super) fn registries(request: &Request, rest: &[&str], world: &World) -> Response {
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let all = world.shelf(Vendor::Runpod, |shelf| {
                let logins = shelf.iter().filter(|(key, _)| key.starts_with(SHELF));
                logins.map(|(_, login)| login.clone()).collect::<Vec<Value>>()
            });
            Response::json(200, &json!({ "registries": all }))
        }
        ("POST", []) => match body(request.json(), LOGIN) {
            Err(errors) => answer::unprocessable(&errors),
            Ok(login) => {
                let id = format!("reg{}", world.word("abcdefghijklmnopqrstuvwxyz0123456789", 20));
                let made = json!({"id": id, "name": login.get("name")});
                world.shelf(Vendor::Runpod, |shelf| shelf.insert(format!("{SHELF}{id}"), made.clone()));
                Response::json(201, &made)
            }
        },
        ("GET", [id]) => {
            let found = world.shelf(Vendor::Runpod, |shelf| shelf.get(&format!("{SHELF}{id}")).cloned());
            found.map_or_else(answer::not_found, |login| Response::json(200, &login))
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

/// Whether there is such a login.
pub(super) fn has_registry(world: &World, id: &str) -> bool {
    world.shelf(Vendor::Runpod, |shelf| shelf.contains_key(&format!("{SHELF}{id}")))
}

/// `/v2/account/ssh-keys`: read, or replaced as a whole.
pub(super) fn ssh_keys(request: &Request, world: &World) -> Response {
    let name = "ssh-keys".to_owned();
    match request.method.as_str() {
        "GET" => {
            let keys = world.shelf(Vendor::Runpod, |shelf| shelf.get(&name).cloned());
            Response::json(200, &json!({"keys": keys.unwrap_or_else(|| json!([]))}))
        }
        "PUT" => match body(request.json(), KEYS) {
            Err(errors) => answer::unprocessable(&errors),
            Ok(keys) => {
                let keys = json!(texts(&keys, "keys"));
                world.shelf(Vendor::Runpod, |shelf| shelf.insert(name, keys.clone()));
                Response::json(200, &json!({ "keys": keys }))
            }
        },
        _ => answer::wrong_method("GET, PUT"),
    }
}
