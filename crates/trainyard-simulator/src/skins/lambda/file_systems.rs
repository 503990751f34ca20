//! File systems: made, listed, deleted; mounted at launch, in their own region only. They are not billed here.

use serde_json::{Value, json};

use super::LAMBDA;
use super::answers::{advised, data, invalid, refused};
use super::catalogue;
use crate::http::{Request, Response};
use crate::world::World;

/// Where they are kept.
const SHELF: &str = "file-systems";
/// File systems of an account.
const MAX: usize = 24;

/// All of them.
pub(super) fn all(world: &World) -> Vec<Value> {
    world.shelf(LAMBDA, |shelf| shelf.get(SHELF).and_then(Value::as_array).cloned().unwrap_or_default())
}

/// `GET /file-systems`.
pub(super) fn list(world: &World) -> Response {
    data(&json!(all(world)))
}

/// `POST /filesystems`.
pub(super) fn create(request: &Request, world: &World) -> Response {
    let Some(body) = request.json() else { return invalid("Invalid request data.") };
    let Some(name) = body["name"].as_str().filter(|name| is_name(name)) else {
        return invalid("Invalid request data: name.");
    };
    let Some(region) = body["region"].as_str().filter(|name| catalogue::region_names(world).contains(*name))
    else {
        return invalid("Invalid request data: region.");
    };
    let mut there = all(world);
    if there.iter().any(|one| one["name"] == name) {
        return refused(400, "global/duplicate", "A filesystem with that name exists.");
    }
    if there.len() >= MAX {
        return refused(400, "global/quota-exceeded", "Quota exceeded.");
    }
    let made = json!({
        "id": world.word("0123456789abcdef", 32), "name": name, "mount_point": mount_point(name),
        "created": "2026-05-01T10:00:00+00:00", "created_by": {"id": "u", "email": "owner@example.org", "status": "active"},
        "is_in_use": false, "region": catalogue::region(region), "bytes_used": 0,
    });
    there.push(made.clone());
    world.shelf(LAMBDA, |shelf| shelf.insert(SHELF.to_owned(), json!(there)));
    data(&made)
}

/// `DELETE /filesystems/{id}`.
pub(super) fn delete(world: &World, id: &str) -> Response {
    let (gone, rest): (Vec<Value>, Vec<Value>) = all(world).into_iter().partition(|one| one["id"] == id);
    if gone.is_empty() {
        return refused(404, "global/object-does-not-exist", "Filesystem was not found.");
    }
    world.shelf(LAMBDA, |shelf| shelf.insert(SHELF.to_owned(), json!(rest)));
    data(&json!({ "deleted_ids": [id] }))
}

/// Looks whether those names can be mounted in that region.
///
/// # Errors
/// The answer that refuses the launch.
pub(super) fn check(names: &[String], region: &str, world: &World) -> Result<(), Response> {
    let there = all(world);
    let fits = |name: &&String| {
        there.iter().any(|one| one["name"] == name.as_str() && one["region"]["name"] == region)
    };
    let Some(missing) = names.iter().find(|name| !fits(name)) else { return Ok(()) };
    let text = format!(
        "Filesystem with name '{missing}' does not exist in region '{region}', or you do not have permission to access it."
    );
    Err(advised(404, "global/object-does-not-exist", &text, "Check its name and try again."))
}

/// What the machine sees of its order: what is mounted lies in directories of this computer.
pub(super) fn mounted(names: &[String], text: &str, world: &World) -> String {
    names.iter().fold(text.to_owned(), |text, name| world.mounted(LAMBDA, name, &mount_point(name), &text))
}

fn mount_point(name: &str) -> String {
    format!("/lambda/nfs/{name}")
}

/// `^[a-zA-Z]+[0-9a-zA-Z-]*$`, 1 to 60 signs.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    begins && name.len() <= 60 && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
