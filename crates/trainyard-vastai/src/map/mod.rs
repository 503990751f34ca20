//! The only room that speaks both languages: ours and Vast.ai's. Pure; no call, no clock.

mod bill;
mod offers;
mod order;
mod status;

pub(crate) use bill::{charged, charges_query};
pub(crate) use offers::{names_like, offers_of, search_body};
pub(crate) use order::{Ask, create_body};
pub(crate) use status::{Reading, address_of, arch_of, labelled, reading_of};

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use trainyard_connector::{ConnectorError, ErrorKind, HttpCall, SelfRemoval};
use trainyard_domain::Money;

use crate::wire::{Instance, Num};

/// Decimals of a price that are kept. Vast's are floats with noise far behind.
const DECIMALS: u32 = 6;

/// An amount of Vast's as exact money; none for what is none (negative, too much).
fn money(amount: Num) -> Option<Money> {
    let decimal = Decimal::from_f64(amount.0)?.round_dp(DECIMALS).normalize();
    decimal.to_string().parse().ok()
}

/// How an instance reads and removes itself: Vast puts a key into every container that opens that instance alone, as its
/// documentation of a container's environment says; `url` is the API's.
///
/// # Errors
/// `Invalid` for an address with signs that no order may carry.
pub(crate) fn self_removal(url: &str) -> Result<SelfRemoval, ConnectorError> {
    // Without the slash at its end Vast redirects, which not every client follows with a DELETE.
    let own = format!("{}/api/v0/instances/%CONTAINER_ID%/", url.trim_end_matches('/'));
    let call = |method| {
        HttpCall::new(method, &own, "CONTAINER_API_KEY").map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "an instance cannot be told Vast.ai's address")
                .because(error)
        })
    };
    Ok(SelfRemoval { probe: call("GET")?, remove: call("DELETE")? })
}

/// What an instance costs per hour now, where the reading tells.
pub(crate) fn price_of(instance: &Instance) -> Option<Money> {
    instance.dph_total.and_then(money)
}

/// Money that the vendor spoke of as a credit; a debt counts as nothing left.
pub(crate) fn credit(amount: Num) -> Option<Money> {
    money(Num(amount.0.max(0.0)))
}
