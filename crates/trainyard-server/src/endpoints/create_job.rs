//! `POST /jobs`: makes a job, `created`.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;
use trainyard_domain::{JobId, JobSpec};

use super::{Answer, job_of, location};
use crate::body;
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::JobAnswer;

/// Create a job. Only `model_name` is required.
#[utoipa::path(
    post,
    path = "/api/training/jobs",
    tag = "jobs",
    request_body(content = crate::openapi::JobRequest, description = "The specification"),
    responses((status = 201, description = "The job, `created`", body = JobAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    Query::of(&request, &[])?;
    let (id, spec) = read(body::value(&state, &request, payload).await?)?;
    let view = state.call_under(&request, |o| async move { o.create_job(id, spec).await }).await?;
    let created = HttpResponse::Created()
        .insert_header((header::LOCATION, location(&view)))
        .json(job_of(&state, &view));
    Ok(created)
}

/// The id, where the client chose one, and the specification.
pub(super) fn read(body: Option<Value>) -> Result<(Option<JobId>, JobSpec), ApiError> {
    let mut body = body.ok_or_else(|| ApiError::bad("body_missing", "the request needs a JSON body"))?;
    let id = match body.as_object_mut().and_then(|fields| fields.remove("job_id")) {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.parse().map_err(|error: trainyard_domain::IdError| {
            ApiError::bad("invalid_job_id", "`job_id` is not valid").detail(error.to_string())
        })?),
        Some(_) => return Err(ApiError::bad("invalid_job_id", "`job_id` must be a text")),
    };
    match JobSpec::from_json(body) {
        Ok(spec) => Ok((id, spec)),
        Err(invalid) => {
            let error = match invalid.errors.as_slice() {
                [one] => format!("the specification is not valid: `{}` {}", one.field, one.message),
                many => format!("the specification is not valid: {} fields are wrong", many.len()),
            };
            let about = id.as_ref().map(JobId::as_str);
            Err(ApiError::bad("invalid_spec", error).detail(invalid.to_string()).about(about))
        }
    }
}
