//! `GET /docs`: the page of the API's description, served from the binary.

use std::sync::{Arc, OnceLock};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use utoipa_swagger_ui::Config;

use super::{Answer, part};
use crate::error::ApiError;

static CONFIG: OnceLock<Arc<Config<'static>>> = OnceLock::new();

/// The page runs its own scripts and styles and nothing from elsewhere.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

pub(crate) async fn handle(request: HttpRequest) -> Answer {
    if request.path() == "/docs" {
        // The page names its files relative to itself.
        return Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, "/docs/")).finish());
    }
    let config = CONFIG.get_or_init(|| Arc::new(Config::from("/openapi.json"))).clone();
    let file = utoipa_swagger_ui::serve(part(&request, "file"), config).map_err(|error| {
        tracing::warn!(%error, "a file of the documentation cannot be served");
        ApiError::internal()
    })?;
    let file = file.ok_or_else(|| ApiError::missing("not_found", "there is nothing at this path"))?;
    let mut response = HttpResponse::Ok();
    if file.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    response
        .content_type(file.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"));
    Ok(response.body(file.bytes.into_owned()))
}
