//! `GET /jobs/{id}/metrics`: the series.

use std::collections::BTreeSet;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use trainyard_storage::MetricQuery;

use super::{Answer, job_id};
use crate::downsample;
use crate::query::Query;
use crate::state::AppState;
use crate::wire::{MetricsAnswer, SeriesPoint};

/// Points read from storage at most: some 50 MB at the worst.
const READ_POINTS: usize = 100_000;

/// The series of a job's metrics.
#[utoipa::path(
    get,
    path = "/api/training/jobs/{job_id}/metrics",
    tag = "telemetry",
    params(
        ("job_id" = String, Path),
        ("after" = Option<u64>, Query, description = "Only points after that step"),
        ("points" = Option<u32>, Query, description = "Thinned out to at most that many, keeping extremes"),
        ("names" = Option<String>, Query, description = "Only these, separated by commas"),
    ),
    responses((status = 200, description = "The series", body = MetricsAnswer))
)]
pub(crate) async fn handle(state: Data<AppState>, request: HttpRequest) -> Answer {
    let id = job_id(&request)?;
    let query = Query::of(&request, &["after", "points", "names"])?;
    let max = query.number("points", 1, READ_POINTS as u64)?.map_or(READ_POINTS, |points| points as usize);
    let names = query.text("names").unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty());
    let wanted = MetricQuery {
        after_step: query.number("after", 0, u64::MAX)?,
        names: names.map(str::to_owned).collect(),
        limit: READ_POINTS,
    };
    let job_id = id.to_string();
    let series = state.call(|o| async move { o.metrics(&id, &wanted).await }).await?;
    let total = series.len();
    let more = total >= READ_POINTS;
    // A long series is work for milliseconds: not on the thread that serves others.
    let thinned = tokio::task::spawn_blocking(move || {
        let kept: BTreeSet<usize> =
            downsample::pick(series.iter().map(|(_, point)| point), max).into_iter().collect();
        let names: BTreeSet<String> =
            series.iter().flat_map(|(_, point)| point.values.keys().cloned()).collect();
        let points = series.into_iter().enumerate().filter(|(i, _)| kept.contains(i));
        (names, points.map(|(_, (at, point))| SeriesPoint(at, point)).collect::<Vec<_>>())
    });
    let (names, points) = thinned.await.map_err(|_| crate::error::ApiError::internal())?;
    let answer = MetricsAnswer { job_id, names: names.into_iter().collect(), points, total, more };
    Ok(HttpResponse::Ok().json(answer))
}
