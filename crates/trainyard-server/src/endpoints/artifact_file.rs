//! `GET` and `HEAD /jobs/{id}/artifact/{file}`: the bytes of one file, whole or a range.
//!
//! `Content-Digest` (RFC 9530) goes with the whole file only, since it is the digest of what is sent;
//! `Repr-Digest`, the digest of the whole file, goes with a range too.

use std::fs::File;

use actix_web::body::SizedStream;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use trainyard_domain::ArtifactFile;

use super::{Answer, job_id};
use crate::error::ApiError;
use crate::file_body::chunks;
use crate::query::Query;
use crate::range::{Wanted, etag_matches, wanted};
use crate::state::AppState;

/// One file of the artifact.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/artifact/{file}",
    tag = "artifacts",
    params(
        ("job_id" = String, Path),
        ("file" = String, Path, description = "Its path within the artifact"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "The range", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "Not changed"),
        (status = 416, description = "The range lies outside", body = crate::wire::ErrorBody),
    )
)]
pub(crate) async fn handle(
    state: Data<AppState>,
    request: HttpRequest,
    names: Path<(String, String)>,
) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let (_, path) = names.into_inner();
    let (opened, file) = state.call(|o| async move { o.open_artifact(&id, &path).await }).await?;
    let opened = opened.into_std().await;
    let etag = format!("\"{}\"", file.hash_sha256);
    let headers = request.headers();
    if text(headers, header::IF_NONE_MATCH).is_some_and(|known| etag_matches(known, &etag)) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, etag)).finish());
    }
    let same = text(headers, header::IF_RANGE).is_none_or(|known| known.trim() == etag);
    let range = text(headers, header::RANGE).filter(|_| same);
    match range.map_or(Wanted::All, |range| wanted(range, file.size_bytes)) {
        Wanted::All => {
            let mut response = answer(StatusCode::OK, &file, &etag);
            response.insert_header(("Content-Digest", digest(&file)));
            Ok(send(response, &request, opened, 0, file.size_bytes))
        }
        Wanted::Part { from, until } => {
            let mut response = answer(StatusCode::PARTIAL_CONTENT, &file, &etag);
            let range = format!("bytes {from}-{}/{}", until - 1, file.size_bytes);
            response.insert_header((header::CONTENT_RANGE, range));
            Ok(send(response, &request, opened, from, until))
        }
        Wanted::Outside => {
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_outside",
                "the range lies outside the file",
            );
            let range = format!("bytes */{}", file.size_bytes);
            Err(error
                .detail(format!("the file has {} bytes", file.size_bytes))
                .header(header::CONTENT_RANGE, range))
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn digest(file: &ArtifactFile) -> String {
    format!("sha-256=:{}:", STANDARD.encode(file.hash_sha256.as_bytes()))
}

fn answer(status: StatusCode, file: &ArtifactFile, etag: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    let name: String =
        file.path.rsplit('/').next().unwrap_or("file").chars().filter(|c| is_plain(*c)).collect();
    response
        .content_type("application/octet-stream")
        .insert_header((header::ETAG, etag.to_owned()))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header(("Repr-Digest", digest(file)));
    response
}

fn is_plain(c: char) -> bool {
    (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\')
}

fn send(
    mut response: HttpResponseBuilder,
    request: &HttpRequest,
    file: File,
    from: u64,
    until: u64,
) -> HttpResponse {
    let length = until - from;
    if request.method() == Method::HEAD {
        // The length is that of the body a GET would get; none of it is sent.
        return response.body(SizedStream::new(length, stream::empty::<Result<Bytes, std::io::Error>>()));
    }
    response.body(SizedStream::new(length, Box::pin(chunks(file, from, length))))
}
