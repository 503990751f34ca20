//! The one error of the skin: a status, a stable code, and `{"error", "detail", "job_id", "code"}` as its body.
//!
//! Handlers return it with `?`; it rides along in the response's extensions, so that the layer around the routes
//! can add the job of the path. It promises to hold no secret: only texts made for users come in.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use trainyard_orchestrator::{Error, ErrorKind};

use crate::wire::ErrorBody;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    error: String,
    detail: Option<String>,
    job_id: Option<String>,
    oldest_seq: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        error: impl Into<String>,
    ) -> ApiError {
        ApiError(Box::new(Inner {
            status,
            code: code.into(),
            error: error.into(),
            detail: None,
            job_id: None,
            oldest_seq: None,
            headers: Vec::new(),
        }))
    }

    /// A 400.
    pub(crate) fn bad(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, error)
    }

    /// A 404.
    pub(crate) fn missing(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, error)
    }

    /// A 500 that tells nothing but that it is ours.
    pub(crate) fn internal() -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; see its log")
    }

    /// The 503 of a server that goes down.
    pub(crate) fn draining() -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the server is shutting down")
            .retry_after(5)
    }

    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> ApiError {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same about that job, where it names none yet.
    #[must_use]
    pub(crate) fn about(mut self, job_id: Option<&str>) -> ApiError {
        if self.0.job_id.is_none() {
            self.0.job_id = job_id.map(str::to_owned);
        }
        self
    }

    #[must_use]
    pub(crate) fn retry_after(self, seconds: u32) -> ApiError {
        self.header(header::RETRY_AFTER, seconds.to_string())
    }

    /// The same with a header; a value that cannot stand in one is left out.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> ApiError {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers.push((name, value));
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    pub(crate) fn job_id(&self) -> Option<&str> {
        self.0.job_id.as_deref()
    }

    /// The body as it goes out.
    pub(crate) fn to_wire(&self) -> ErrorBody {
        let Inner { code, error, detail, job_id, oldest_seq, .. } = &*self.0;
        ErrorBody {
            error: error.clone(),
            detail: detail.clone().unwrap_or_else(|| error.clone()),
            job_id: job_id.clone(),
            code: code.clone().into_owned(),
            oldest_seq: *oldest_seq,
        }
    }

    /// The whole response; the error itself lies in its extensions.
    pub(crate) fn to_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.0.status);
        for (name, value) in &self.0.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        let mut response = response.json(self.to_wire());
        response.extensions_mut().insert(self.clone());
        response
    }

    /// What actix itself answered with that status, in our words.
    pub(crate) fn of_status(status: StatusCode) -> ApiError {
        let (code, error) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not take that method"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request took too long to come"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "the body is of another type"),
            status if status.is_server_error() => return ApiError::internal(),
            _ => ("bad_request", "the request cannot be read"),
        };
        ApiError::new(status, code, error)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.error)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.to_response()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let status = match error.kind {
            ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Gone => StatusCode::GONE,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Range => StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorKind::Provider | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let detail = error.detail_text();
        let retry = match error.kind {
            ErrorKind::Unavailable => Some(5),
            ErrorKind::Internal if error.code == "contention" => Some(1),
            _ => None,
        };
        let mut answer = ApiError::new(status, error.code, error.message).detail(detail);
        answer.0.oldest_seq = error.oldest_seq;
        answer = answer.about(error.job_id.as_ref().map(|id| id.as_str()));
        match retry {
            Some(seconds) => answer.retry_after(seconds),
            None => answer,
        }
    }
}

/// The id of a job that a path is about, where it names a possible one.
pub(crate) fn job_of_path(path: &str) -> Option<&str> {
    let rest =
        path.strip_prefix("/api/training/jobs/").or_else(|| path.strip_prefix("/ws/training/jobs/"))?;
    let id = rest.split('/').next()?;
    id.parse::<trainyard_domain::JobId>().is_ok().then_some(id)
}

#[cfg(test)]
mod tests {
    use trainyard_domain::JobId;

    use super::*;

    fn wire(error: Error) -> String {
        let error = ApiError::from(error);
        let response = error.to_response();
        let mut head: Vec<String> =
            response.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        head.sort();
        let body = serde_json::to_string(&error.to_wire()).unwrap();
        format!("{} {} {body}", error.status().as_u16(), head.join(" "))
    }

    #[test]
    fn every_kind_has_its_status() {
        let id: JobId = "job_1".parse().unwrap();
        let kinds = [
            ErrorKind::BadRequest,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::TooLarge,
            ErrorKind::Range,
            ErrorKind::Provider,
            ErrorKind::Internal,
            ErrorKind::Unavailable,
        ];
        let mut lines: Vec<String> = kinds.map(|kind| wire(Error::new(kind, "code", "what"))).to_vec();
        let mut gone = Error::new(ErrorKind::Gone, "history_gone", "too old").about(&id);
        gone.oldest_seq = Some(17);
        lines.push(wire(gone));
        lines.push(wire(Error::no_job(&id)));
        let below = std::io::Error::other("disk full");
        lines.push(wire(Error::new(ErrorKind::Unavailable, "storage", "the storage failed").because(below)));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_job_of_a_path_is_found_only_where_it_is_one() {
        assert_eq!(job_of_path("/api/training/jobs/a.b-1/status"), Some("a.b-1"));
        assert_eq!(job_of_path("/ws/training/jobs/job_1"), Some("job_1"));
        assert_eq!(job_of_path("/api/training/jobs"), None);
        assert_eq!(job_of_path("/api/training/jobs/"), None);
        assert_eq!(job_of_path("/api/training/jobs/%2e%2e/status"), None);
        assert_eq!(job_of_path("/api/training/inputs/abc"), None);
    }
}
