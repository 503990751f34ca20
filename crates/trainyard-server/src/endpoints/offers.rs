//! `GET /offers`: machines for rent. Providers that cost nothing, as `local`, rent out nothing.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::Money;
use trainyard_orchestrator::OfferFilter;

use super::Answer;
use crate::error::ApiError;
use crate::query::{Query, wrong};
use crate::state::AppState;
use crate::wire::OffersAnswer;

/// Longest name of a GPU or a region, in bytes.
const WORD_MAX: usize = 256;

/// Machines for rent over all configured providers, sorted by price.
#[utoipa::path(
    get,
    path = "/api/training/offers",
    tag = "providers",
    params(
        ("gpu" = Option<String>, Query, description = "A model, `H100` or `A100-80GB`; several are separated by commas"),
        ("gpu_memory_gb" = Option<u32>, Query, description = "Least memory of each GPU"),
        ("gpu_count" = Option<u32>, Query),
        ("max_price" = Option<String>, Query, description = "US dollars per hour"),
        ("region" = Option<String>, Query),
        ("spot" = Option<bool>, Query),
    ),
    responses((status = 200, description = "The offers", body = OffersAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let query = Query::of(&request, &["gpu", "gpu_memory_gb", "gpu_count", "max_price", "region", "spot"])?;
    let small = |name| query.number(name, 1, 100_000).map(|n| n.and_then(|n| u32::try_from(n).ok()));
    let filter = OfferFilter {
        gpu: word(&query, "gpu")?,
        gpu_memory_gb: small("gpu_memory_gb")?,
        gpu_count: small("gpu_count")?,
        max_price: query.get::<Money>("max_price")?,
        region: word(&query, "region")?,
        spot: query.text("spot").map(|_| query.flag("spot")).transpose()?,
    };
    let offers = state.call(|o| async move { Ok(o.offers(&filter).await) }).await?;
    Ok(HttpResponse::Ok().json(OffersAnswer::from(offers)))
}

/// A short text; an empty one asks about nothing.
fn word(query: &Query, name: &str) -> Result<Option<String>, ApiError> {
    match query.text(name) {
        None | Some("") => Ok(None),
        Some(text) if text.len() <= WORD_MAX => Ok(Some(text.to_owned())),
        Some(_) => Err(wrong(name, &format!("it is longer than {WORD_MAX} bytes"))),
    }
}
