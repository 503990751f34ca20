//! `GET /jobs/{id}`: everything known of a job, with an `ETag`.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, job_id, job_of};
use crate::query::Query;
use crate::range::etag_matches;
use crate::state::AppState;
use crate::wire::JobAnswer;

/// Everything known of a job.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}",
    tag = "jobs",
    params(("job_id" = String, Path)),
    responses((status = 200, description = "The job", body = JobAnswer), (status = 304, description = "Not changed"))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    Query::of(&request, &[])?;
    let view = state.call(|o| async move { o.job(&id).await }).await?;
    let etag = format!("\"{}-{}\"", view.version, view.seq.0);
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = match known.is_some_and(|known| etag_matches(known, &etag)) {
        true => HttpResponse::NotModified().finish(),
        false => HttpResponse::Ok().json(job_of(&state, &view)),
    };
    let headers = response.headers_mut();
    if let Ok(value) = etag.parse() {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
