//! Every error of the routes in one form: about the job of its path, in our words where actix made it, and a bare
//! 500 for a handler that panicked (the panic hook has the rest).

use std::panic::AssertUnwindSafe;

use actix_web::dev::ServiceRequest;
use futures_util::FutureExt;

use super::{Answer, Inner};
use crate::error::{ApiError, job_of_path};

pub(crate) async fn errors(request: ServiceRequest, next: Inner) -> Answer {
    let job = job_of_path(request.path()).map(str::to_owned);
    let Ok(answer) = AssertUnwindSafe(next.call(request)).catch_unwind().await else {
        tracing::error!("a request handler panicked");
        return Err(ApiError::internal().about(job.as_deref()).into());
    };
    let answer = answer?;
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(answer);
    }
    let ours = answer.response().extensions().get::<ApiError>().cloned();
    if status.is_server_error() {
        // Handled here and nowhere else, so this is where it is logged.
        let told = ours.as_ref().map(ApiError::to_wire);
        let (code, detail) = told.map_or((String::new(), String::new()), |told| (told.code, told.detail));
        tracing::warn!(status = status.as_u16(), code, detail, job = job.as_deref(), "a request failed");
    }
    let error = match ours {
        Some(error) if error.job_id().is_some() || job.is_none() => return Ok(answer),
        Some(error) => error,
        None => ApiError::of_status(status),
    };
    Ok(answer.into_response(error.about(job.as_deref()).to_response()))
}
