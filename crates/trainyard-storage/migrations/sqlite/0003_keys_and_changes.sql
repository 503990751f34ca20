-- What was made or changed under an idempotency key, and by which process.

ALTER TABLE idempotency ADD COLUMN job TEXT;
ALTER TABLE idempotency ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;

-- Numbers that are remembered by name.
CREATE TABLE notes (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
