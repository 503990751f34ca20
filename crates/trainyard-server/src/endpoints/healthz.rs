//! `GET /healthz`: the process answers.

use actix_web::HttpResponse;

use super::Answer;

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "It does")))]
pub(crate) async fn handle() -> Answer {
    Ok(HttpResponse::Ok().json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})))
}
