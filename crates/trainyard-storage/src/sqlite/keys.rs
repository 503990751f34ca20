//! Secrets (sealed), tokens (their digests) and idempotency keys.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use trainyard_domain::{SecretName, Sha256, Timestamp};

use super::codec::{count, failed, get, int, moment, nanos, word};
use super::writer::Change;
use super::{SqliteStorage, StorageError};
use crate::{Fence, IdempotentAnswer, KeyMark, SealedSecret, TokenRecord};

/// Old keys cleared away with each new one: more than one, so that they never pile up.
const CLEAR: &str = "
DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE created_at < $1 LIMIT 16)";

/// A key that an older process took and changed nothing under is free.
const BEGIN: &str = "
INSERT INTO idempotency (key, request, status, body, location, created_at, job, fence)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (key) DO UPDATE
    SET request = $2, status = $3, body = $4, location = $5, created_at = $6, job = $7, fence = $8
    WHERE created_at < $9 OR (status IS NULL AND job IS NULL AND fence < $8)
RETURNING 1";

/// A key under which an older process changed a job and gave no answer gets another holder.
const TAKE_OVER: &str = "
UPDATE idempotency SET fence = $2
    WHERE key = $1 AND status IS NULL AND job IS NOT NULL AND fence < $2 AND request = $3";

/// Without a trace where nothing was changed under it; else for whoever comes next, who is told what was.
const GIVE_BACK: &str = "
UPDATE idempotency SET fence = 0 WHERE key = $1 AND job IS NOT NULL;
DELETE FROM idempotency WHERE key = $1 AND job IS NULL";

const FINISH: &str = "
INSERT INTO idempotency (key, request, status, body, location, created_at, job, fence)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (key) DO UPDATE
    SET request = $2, status = $3, body = $4, location = $5, created_at = $6, job = $7, fence = $8";

fn digest(row: &SqliteRow, column: usize) -> Result<Sha256, StorageError> {
    let bytes: &[u8] = get(row, column)?;
    let bytes =
        bytes.try_into().map_err(|_| StorageError::Corrupt("a digest has not 32 bytes".to_owned()))?;
    Ok(Sha256::from_bytes(bytes))
}

fn answer(row: &SqliteRow) -> Result<IdempotentAnswer, StorageError> {
    let status: Option<i64> = get(row, 1)?;
    Ok(IdempotentAnswer {
        request: digest(row, 0)?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        body: get(row, 2)?,
        location: get(row, 3)?,
        created_at: moment(get(row, 4)?),
        job: get::<Option<&str>>(row, 5)?.map(|id| word("a job's id", id)).transpose()?,
        fence: Fence(count(get(row, 6)?)),
    })
}

/// Writes what a key's row shall be, within the transaction of the change that was asked for under it.
pub(super) async fn mark_key(conn: &mut SqliteConnection, mark: &KeyMark) -> Result<(), StorageError> {
    let marked = bind_answer(sqlx::query(FINISH), &mark.key, &mark.answer).execute(conn).await;
    marked.map(|_| ()).map_err(failed("noting an idempotency key"))
}

struct PutSecret(SealedSecret);

#[async_trait]
impl Change for PutSecret {
    type Out = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        sqlx::query(
            "INSERT INTO secrets (name, sealed, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET sealed = $2, updated_at = $3",
        )
        .bind(self.0.name.as_str())
        .bind(self.0.sealed.as_slice())
        .bind(nanos(self.0.updated_at))
        .execute(conn)
        .await
        .map_err(failed("storing a secret"))?;
        Ok(())
    }
}

struct PutToken(TokenRecord);

#[async_trait]
impl Change for PutToken {
    type Out = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        sqlx::query("INSERT INTO tokens (id, name, digest, created_at) VALUES ($1, $2, $3, $4)")
            .bind(self.0.id.as_str())
            .bind(self.0.name.as_str())
            .bind(self.0.digest.as_bytes().as_slice())
            .bind(nanos(self.0.created_at))
            .execute(conn)
            .await
            .map_err(failed("storing a token"))?;
        Ok(())
    }
}

/// Deletes one row by its name.
struct Forget {
    sql: &'static str,
    name: String,
}

#[async_trait]
impl Change for Forget {
    type Out = bool;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<bool, StorageError> {
        let gone = sqlx::query(self.sql).bind(self.name.as_str()).execute(conn).await;
        Ok(gone.map_err(failed("deleting a key"))?.rows_affected() > 0)
    }
}

struct Begin {
    key: String,
    answer: IdempotentAnswer,
    expired_before: i64,
}

#[async_trait]
impl Change for Begin {
    type Out = Option<IdempotentAnswer>;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<Self::Out, StorageError> {
        let doing = "taking an idempotency key";
        let cleared = sqlx::query(CLEAR).bind(self.expired_before).execute(&mut *conn).await;
        cleared.map_err(failed(doing))?;
        let begun = bind_answer(sqlx::query(BEGIN), &self.key, &self.answer).bind(self.expired_before);
        if begun.fetch_optional(&mut *conn).await.map_err(failed(doing))?.is_some() {
            return Ok(None);
        }
        let used =
            "SELECT request, status, body, location, created_at, job, fence FROM idempotency WHERE key = $1";
        let row = sqlx::query(used).bind(self.key.as_str()).fetch_one(&mut *conn).await;
        let before = answer(&row.map_err(failed(doing))?)?;
        let taken = sqlx::query(TAKE_OVER)
            .bind(self.key.as_str())
            .bind(int(self.answer.fence.0))
            .bind(self.answer.request.as_bytes().as_slice())
            .execute(conn)
            .await;
        taken.map_err(failed(doing))?;
        Ok(Some(before))
    }
}

