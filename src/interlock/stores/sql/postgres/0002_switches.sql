-- Kill switches: a table that no ledger transaction touches, so that a kill never waits for one.
CREATE TABLE switches (
    switch_id text COLLATE "C" PRIMARY KEY,
    at        bigint NOT NULL,
    active    boolean NOT NULL,
    body      text NOT NULL
);

CREATE INDEX switches_active ON switches (at, switch_id) WHERE active;
