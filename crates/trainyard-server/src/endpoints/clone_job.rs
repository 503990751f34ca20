//! `POST /jobs/{id}/clone`: a new job of the same specification.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id, job_of, location};
use crate::body;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{CloneRequest, JobAnswer};

/// Make a new job of the same specification.
#[utoipa::path(
    post,
    path = "/api/training/jobs/{job_id}/clone",
    tag = "jobs",
    params(("job_id" = String, Path)),
    request_body(content = Option<CloneRequest>),
    responses((status = 201, description = "The new job, `created`", body = JobAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest, payload: Payload) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let CloneRequest { job_id: new_id, from_checkpoint } =
        body::json_or_default(&state, &request, payload).await?;
    let view = state
        .call_under(&request, |o| async move { o.clone_job(&id, new_id, from_checkpoint).await })
        .await?;
    let created = HttpResponse::Created()
        .insert_header((header::LOCATION, location(&view)))
        .json(job_of(&state, &view));
    Ok(created)
}
