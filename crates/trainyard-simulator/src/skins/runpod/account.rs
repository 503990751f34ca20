//! What belongs to the account: logins at image registries, SSH keys.

use serde_json::{Map, Value, json};

use super::answer;
use super::check::{Field, Rule, body, must};
use super::collection::{Collection, Made};
use super::create::texts;
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

const LOGIN: &[Field] =
    &[must("name", Rule::Word), must("username", Rule::Word), must("password", Rule::Word)];
const KEYS: &[Field] = &[must("keys", Rule::Texts)];
/// `/v2/registries`.
pub(super) const REGISTRIES: Collection =
    Collection { shelf: "registry/", name: "registries", fields: LOGIN, make: login };

/// A name only: nobody is told a password again, so none is kept.
fn login(asked: Map<String, Value>, world: &World) -> Made {
    let id = format!("reg{}", world.word("abcdefghijklmnopqrstuvwxyz0123456789", 20));
    let shown = json!({"id": id, "name": asked.get("name")});
    Ok((id, shown))
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
