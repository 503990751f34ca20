//! The vendors' wire formats over the one world, one room each.
//!
//! A skin reads a [`Request`], checks the key ([`World::access`]), does what its vendor would do to the world and
//! answers in its vendor's words. It says of each request which operation it is, so that faults and counters are the
//! same for all three. It knows nothing of another skin.

pub(crate) mod lambda;
pub(crate) mod runpod;
pub(crate) mod vastai;

use crate::http::{Request, Response};
use crate::vendor::Vendor;
use crate::world::{Offer, World};

/// Which operation a request is; the words are in [`faults`](crate::faults).
pub(crate) fn operation(vendor: Vendor, request: &Request) -> &'static str {
    match vendor {
        Vendor::Runpod => runpod::operation(request),
        Vendor::Lambda => lambda::operation(request),
        Vendor::Vastai => vastai::operation(request),
    }
}

/// Does it and answers.
pub(crate) async fn handle(vendor: Vendor, request: Request, world: &World) -> Response {
    match vendor {
        Vendor::Runpod => runpod::handle(request, world).await,
        Vendor::Lambda => lambda::handle(request, world).await,
        Vendor::Vastai => vastai::handle(request, world).await,
    }
}

/// What there is to rent where nobody says otherwise.
pub(crate) fn catalogue() -> Vec<Offer> {
    [runpod::catalogue(), lambda::catalogue(), vastai::catalogue()].concat()
}
