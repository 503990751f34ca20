//! Lambda's wire.

use crate::http::{Request, Response};
use crate::world::{Offer, World};

/// Which operation a request is.
pub(crate) fn operation(_request: &Request) -> &'static str {
    "other"
}

/// Does it and answers.
pub(crate) async fn handle(_request: Request, _world: &World) -> Response {
    Response::empty(404)
}

/// What there is to rent.
pub(crate) fn catalogue() -> Vec<Offer> {
    Vec::new()
}
