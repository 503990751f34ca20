-- The ledger of machines, and what is known of secrets, tokens and idempotency keys.

CREATE TABLE machines (
    n          INTEGER PRIMARY KEY,
    order_name TEXT NOT NULL UNIQUE,
    ordered_at INTEGER NOT NULL,
    gone_at    INTEGER,
    body       TEXT NOT NULL
) STRICT;

CREATE INDEX machines_by_order ON machines (ordered_at);
CREATE INDEX machines_open ON machines (ordered_at) WHERE gone_at IS NULL;

CREATE TABLE secrets (
    name       TEXT PRIMARY KEY NOT NULL,
    sealed     BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    n          INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    digest     BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    key        TEXT PRIMARY KEY NOT NULL,
    request    BLOB NOT NULL,
    status     INTEGER,
    body       TEXT,
    location   TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);
