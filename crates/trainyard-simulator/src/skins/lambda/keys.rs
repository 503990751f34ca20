//! SSH keys: listed, added, deleted. A key of a machine that lives cannot be deleted.

use russh::keys::PublicKey;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trainyard_connector::ssh::SshKey;

use super::LAMBDA;
use super::answers::{data, invalid, refused};
use crate::http::{Request, Response};
use crate::world::World;

/// Where they are kept.
const SHELF: &str = "ssh-keys";
/// Keys of an account.
const KEYS_MAX: usize = 1024;

/// All of them.
pub(super) fn all(world: &World) -> Vec<Value> {
    world.shelf(LAMBDA, |shelf| shelf.get(SHELF).and_then(Value::as_array).cloned().unwrap_or_default())
}

/// The public key of that name.
pub(super) fn public(world: &World, name: &str) -> Option<String> {
    let key = all(world).into_iter().find(|key| key["name"] == name)?;
    key["public_key"].as_str().map(str::to_owned)
}

/// `GET /ssh-keys`.
pub(super) fn list(world: &World) -> Response {
    data(&json!(all(world)))
}

/// `POST /ssh-keys`. Without a public key a pair is made, and its private half is told once.
pub(super) fn add(request: &Request, world: &World) -> Response {
    let Some(body) = request.json() else { return invalid("Invalid request data.") };
    let Some(name) = body["name"].as_str().filter(|name| (1..=64).contains(&name.chars().count())) else {
        return invalid("Invalid request data: name.");
    };
    let id = world.word("0123456789abcdef", 32);
    let mut answer = json!({ "id": id, "name": name });
    match body.get("public_key").filter(|key| !key.is_null()) {
        Some(key) => {
            let text = key
                .as_str()
                .filter(|text| text.len() <= 4096 && PublicKey::from_openssh(text.trim()).is_ok());
            let Some(text) = text else { return invalid("Invalid request data: public_key.") };
            answer["public_key"] = json!(text.trim());
        }
        None => {
            let mut seed = [0; 32];
            let word = world.word("0123456789abcdef", 32);
            seed.iter_mut().zip(word.bytes()).for_each(|(to, from)| *to = from);
            let made = SshKey::from_seed(&seed).and_then(|key| Ok((key.private()?, key)));
            let Ok((private, key)) = made else { return Response::empty(500) };
            answer["public_key"] = json!(key.public());
            answer["private_key"] = json!(private.expose_secret());
        }
    }
    let mut kept = answer.clone();
    if let Some(fields) = kept.as_object_mut() {
        fields.remove("private_key");
        fields.insert("workspace_id".to_owned(), json!("8a6fd1c7"));
    }
    let added = world.shelf(LAMBDA, |shelf| {
        let keys = shelf.entry(SHELF.to_owned()).or_insert_with(|| json!([]));
        let Some(keys) = keys.as_array_mut() else { return false };
        let fits = keys.len() < KEYS_MAX && keys.iter().all(|key| key["name"] != name);
        if fits {
            keys.push(kept);
        }
        fits
    });
    if added { data(&answer) } else { invalid("SSH key name must be unique.") }
}

/// `DELETE /ssh-keys/{id}`.
pub(super) fn delete(world: &World, id: &str) -> Response {
    let keys = all(world);
    let Some(key) = keys.iter().find(|key| key["id"] == id) else {
        return refused(404, "global/not-found", "The requested resource was not found.");
    };
    let in_use =
        world.machines_of(LAMBDA).into_iter().any(|it| it.is_alive() && it.details["ssh_key"] == key["name"]);
    if in_use {
        return invalid("Key is currently in use, cannot delete");
    }
    world.shelf(LAMBDA, |shelf| {
        if let Some(keys) = shelf.get_mut(SHELF).and_then(Value::as_array_mut) {
            keys.retain(|key| key["id"] != id);
        }
    });
    data(&json!({}))
}
