//! What every answer gets: safe headers, CORS for allowed origins, a log line and a counter. Paths are logged without
//! their query and counted by route, so that nothing secret is written and no label grows without bound.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Data;
use tokio::time::Instant;

use super::{Answer, Inner};
use crate::guard::OriginCheck;
use crate::state::AppState;

pub(crate) async fn outermost(state: Data<AppState>, request: ServiceRequest, next: Inner) -> Answer {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.path().to_owned();
    let origin = allowed_origin(&state, request.headers());
    let mut answer = next.call(request).await;
    if let Ok(response) = &mut answer {
        let headers = response.headers_mut();
        let defaults = [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in defaults {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        if let Some(origin) = origin {
            share_with(headers, origin);
        }
    }
    let (status, route) = match &answer {
        Ok(response) => (response.status(), response.request().match_pattern()),
        Err(error) => (error.as_response_error().status_code(), None),
    };
    let took = started.elapsed();
    tracing::debug!(%method, path, status = status.as_u16(), ms = took.as_secs_f64() * 1e3, "answered");
    let route = route.unwrap_or_else(|| "none".to_owned());
    let labels =
        [("method", word(&method).to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!("trainyard_http_requests_total", &labels).increment(1);
    metrics::histogram!("trainyard_http_request_seconds", "method" => word(&method))
        .record(took.as_secs_f64());
    answer
}

/// The method as a label: a client can write any word there.
fn word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn allowed_origin(state: &AppState, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let host = headers.get(header::HOST)?.to_str().ok()?;
    (state.rules.origin(origin.to_str().ok()?, host) == OriginCheck::Allowed).then(|| origin.clone())
}

fn share_with(headers: &mut HeaderMap, origin: HeaderValue) {
    const EXPOSED: &str = "Content-Digest, Content-Range, ETag, Idempotency-Replayed, Location, Preference-Applied, \
                           Repr-Digest, Retry-After, Upload-Complete, Upload-Offset";
    let pairs: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
        (header::VARY, HeaderValue::from_static("Origin")),
    ];
    for (name, value) in pairs {
        headers.insert(name, value);
    }
}
