//! Pages of jobs, newest first, with how many match.
//!
//! The total comes from the table of counts, so that it costs the same for ten jobs and for a million; only a
//! filter by labels counts what it finds.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::codec::{count, failed, get, int, moment, parsed, word};
use super::{SqliteStorage, StorageError};
use crate::{JobFilter, JobPage, JobRow, ListPage};

/// Rows of one page at most.
const PAGE_MAX: u32 = 1000;

/// The page and the total in one statement, so that they are of one moment. There is always a row: without jobs
/// its other columns are null.
fn statement(filter: &JobFilter, page: ListPage) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT (");
    if filter.labels.is_empty() {
        sql.push("SELECT coalesce(sum(count), 0) FROM job_counts WHERE true");
        push_words(&mut sql, filter);
    } else {
        sql.push("SELECT count(*) FROM job_labels l ");
        push_labelled(&mut sql, filter, filter.provider.is_some() || filter.state.is_some());
    }
    sql.push(
        "), page.* FROM (SELECT 1) LEFT JOIN (
         SELECT j.n, j.id, j.state, j.provider, j.model_name, j.labels, j.created_at, j.started_at, j.completed_at
         FROM ",
    );
    // The column that the list is read along.
    let n = if filter.labels.is_empty() {
        sql.push("jobs j WHERE true");
        push_words(&mut sql, filter);
        "j.n"
    } else {
        sql.push("job_labels l ");
        push_labelled(&mut sql, filter, true);
        "l.job"
    };
    if let Some(before) = page.before {
        sql.push(" AND ").push(n).push(" < ").push_bind(int(before));
    }
    // One row more than asked for says whether there is a next page.
    let rows = page.limit.clamp(1, PAGE_MAX) + 1;
    sql.push(" ORDER BY ").push(n).push(" DESC LIMIT ").push_bind(rows).push(") page ORDER BY page.n DESC");
    sql
}

fn push_words(sql: &mut QueryBuilder<Sqlite>, filter: &JobFilter) {
    if let Some(provider) = &filter.provider {
        sql.push(" AND provider = ").push_bind(provider.to_string());
    }
    if let Some(state) = filter.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
}

/// What comes after `job_labels l`: every condition but the page's. The first label leads, as there are fewer of it
/// than of jobs; jobs are joined only where they are asked about.
fn push_labelled(sql: &mut QueryBuilder<Sqlite>, filter: &JobFilter, join: bool) {
    if join {
        sql.push("CROSS JOIN jobs j ON j.n = l.job ");
    }
    for (i, (name, value)) in filter.labels.iter().enumerate() {
        if i == 0 {
            sql.push("WHERE l.name = ").push_bind(name.clone());
            sql.push(" AND l.value = ").push_bind(value.clone());
        } else {
            sql.push(" AND EXISTS (SELECT 1 FROM job_labels o WHERE o.job = l.job AND o.name = ");
            sql.push_bind(name.clone()).push(" AND o.value = ").push_bind(value.clone()).push(")");
        }
    }
    if join {
        push_words(sql, filter);
    }
}

fn job_row(row: &SqliteRow) -> Result<JobRow, StorageError> {
    let provider: Option<&str> = get(row, 4)?;
    Ok(JobRow {
        id: word("a job's id", get(row, 2)?)?,
        state: word("a job's state", get(row, 3)?)?,
        provider: provider.map(|name| word("a job's provider", name)).transpose()?,
        model_name: get(row, 5)?,
        labels: parsed("a job's labels", get(row, 6)?)?,
        created_at: moment(get(row, 7)?),
        started_at: get::<Option<i64>>(row, 8)?.map(moment),
        completed_at: get::<Option<i64>>(row, 9)?.map(moment),
    })
}

impl SqliteStorage {
    pub(super) async fn list_jobs(
        &self,
        filter: &JobFilter,
        page: ListPage,
    ) -> Result<JobPage, StorageError> {
        let mut reader = self.reader().await?;
        let rows = statement(filter, page).build().fetch_all(reader.conn()).await;
        let rows = rows.map_err(failed("listing jobs"))?;
        drop(reader);
        let total = rows.first().map(|row| get::<i64>(row, 0)).transpose()?.map_or(0, count);
        let wanted = page.limit.clamp(1, PAGE_MAX) as usize;
        let (mut jobs, mut next) = (Vec::with_capacity(rows.len()), None);
        for row in rows.iter().take(wanted) {
            let Some(n) = get::<Option<i64>>(row, 1)? else { break };
            jobs.push(job_row(row)?);
            next = Some(count(n));
        }
        Ok(JobPage { jobs, total, next: next.filter(|_| rows.len() > wanted) })
    }
}
