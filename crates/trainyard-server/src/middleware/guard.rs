//! Lets in who may speak: a good `Host`, a good `Origin`, a token where one is needed. Turns all away with 503 while
//! the server goes down, but `/healthz`.

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Data;
use trainyard_orchestrator::TokenCheck;

use super::{Answer, Inner};
use crate::error::{ApiError, job_of_path};
use crate::guard::{self, OriginCheck};
use crate::state::AppState;

pub(crate) async fn guard(state: Data<AppState>, request: ServiceRequest, next: Inner) -> Answer {
    match check(&state, &request).await {
        Ok(None) => next.call(request).await,
        Ok(Some(response)) => Ok(request.into_response(response)),
        Err(error) => {
            let response = error.about(job_of_path(request.path())).to_response();
            Ok(request.into_response(response))
        }
    }
}

async fn check(state: &AppState, request: &ServiceRequest) -> Result<Option<HttpResponse>, ApiError> {
    let origin = origin(state, request.headers())?;
    if state.is_leaving() && request.path() != "/healthz" {
        return Err(ApiError::draining().header(header::CONNECTION, "close"));
    }
    let asks = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && origin == OriginCheck::Allowed && asks.is_some() {
        return Ok(Some(preflight()));
    }
    if guard::is_open(request.path()) {
        return Ok(None);
    }
    let token = guard::token(request.headers());
    match state.orchestrator.check_token(token.as_deref()).await? {
        TokenCheck::Good => Ok(None),
        TokenCheck::NotNeeded if state.config.listen.iter().all(|address| address.ip().is_loopback()) => {
            Ok(None)
        }
        // It had one when it started: with its last token revoked it is closed, not open to everybody.
        TokenCheck::NotNeeded => Err(unauthorized(
            "token_missing",
            "this server can be reached from other machines and has no token left (`trainyard token create` makes one)",
        )),
        TokenCheck::Missing => Err(unauthorized(
            "token_missing",
            "a token is needed: send `Authorization: Bearer TOKEN` (`trainyard token create` makes one)",
        )),
        TokenCheck::Wrong => Err(unauthorized("token_wrong", "the token is wrong or was revoked")),
    }
}

/// Checks `Host` and `Origin`.
fn origin(state: &AppState, headers: &HeaderMap) -> Result<OriginCheck, ApiError> {
    let mut hosts = headers.get_all(header::HOST);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or(""),
        (None, _) => "",
        (Some(_), Some(_)) => return Err(ApiError::bad("host_repeated", "`Host` stands more than once")),
    };
    if !state.rules.host_is_good(host) {
        let error = ApiError::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "this `Host` is not one of the server's",
        );
        return Err(error.detail("use a loopback name, or add the name to `server.allowed_hosts`"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(OriginCheck::Same) };
    match state.rules.origin(origin.to_str().unwrap_or(""), host) {
        OriginCheck::Foreign => {
            let what = "requests of pages of this `Origin` are not taken";
            let error = ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", what);
            Err(error.detail("add the origin to `server.allowed_origins` if it is yours"))
        }
        good => Ok(good),
    }
}

fn unauthorized(code: &'static str, error: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, error).header(header::WWW_AUTHENTICATE, "Bearer")
}

fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, Content-Range, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, Range",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}
