-- Jobs and their history. Times are nanoseconds since 1970 in UTC; JSON is text as the domain writes it.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('epoch', 0), ('probe', 0);

CREATE TABLE jobs (
    -- The order of creation, and the cursor of the list.
    n               INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL,
    provider        TEXT,
    model_name      TEXT NOT NULL,
    labels          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    -- The order of submission; null while the job is submitted to nobody.
    submitted       INTEGER,
    -- 1 while it was submitted and holds no machine.
    waiting         INTEGER NOT NULL,
    due_at          INTEGER,
    version         INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    -- The oldest number from which the history is whole.
    whole_from      INTEGER NOT NULL DEFAULT 1,
    log_bytes       INTEGER NOT NULL DEFAULT 0,
    -- How far the agent of which attempt was read.
    cursor_attempt  INTEGER,
    cursor_n        INTEGER,
    current_metrics TEXT,
    progress        TEXT,
    body            TEXT NOT NULL,
    -- Written once; last, so that a list need not read over it.
    spec            TEXT NOT NULL
) STRICT;

CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_provider ON jobs (provider) WHERE provider IS NOT NULL;
CREATE INDEX jobs_by_provider_state ON jobs (provider, state) WHERE provider IS NOT NULL;
CREATE INDEX jobs_by_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_by_end ON jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX jobs_by_submission ON jobs (submitted) WHERE submitted IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (provider, submitted) WHERE waiting = 1;

CREATE TABLE job_labels (
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    job   INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_labels_by_job ON job_labels (job);

-- How many jobs there are of each provider ('' for none) and state, so that a list's total needs no count.
CREATE TABLE job_counts (
    provider TEXT NOT NULL,
    state    TEXT NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (provider, state)
) STRICT, WITHOUT ROWID;

-- Counts and labels follow the row by themselves: no statement can forget them.
CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts (provider, state, count) VALUES (coalesce(NEW.provider, ''), NEW.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER jobs_uncounted AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET count = count - 1
        WHERE provider = coalesce(OLD.provider, '') AND state = OLD.state;
END;

CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, provider ON jobs
    WHEN NEW.state <> OLD.state OR NEW.provider IS NOT OLD.provider
BEGIN
    UPDATE job_counts SET count = count - 1
        WHERE provider = coalesce(OLD.provider, '') AND state = OLD.state;
    INSERT INTO job_counts (provider, state, count) VALUES (coalesce(NEW.provider, ''), NEW.state, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER jobs_labelled AFTER INSERT ON jobs WHEN NEW.labels <> '{}' BEGIN
    INSERT INTO job_labels (name, value, job) SELECT key, value, NEW.n FROM json_each(NEW.labels);
END;

CREATE TRIGGER jobs_relabelled AFTER UPDATE OF labels ON jobs WHEN NEW.labels <> OLD.labels BEGIN
    DELETE FROM job_labels WHERE job = NEW.n;
    INSERT INTO job_labels (name, value, job) SELECT key, value, NEW.n FROM json_each(NEW.labels);
END;

-- Facts: kept for as long as the job.
CREATE TABLE facts (
    job     INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    attempt INTEGER,
    kind    TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- Telemetry: one row holds the numbers last - count + 1 to last. The body is an array of [at, event].
CREATE TABLE telemetry (
    job      INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    last     INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    -- The newest time in it.
    at       INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    -- 1 where there are metrics in it, and the largest step among them.
    metrics  INTEGER NOT NULL,
    step_max INTEGER,
    body     TEXT NOT NULL,
    PRIMARY KEY (job, last)
) STRICT;

CREATE INDEX telemetry_by_age ON telemetry (at);
