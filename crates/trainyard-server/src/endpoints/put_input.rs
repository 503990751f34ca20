//! `PUT /inputs/{sha256}`: uploads a file that jobs use, whole or in parts (`Content-Range`), checked against its name.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use trainyard_domain::{IdError, Sha256};
use trainyard_orchestrator::{Error, InputStatus};

use super::{Answer, part};
use crate::body;
use crate::error::ApiError;
use crate::query::Query;
use crate::range::{self, Part};
use crate::state::AppState;
use crate::wire::InputAnswer;

/// Parts of a body on their way from the connection to the disk: at most some 500 KiB.
const IN_FLIGHT: usize = 8;

/// Upload a file or archive that jobs use, resumable by `Content-Range`.
#[utoipa::path(
    put,
    path = "/api/training/inputs/{sha256}",
    tag = "inputs",
    params(
        ("sha256" = String, Path, description = "The digest of the whole file"),
        ("Content-Range" = Option<String>, Header, description = "`bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL` to ask"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It was here already", body = InputAnswer),
        (status = 201, description = "All of it is here and has its digest", body = InputAnswer),
        (status = 202, description = "More is needed, from `Upload-Offset` on", body = InputAnswer),
    )
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let sha = digest(&request)?;
    Query::of(&request, &[])?;
    let asked = match request.headers().get(header::CONTENT_RANGE) {
        None => None,
        Some(value) => Some(range::part(value.to_str().unwrap_or("")).map_err(|why| {
            ApiError::bad("invalid_content_range", "`Content-Range` is not right").detail(why)
        })?),
    };
    let before = state.call(|o| async move { o.input_received(&sha).await }).await?;
    if before.complete || asked == Some(Part::Ask) {
        return Ok(answer(&sha, before, before.complete));
    }
    let length = body::content_length(request.headers());
    let (from, total) = match asked {
        Some(Part::Bytes { from, until, total }) => {
            if length.is_some_and(|length| length != until - from) {
                let error = "`Content-Range` and `Content-Length` contradict each other";
                return Err(ApiError::bad("invalid_content_range", error));
            }
            (from, Some(total))
        }
        Some(Part::Ask) | None => (0, length),
    };
    let total = total.ok_or_else(|| {
        let error =
            "the length of the input is not known: send `Content-Length`, or parts with `Content-Range`";
        ApiError::new(StatusCode::LENGTH_REQUIRED, "length_required", error)
    })?;
    if total > state.config.body.upload_bytes_max {
        let max = state.config.body.upload_bytes_max;
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(ApiError::new(
            status,
            "input_too_large",
            format!("an input may have at most {max} bytes"),
        ));
    }
    // Sent whole again after a part came: what is there already is passed over. The digest judges both together.
    let skip = if asked.is_none() && before.received <= total { before.received } else { 0 };
    let status = take(&state, sha, (from + skip, skip), total, payload).await?;
    Ok(answer(&sha, status, false))
}

/// Hands the body on as it comes, but for its first `skip` bytes. The connection belongs to this thread, the disk to
/// the orchestrator's.
async fn take(
    state: &Data<AppState>,
    sha: Sha256,
    (offset, skip): (u64, u64),
    total: u64,
    payload: Payload,
) -> Result<InputStatus, ApiError> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let parts =
        stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|part| (part, receiver)) },
        );
    let stored = state.call(|o| async move { o.input_part(&sha, offset, total, Box::pin(parts)).await });
    let (stored, read) = tokio::join!(stored, hand_on(state, payload, skip, sender));
    // What ailed the body says more than that it ended early.
    read.and(stored)
}

async fn hand_on(
    state: &AppState,
    mut payload: Payload,
    mut skip: u64,
    sender: mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), ApiError> {
    let idle = state.config.body.upload_idle_max;
    let mut left = state.config.body.upload_bytes_max;
    loop {
        let failure = match tokio::time::timeout(idle, payload.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(mut part))) if part.len() as u64 <= left => {
                left -= part.len() as u64;
                let known = part.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                skip -= known as u64;
                part.advance(known);
                if part.is_empty() {
                    continue;
                }
                if sender.send(Ok(part)).await.is_err() {
                    // The other side has what it needs, or has failed and says so.
                    return Ok(());
                }
                continue;
            }
            Ok(Some(Ok(_))) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                ApiError::new(status, "input_too_large", "the input is too large")
            }
            Ok(Some(Err(error))) => body::broken(&error),
            Err(_) => body::too_slow(idle),
        };
        let _ = sender.send(Err(Error::bad_request("body_incomplete", "the body broke off"))).await;
        return Err(failure);
    }
}

/// The digest that the path names.
pub(super) fn digest(request: &HttpRequest) -> Result<Sha256, ApiError> {
    part(request, "sha256").parse().map_err(|error: IdError| {
        ApiError::bad("invalid_sha256", "the path has no SHA-256").detail(error.to_string())
    })
}

/// How far an upload is, in headers.
pub(super) fn progress(response: &mut HttpResponseBuilder, status: InputStatus) {
    response.insert_header(("Upload-Offset", status.received.to_string()));
    response.insert_header(("Upload-Complete", if status.complete { "?1" } else { "?0" }));
}

fn answer(sha: &Sha256, status: InputStatus, was_here: bool) -> HttpResponse {
    let mut response = match (status.complete, was_here) {
        (true, true) => HttpResponse::Ok(),
        (true, false) => HttpResponse::Created(),
        (false, _) => HttpResponse::Accepted(),
    };
    progress(&mut response, status);
    response.json(InputAnswer {
        sha256: sha.to_string(),
        received: status.received,
        complete: status.complete,
        source: format!("input:{sha}"),
    })
}
