-- The ledger on SQLite. `body` is the JSON of the value; the other columns only find rows. `tenant` leads every key.
-- Every b-tree that a commit touches costs it a page at least. So small rows are clustered on their key, calls and
-- entries are numbered in the order in which they come and only appended, and what leads an index is short.

CREATE TABLE tenants (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL UNIQUE
);

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

CREATE TABLE run_names (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    run_id TEXT NOT NULL,
    UNIQUE (tenant, run_id)
);

CREATE TABLE calls (
    number      INTEGER PRIMARY KEY,     -- in the order in which they were first asked for
    run         INTEGER NOT NULL REFERENCES run_names (number),
    key         TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state       TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    lease_until INTEGER,                 -- only while leased
    tenant_wide INTEGER NOT NULL,
    body        TEXT NOT NULL,
    UNIQUE (run, key)
);
CREATE INDEX calls_same ON calls (run, fingerprint);
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
    place INTEGER PRIMARY KEY,           -- the tenant's number * 2^40 + the entry's: appended, and no index beside it
    hash  TEXT NOT NULL,
    body  TEXT NOT NULL                  -- the entry's canonical bytes, as hashed
);

-- For people: the audit as it is spoken of.
CREATE VIEW audit_entries AS
    SELECT tenants.tenant, audit.place & 1099511627775 AS seq, audit.hash, audit.body
    FROM audit JOIN tenants ON tenants.number = audit.place >> 40;
