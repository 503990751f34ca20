//! `GET /openapi.json`: the description of this API, OpenAPI 3.1.

use std::sync::OnceLock;

use actix_web::HttpResponse;

use super::Answer;
use crate::error::ApiError;
use crate::openapi;

/// Made once: the document never changes while the server runs.
static DOCUMENT: OnceLock<Option<String>> = OnceLock::new();

pub(crate) async fn handle() -> Answer {
    let text = DOCUMENT.get_or_init(|| openapi::document().to_json().ok());
    let text = text.as_deref().ok_or_else(ApiError::internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}
