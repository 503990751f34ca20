//! The ledger: every machine ever ordered. It outlives the jobs.

use sqlx::SqliteConnection;
use trainyard_domain::{Machine, OrderName, Timestamp};

use super::codec::{count, failed, get, limit, nanos, parsed};
use super::{SqliteStorage, StorageError};

/// A machine as its row.
#[derive(Debug)]
pub(super) struct MachineRow {
    pub(super) order: String,
    pub(super) ordered_at: i64,
    pub(super) gone_at: Option<i64>,
    pub(super) body: String,
}

/// Inserts or replaces one entry, within the transaction of a commit.
pub(super) async fn put_machine(conn: &mut SqliteConnection, row: &MachineRow) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO machines (order_name, ordered_at, gone_at, body) VALUES ($1, $2, $3, $4)
         ON CONFLICT (order_name) DO UPDATE SET ordered_at = $2, gone_at = $3, body = $4",
    )
    .bind(row.order.as_str())
    .bind(row.ordered_at)
    .bind(row.gone_at)
    .bind(row.body.as_str())
    .execute(conn)
    .await
    .map_err(failed("writing the ledger"))?;
    Ok(())
}

/// How often money was set aside.
pub(super) async fn reserved(conn: &mut SqliteConnection) -> Result<i64, StorageError> {
    let row = sqlx::query("SELECT n FROM reservations").fetch_one(conn).await;
    get(&row.map_err(failed("reading the reservations"))?, 0)
}

/// Once more.
pub(super) async fn count_one(conn: &mut SqliteConnection) -> Result<(), StorageError> {
    let counted = sqlx::query("UPDATE reservations SET n = n + 1").execute(conn).await;
    counted.map(drop).map_err(failed("writing the reservations"))
}

impl SqliteStorage {
    pub(super) async fn count_reservations(&self) -> Result<u64, StorageError> {
        let mut reader = self.reader().await?;
        reserved(reader.conn()).await.map(count)
    }

    pub(super) async fn list_machines_since(
        &self,
        since: Timestamp,
        max: usize,
    ) -> Result<Vec<Machine>, StorageError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query("SELECT body FROM machines WHERE gone_at IS NULL OR gone_at >= $1 LIMIT $2")
            .bind(nanos(since))
            .bind(limit(max.saturating_add(1)))
            .fetch_all(reader.conn())
            .await
            .map_err(failed("reading the ledger"))?;
        if rows.len() > max {
            return Err(StorageError::TooMany { what: "entries of the ledger", max });
        }
        rows.iter().map(|row| parsed("an entry of the ledger", get(row, 0)?)).collect()
    }

    pub(super) async fn list_machines(&self, open: bool, max: usize) -> Result<Vec<Machine>, StorageError> {
        let sql = if open {
            "SELECT body FROM machines WHERE gone_at IS NULL ORDER BY ordered_at DESC, n DESC LIMIT $1"
        } else {
            "SELECT body FROM machines ORDER BY ordered_at DESC, n DESC LIMIT $1"
        };
        let mut reader = self.reader().await?;
        let rows = sqlx::query(sql).bind(limit(max)).fetch_all(reader.conn()).await;
        let rows = rows.map_err(failed("reading the ledger"))?;
        rows.iter().map(|row| parsed("an entry of the ledger", get(row, 0)?)).collect()
    }

    pub(super) async fn one_machine(&self, order: &OrderName) -> Result<Option<Machine>, StorageError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT body FROM machines WHERE order_name = $1")
            .bind(order.as_str())
            .fetch_optional(reader.conn())
            .await
            .map_err(failed("reading the ledger"))?;
        row.map(|row| parsed("an entry of the ledger", get(&row, 0)?)).transpose()
    }
}
