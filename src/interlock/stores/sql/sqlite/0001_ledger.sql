-- The ledger on SQLite. `body` is the JSON of the value; the other columns only find rows. `tenant` leads every key.
-- Small rows are clustered on their key: a b-tree less is a page less in every commit. Rows that may be longer than a
-- quarter of a page are not: there they would take an overflow page each.

CREATE TABLE heads (
    tenant TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL,
    hash   TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE runs (
    tenant    TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (tenant, run_id)
);
CREATE INDEX runs_newest ON runs (opened_at);
CREATE INDEX runs_newest_of_tenant ON runs (tenant, opened_at);

CREATE TABLE steps (
    tenant  TEXT NOT NULL,
    run_id  TEXT NOT NULL,
    step_id TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (tenant, run_id, step_id)
);

CREATE TABLE calls (
    tenant      TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state       TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    lease_until INTEGER,                 -- only while leased
    tenant_wide INTEGER NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (tenant, run_id, key)
);
CREATE INDEX calls_same ON calls (tenant, run_id, fingerprint);
CREATE INDEX calls_same_in_tenant ON calls (tenant, fingerprint, asked_at) WHERE tenant_wide = 1;
CREATE INDEX calls_leased ON calls (lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE accounts (
    tenant  TEXT NOT NULL,
    scope   TEXT NOT NULL,
    subject TEXT NOT NULL,
    win     TEXT NOT NULL,
    start   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (tenant, scope, subject, win, start)
) WITHOUT ROWID;

CREATE TABLE approvals (
    tenant      TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    standing    TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (tenant, approval_id)
);
CREATE UNIQUE INDEX approvals_by_id ON approvals (approval_id);
CREATE INDEX approvals_by_standing ON approvals (standing, asked_at);

CREATE TABLE pins (
    tenant TEXT NOT NULL,
    tool   TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (tenant, tool)
);

CREATE TABLE audit (
    tenant TEXT NOT NULL,
    seq    INTEGER NOT NULL,
    hash   TEXT NOT NULL,
    body   TEXT NOT NULL,               -- the entry's canonical bytes, as hashed
    PRIMARY KEY (tenant, seq)
);
