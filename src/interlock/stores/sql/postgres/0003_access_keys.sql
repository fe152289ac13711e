-- Keys of agents and people, without their secrets: a table that no ledger transaction touches, so that a revocation
-- never waits for one.
CREATE TABLE access_keys (
    key_id     text COLLATE "C" PRIMARY KEY,
    created_at bigint NOT NULL,
    body       text NOT NULL
);
