//! `Idempotency-Key` on every POST: the same key with the same request gets the stored answer (24 h), with another
//! request, or while the first is at work, 409.
//!
//! The first request goes on when its client leaves, so that a retry finds its answer. What it changes is noted with its
//! key in one transaction: after a crash a retry is answered with what was done, and nothing is done twice. Answers of
//! 500 and above are not stored: the key is given back and the request may be made again.

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{self, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpResponse, rt};
use futures_util::stream;
use sha2::Digest;
use trainyard_domain::Sha256;
use trainyard_orchestrator::{KeyTaken, Keyed, Orchestrator};
use trainyard_storage::IdempotentAnswer;

use super::{Answer, Inner};
use crate::body;
use crate::error::{ApiError, job_of_path};
use crate::state::AppState;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

enum Begun {
    First(Claim, Keyed),
    Before(IdempotentAnswer),
}

pub(crate) async fn idempotency(state: Data<AppState>, mut request: ServiceRequest, next: Inner) -> Answer {
    let key = request.headers().get("idempotency-key").cloned();
    let (Some(key), true) = (key, request.method() == Method::POST) else {
        return next.call(request).await;
    };
    match begin(&state, &mut request, key.as_bytes()).await {
        Ok(Begun::First(claim, keyed)) => {
            request.extensions_mut().insert(keyed);
            let work = async move { claim.settle(next.call(request).await).await };
            match rt::spawn(work).await {
                Ok(answer) => answer,
                Err(_) => Err(ApiError::internal().into()),
            }
        }
        Ok(Begun::Before(answer)) => Ok(request.into_response(replay(answer))),
        Err(error) => {
            let response = error.about(job_of_path(request.path())).to_response();
            Ok(request.into_response(response))
        }
    }
}

/// Reads the body, which stays readable for the handler, and takes the key.
async fn begin(state: &Data<AppState>, request: &mut ServiceRequest, key: &[u8]) -> Result<Begun, ApiError> {
    let key = std::str::from_utf8(key)
        .ok()
        .filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(|| {
            let rule = format!("`Idempotency-Key` must be 1 to {KEY_BYTES_MAX} printable ASCII characters");
            ApiError::bad("invalid_idempotency_key", rule)
        })?
        .to_owned();
    let mut payload = request.take_payload();
    let body = body::read(request.headers(), &mut payload, &state.config.body).await?;
    let digest = digest(request, &body);
    let again = Box::pin(stream::iter([Ok(body)]));
    request.set_payload(dev::Payload::Stream { payload: again });
    let before = state.call(|o| async move { o.take_key(&key, digest).await }).await?;
    let answer = match before {
        KeyTaken::Ours(keyed) => {
            let claim = Claim { state: state.clone(), keyed: Some(keyed.clone()) };
            return Ok(Begun::First(claim, keyed));
        }
        KeyTaken::Used(answer) => answer,
    };
    let conflict = |code, error: &str| ApiError::new(StatusCode::CONFLICT, code, error);
    if answer.request != digest {
        let error = "this `Idempotency-Key` was used for another request: choose a new one";
        return Err(conflict("idempotency_key_reused", error));
    }
    if answer.status.is_none() {
        let error = "the first request with this `Idempotency-Key` is still at work";
        return Err(conflict("idempotency_key_in_progress", error).retry_after(1));
    }
    Ok(Begun::Before(answer))
}

fn digest(request: &ServiceRequest, body: &[u8]) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    let head = format!("{} {}?{}\n", request.method(), request.path(), request.query_string());
    hash.update(head.as_bytes());
    hash.update(body);
    Sha256::from_bytes(hash.finalize().into())
}

fn replay(answer: IdempotentAnswer) -> HttpResponse {
    let status = answer.status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::OK));
    response.insert_header(("Idempotency-Replayed", "true"));
    if let Some(location) = answer.location {
        response.insert_header((header::LOCATION, location));
    }
    match answer.body {
        Some(body) => response.content_type("application/json").body(body),
        None => response.finish(),
    }
}

/// A key that this request has taken. Dropped unsettled, it is given back.
struct Claim {
    state: Data<AppState>,
    /// None once it is settled.
    keyed: Option<Keyed>,
}

impl Claim {
    /// Stores the answer, then gives it out.
    async fn settle(mut self, answer: Answer) -> Answer {
        let answer = answer?;
        if answer.status().is_server_error() {
            return Ok(answer);
        }
        let (request, response) = answer.into_parts();
        let (response, body) = response.into_parts();
        let bytes = to_bytes(body).await.map_err(|_| ApiError::internal())?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(str::to_owned);
        let status = response.status().as_u16();
        let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(keyed) = self.keyed.take() {
            let store = |o: Orchestrator| async move { o.answer_key(&keyed, status, text, location).await };
            if let Err(error) = self.state.call(store).await {
                tracing::warn!(%error, "the answer of an idempotency key was not stored");
            }
        }
        Ok(ServiceResponse::new(request, response.set_body(BoxBody::new(bytes))))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(keyed) = self.keyed.take() {
            self.state.start(move |o| async move {
                if let Err(error) = o.give_back_key(&keyed).await {
                    tracing::warn!(%error, "an idempotency key was not given back");
                }
            });
        }
    }
}
