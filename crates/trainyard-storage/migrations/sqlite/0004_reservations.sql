-- Money set aside: how often it was done, so that two decisions never rest on the same reading of the ledger.

CREATE TABLE reservations (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL
) STRICT;

INSERT INTO reservations (one, n) VALUES (1, 0);

CREATE INDEX machines_gone ON machines (gone_at);
