//! `GET /readyz`: requests can be served: storage takes a write, and the server is not going down.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;

use super::Answer;
use crate::error::ApiError;
use crate::state::AppState;

/// Whether requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, description = "They can")))]
pub(crate) async fn handle(state: Data<AppState>) -> Answer {
    match state.call(|o| async move { o.ready().await }).await {
        Ok(()) => Ok(HttpResponse::Ok().json(serde_json::json!({"status": "ready"}))),
        Err(error) => {
            let detail = error.to_wire().detail;
            let error =
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the server is not ready");
            Err(error.detail(detail).retry_after(5))
        }
    }
}
