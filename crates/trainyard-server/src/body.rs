//! Reading request bodies: with a size limit, a deadline (actix has none), and errors that name line and field.

use std::future::Future;

use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::BodyLimits;
use crate::error::ApiError;
use crate::state::AppState;

/// Reads a whole body.
///
/// # Errors
/// 413 over the limit, 408 after the deadline, 400 where the connection breaks.
pub(crate) async fn read(
    headers: &HeaderMap,
    payload: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    limits: &BodyLimits,
) -> Result<Bytes, ApiError> {
    let max = limits.json_bytes_max;
    let too_large = || {
        let error = format!("the body is larger than {max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    };
    if content_length(headers).is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(part) = payload.next().await {
            let part = part.map_err(|error| broken(&error))?;
            if body.len() + part.len() > max {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    };
    within(limits.json_deadline, whole).await
}

async fn within<T>(
    deadline: std::time::Duration,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| Err(too_slow(deadline)))
}

/// The 408 of a body that does not come.
pub(crate) fn too_slow(after: std::time::Duration) -> ApiError {
    let error = format!("the body did not come within {} s", after.as_secs());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error).header(header::CONNECTION, "close")
}

/// The 400 of a body that broke off.
pub(crate) fn broken(error: &PayloadError) -> ApiError {
    ApiError::bad("body_incomplete", "the body broke off").detail(error.to_string())
}

/// The length that the client says the body has.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body as JSON; none where there is no body.
pub(crate) async fn value(
    state: &AppState,
    request: &HttpRequest,
    mut payload: web::Payload,
) -> Result<Option<Value>, ApiError> {
    let body = read(request.headers(), &mut payload, &state.config.body).await?;
    if body.is_empty() {
        return Ok(None);
    }
    check_type(request.headers())?;
    parse(&body).map(Some)
}

/// The body as an object of that shape.
pub(crate) async fn json<T: DeserializeOwned>(
    state: &AppState,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, ApiError> {
    match value(state, request, payload).await? {
        Some(value) => shape(value),
        None => Err(ApiError::bad("body_missing", "the request needs a JSON body")),
    }
}

/// The same, where the body may be left out.
pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(
    state: &AppState,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, ApiError> {
    value(state, request, payload).await?.map_or_else(|| Ok(T::default()), shape)
}

/// A body must say that it is JSON, in UTF-8, not compressed.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |error: String| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(ApiError::new(status, "unsupported_media_type", error))
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let coding = text(header::CONTENT_ENCODING);
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return refused("the body is compressed: send it as it is".to_owned());
    }
    let value = text(header::CONTENT_TYPE).to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or("");
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        let shown: String = kind.chars().take(60).collect();
        return refused(format!("the body's type is `{shown}`: send `Content-Type: application/json`"));
    }
    match parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"')) {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(_) => refused("the body's character set is not UTF-8".to_owned()),
    }
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = match std::str::from_utf8(body) {
            Ok(_) => error.to_string(),
            Err(error) => format!("not UTF-8 after {} bytes", error.valid_up_to()),
        };
        ApiError::bad("malformed_json", "the body is not JSON").detail(detail)
    })
}

/// The value as an object of that shape; the error names the field.
pub(crate) fn shape<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    if !value.is_object() {
        return Err(ApiError::bad("invalid_body", "the body must be a JSON object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let detail = match path.as_str() {
            "." | "?" => error.inner().to_string(),
            field => format!("`{field}`: {}", error.inner()),
        };
        ApiError::bad("invalid_body", "the body is not as it should be").detail(detail)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::http::header::HeaderValue;
    use futures_util::stream;

    use super::*;
    use crate::wire::SubmitRequest;

    fn refused(body: &[u8]) -> String {
        let error = match parse(body) {
            Ok(value) => shape::<SubmitRequest>(value).unwrap_err(),
            Err(error) => error,
        };
        let wire = error.to_wire();
        format!("{} {}: {}", error.status().as_u16(), wire.code, wire.detail)
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let bodies: [&[u8]; 9] = [
            b"{\"provider\": \"local\"",
            b"{\n  \"provider\" \"local\"}",
            b"{\"provider\": \"local\"} x",
            b"null",
            b"[]",
            b"{}",
            b"{\"provider\": 7}",
            b"{\"provider\": \"local\", \"machin\": null}",
            b"{\"provider\": \"\xff\"}",
        ];
        insta::assert_snapshot!(bodies.map(refused).join("\n"));
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        assert!(refused("[".repeat(200_000).as_bytes()).starts_with("400 malformed_json"));
    }

    #[test]
    fn only_json_is_taken() {
        let status = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            check_type(&headers).map_err(|error| error.status().as_u16()).err()
        };
        assert_eq!(status("application/json"), None);
        assert_eq!(status("Application/JSON; Charset=\"UTF-8\""), None);
        assert_eq!(status("application/merge-patch+json"), None);
        assert_eq!(status("application/json; charset=utf-16"), Some(415));
        assert_eq!(status("application/x-www-form-urlencoded"), Some(415));
        assert_eq!(status("text/json"), Some(415));
        assert!(check_type(&HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let limits = BodyLimits { json_deadline: Duration::from_millis(50), ..BodyLimits::default() };
        let begun = stream::iter([Ok::<_, PayloadError>(Bytes::from_static(b"{"))]);
        let mut never_ends = begun.chain(stream::pending());
        let error = read(&HeaderMap::new(), &mut never_ends, &limits).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(error.code(), "body_timeout");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let limits = BodyLimits { json_bytes_max: 10, ..BodyLimits::default() };
        let part = || Ok::<_, PayloadError>(Bytes::from_static(b"123456"));
        let mut says = HeaderMap::new();
        says.insert(header::CONTENT_LENGTH, HeaderValue::from_static("11"));
        for headers in [says, HeaderMap::new()] {
            let mut body = stream::iter([part(), part()]);
            let error = read(&headers, &mut body, &limits).await.unwrap_err();
            assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        let mut fits = stream::iter([part()]);
        assert_eq!(read(&HeaderMap::new(), &mut fits, &limits).await.unwrap(), "123456");
    }
}
