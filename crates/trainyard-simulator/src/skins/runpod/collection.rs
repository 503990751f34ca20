//! What an account has several of, by id: made, listed, read and deleted, all in the same words.

use serde_json::{Map, Value, json};

use super::answer;
use super::check::{Field, body};
use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::World;

/// What was made: its id, and how it is shown from now on; or why not.
pub(super) type Made = Result<(String, Value), Response>;

/// One kind of them.
pub(super) struct Collection {
    /// Where they lie on the shelf: this and the id.
    pub(super) shelf: &'static str,
    /// The field of the listing.
    pub(super) name: &'static str,
    /// What the body of an order has.
    pub(super) fields: &'static [Field],
    /// Makes one of such a body.
    pub(super) make: fn(Map<String, Value>, &World) -> Made,
}

impl Collection {
    /// The collection and one of it; `rest` is the path below it.
    pub(super) fn handle(&self, request: &Request, rest: &[&str], world: &World) -> Response {
        match (request.method.as_str(), rest) {
            ("GET", []) => Response::json(200, &json!({ self.name: self.all(world) })),
            ("POST", []) => match body(request.json(), self.fields) {
                Err(errors) => answer::unprocessable(&errors),
                Ok(asked) => self.add(asked, world),
            },
            ("GET", [id]) => {
                self.find(world, id).map_or_else(answer::not_found, |found| Response::json(200, &found))
            }
            ("DELETE", [id]) => {
                let found = world.shelf(Vendor::Runpod, |shelf| shelf.remove(&self.key(id)));
                if found.is_some() { Response::empty(204) } else { answer::not_found() }
            }
            (_, []) => answer::wrong_method("GET, POST"),
            (_, [_]) => answer::wrong_method("DELETE, GET"),
            _ => answer::problem(404, "Not Found", "The requested path was not found."),
        }
    }

    /// The one of this id, as it is shown.
    pub(super) fn find(&self, world: &World, id: &str) -> Option<Value> {
        world.shelf(Vendor::Runpod, |shelf| shelf.get(&self.key(id)).cloned())
    }

    fn all(&self, world: &World) -> Vec<Value> {
        world.shelf(Vendor::Runpod, |shelf| {
            let these = shelf.iter().filter(|(key, _)| key.starts_with(self.shelf));
            these.map(|(_, shown)| shown.clone()).collect()
        })
    }

    fn add(&self, asked: Map<String, Value>, world: &World) -> Response {
        match (self.make)(asked, world) {
            Ok((id, shown)) => {
                world.shelf(Vendor::Runpod, |shelf| shelf.insert(self.key(&id), shown.clone()));
                Response::json(201, &shown)
            }
            Err(refusal) => refusal,
        }
    }

    fn key(&self, id: &str) -> String {
        format!("{}{id}", self.shelf)
    }
}
