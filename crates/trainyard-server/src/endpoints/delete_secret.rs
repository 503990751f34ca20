//! `DELETE /secrets/{name}`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, put_secret};
use crate::query::Query;
use crate::state::AppState;

/// Delete a secret.
#[utoipa::path(
    delete,
    path = "/api/training/secrets/{name}",
    tag = "secrets",
    params(("name" = String, Path)),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let name = put_secret::name(&request)?;
    Query::of(&request, &[])?;
    state.call(|o| async move { o.delete_secret(&name).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}