struct Finish {
    key: String,
    answer: IdempotentAnswer,
}

#[async_trait]
impl Change for Finish {
    type Out = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        let done = if self.answer.status.is_some() {
            bind_answer(sqlx::query(FINISH), &self.key, &self.answer).execute(conn).await
        } else {
            sqlx::query(GIVE_BACK).bind(self.key.as_str()).execute(conn).await
        };
        done.map_err(failed("storing the answer of an idempotency key"))?;
        Ok(())
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_answer<'q>(query: Query<'q>, key: &'q str, answer: &'q IdempotentAnswer) -> Query<'q> {
    query
        .bind(key)
        .bind(answer.request.as_bytes().as_slice())
        .bind(answer.status)
        .bind(answer.body.as_deref())
        .bind(answer.location.as_deref())
        .bind(nanos(answer.created_at))
        .bind(answer.job.as_ref().map(|job| job.as_str()))
        .bind(int(answer.fence.0))
}

struct PutNote {
    name: String,
    value: i64,
}

#[async_trait]
impl Change for PutNote {
    type Out = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        let sql =
            "INSERT INTO notes (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
        let put = sqlx::query(sql).bind(self.name.as_str()).bind(self.value).execute(conn).await;
        put.map(|_| ()).map_err(failed("remembering a number"))
    }
}

/// Writes one small row.
struct Probe;

#[async_trait]
impl Change for Probe {
    type Out = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), StorageError> {
        let probed =
            sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'probe'").execute(conn).await;
        probed.map(|_| ()).map_err(failed("probing the database"))
    }
}

impl SqliteStorage {
    pub(super) async fn set_secret(&self, secret: &SealedSecret) -> Result<(), StorageError> {
        self.writer.write(PutSecret(secret.clone())).await
    }

    pub(super) async fn one_secret(&self, name: &SecretName) -> Result<Option<SealedSecret>, StorageError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT sealed, updated_at FROM secrets WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(reader.conn())
            .await
            .map_err(failed("reading a secret"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(SealedSecret {
            name: name.clone(),
            sealed: get(&row, 0)?,
            updated_at: moment(get(&row, 1)?),
        }))
    }

    pub(super) async fn all_secret_names(&self) -> Result<Vec<(SecretName, Timestamp)>, StorageError> {
        let mut reader = self.reader().await?;
        let rows =
            sqlx::query("SELECT name, updated_at FROM secrets ORDER BY name").fetch_all(reader.conn()).await;
        let rows = rows.map_err(failed("reading the names of secrets"))?;
        rows.iter().map(|row| Ok((word("a secret's name", get(row, 0)?)?, moment(get(row, 1)?)))).collect()
    }

    pub(super) async fn forget_secret(&self, name: &SecretName) -> Result<bool, StorageError> {
        let sql = "DELETE FROM secrets WHERE name = $1";
        self.writer.write(Forget { sql, name: name.to_string() }).await
    }

    pub(super) async fn add_token(&self, token: &TokenRecord) -> Result<(), StorageError> {
        self.writer.write(PutToken(token.clone())).await
    }

    pub(super) async fn all_tokens(&self) -> Result<Vec<TokenRecord>, StorageError> {
        let mut reader = self.reader().await?;
        let sql = "SELECT id, name, digest, created_at FROM tokens ORDER BY created_at, n";
        let rows = sqlx::query(sql).fetch_all(reader.conn()).await.map_err(failed("reading tokens"))?;
        let token = |row: &SqliteRow| {
            Ok(TokenRecord {
                id: get(row, 0)?,
                name: get(row, 1)?,
                digest: digest(row, 2)?,
                created_at: moment(get(row, 3)?),
            })
        };
        rows.iter().map(token).collect()
    }

    pub(super) async fn forget_token(&self, id: &str) -> Result<bool, StorageError> {
        let sql = "DELETE FROM tokens WHERE id = $1";
        self.writer.write(Forget { sql, name: id.to_owned() }).await
    }

    pub(super) async fn begin_key(
        &self,
        key: &str,
        answer: &IdempotentAnswer,
        expired_before: Timestamp,
    ) -> Result<Option<IdempotentAnswer>, StorageError> {
        let expired_before = nanos(expired_before);
        self.writer.write(Begin { key: key.to_owned(), answer: answer.clone(), expired_before }).await
    }

    pub(super) async fn finish_key(&self, key: &str, answer: &IdempotentAnswer) -> Result<(), StorageError> {
        self.writer.write(Finish { key: key.to_owned(), answer: answer.clone() }).await
    }

    pub(super) async fn one_note(&self, name: &str) -> Result<Option<i64>, StorageError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT value FROM notes WHERE name = $1").bind(name);
        let row = row.fetch_optional(reader.conn()).await.map_err(failed("reading a number"))?;
        row.map(|row| get(&row, 0)).transpose()
    }

    pub(super) async fn set_note(&self, name: &str, value: i64) -> Result<(), StorageError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(StorageError::Misuse("a remembered number has a name of 1 to 64 of `[a-z0-9_]`"));
        }
        self.writer.write(PutNote { name: name.to_owned(), value }).await
    }

    pub(super) async fn probe_write(&self) -> Result<(), StorageError> {
        self.writer.write(Probe).await
    }
}
