//! `GET /jobs`: the jobs, newest first.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use trainyard_domain::{ProviderName, StateName};
use trainyard_storage::{JobFilter, ListPage};

use super::Answer;
use crate::query::{Query, wrong};
use crate::state::AppState;
use crate::wire::{JobsAnswer, cursor_from};

/// Jobs on a page unless told.
const LIMIT: u64 = 100;
/// Jobs on a page at most.
const LIMIT_MAX: u64 = 1000;

/// List jobs, newest first.
#[utoipa::path(
    get,
    path = "/api/training/jobs",
    tag = "jobs",
    params(
        ("provider" = Option<String>, Query, description = "Only of that provider"),
        ("state" = Option<String>, Query, description = "Only in that state"),
        ("label" = Option<Vec<String>>, Query, description = "`key:value`; may stand more than once"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = JobsAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let query = Query::of_many(&request, &["provider", "state", "limit", "cursor"], &["label"])?;
    let labels = query.all("label").map(|label| match label.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(wrong("label", &"write `key:value`")),
    });
    let filter = JobFilter {
        provider: query.get::<ProviderName>("provider")?,
        state: query.get::<StateName>("state")?,
        labels: labels.collect::<Result<_, _>>()?,
    };
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
    let before = match query.text("cursor") {
        None => None,
        Some(cursor) => {
            Some(cursor_from(cursor).ok_or_else(|| wrong("cursor", &"it is not a `next_cursor` of ours"))?)
        }
    };
    let page = ListPage { limit: u32::try_from(limit).unwrap_or(u32::MAX), before };
    let found = state.call(|o| async move { o.list(&filter, page).await }).await?;
    Ok(HttpResponse::Ok().json(JobsAnswer::from(found)))
}
