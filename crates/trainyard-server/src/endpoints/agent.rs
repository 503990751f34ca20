//! `GET /agent/{sha256}`: the agent's binary, for machines that fetch it from here.
//!
//! Open to everybody: it is the program that anybody can download, and machines have no token. Whoever fetches it
//! compares the digest that stands in the path.

use std::fs::File;

use actix_web::body::SizedStream;
use actix_web::http::{Method, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;

use super::{Answer, part};
use crate::error::ApiError;
use crate::file_body::chunks;
use crate::state::AppState;

/// The agent's binary of that digest.
#[utoipa::path(
    get,
    path = "/agent/{sha256}",
    tag = "server",
    params(("sha256" = String, Path, description = "The SHA-256 of the binary, in hexadecimal digits")),
    responses(
        (status = 200, description = "The binary", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "Not this server's", body = crate::wire::ErrorBody),
    )
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let missing = || ApiError::missing("not_found", "this server has no agent with that digest");
    let path = state.config.agents.get(part(&request, "sha256")).cloned().ok_or_else(missing)?;
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, length))
    });
    let (file, length) = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::error!(%error, "the agent's binary cannot be read");
            return Err(missing());
        }
        Err(_) => return Err(ApiError::draining()),
    };
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/octet-stream")
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"));
    if request.method() == Method::HEAD {
        return Ok(response.body(SizedStream::new(length, stream::empty::<Result<Bytes, std::io::Error>>())));
    }
    Ok(response.body(SizedStream::new(length, Box::pin(chunks(file, 0, length)))))
}
