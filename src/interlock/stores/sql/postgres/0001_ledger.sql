-- The ledger. `tenant` leads every primary key, so that the schema can be sharded by tenant.
-- `body` is the JSON text of the value (`body::json` reads it); the other columns only find rows.
-- Text is compared byte by byte, so that order and equality are the same in every database.

-- Whoever holds a tenant's row holds the tenant: every transaction locks it first, and nothing else needs a lock.
-- Every transaction that writes anything of the tenant raises `version`.
CREATE TABLE heads (
    tenant  text COLLATE "C" PRIMARY KEY,
    seq     bigint NOT NULL,
    hash    text COLLATE "C" NOT NULL,
    version bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE runs (
    tenant    text COLLATE "C" NOT NULL,
    run_id    text COLLATE "C" NOT NULL,
    opened_at bigint NOT NULL,
    agent     text COLLATE "C" NOT NULL,
    body      text NOT NULL,
    PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 80);

CREATE INDEX runs_by_age ON runs (tenant, opened_at);

CREATE TABLE steps (
    tenant  text COLLATE "C" NOT NULL,
    run_id  text COLLATE "C" NOT NULL,
    step_id text COLLATE "C" NOT NULL,
    body    text NOT NULL,
    PRIMARY KEY (tenant, run_id, step_id)
);

-- lease_until is set while the call is leased, and at no other time.
CREATE TABLE calls (
    tenant      text COLLATE "C" NOT NULL,
    run_id      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C",
    state       text COLLATE "C" NOT NULL,
    lease_until bigint,
    asked_at    bigint NOT NULL,
    tenant_wide boolean NOT NULL,
    body        text NOT NULL,
    PRIMARY KEY (tenant, run_id, key)
);

-- Partial so that only a search for a fingerprint can use it: on a table that is still empty, the planner would take it
-- for the primary key's work too, and prepared statements keep their plans.
CREATE INDEX calls_by_fingerprint ON calls (tenant, run_id, fingerprint) WHERE fingerprint IS NOT NULL;

CREATE INDEX calls_leased ON calls (lease_until) WHERE lease_until IS NOT NULL;

CREATE INDEX calls_tenant_wide ON calls (tenant, fingerprint, asked_at) WHERE tenant_wide;

CREATE TABLE accounts (
    tenant  text COLLATE "C" NOT NULL,
    scope   text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    win     text COLLATE "C" NOT NULL,
    start   bigint NOT NULL,
    body    text NOT NULL,
    PRIMARY KEY (tenant, scope, subject, win, start)
) WITH (fillfactor = 50);

CREATE TABLE approvals (
    tenant      text COLLATE "C" NOT NULL,
    approval_id text COLLATE "C" NOT NULL,
    standing    text COLLATE "C" NOT NULL,
    asked_at    bigint NOT NULL,
    body        text NOT NULL,
    PRIMARY KEY (tenant, approval_id)
);

CREATE UNIQUE INDEX approvals_by_id ON approvals (approval_id);

CREATE INDEX approvals_by_standing ON approvals (standing, asked_at);

CREATE TABLE pins (
    tenant text COLLATE "C" NOT NULL,
    tool   text COLLATE "C" NOT NULL,
    body   text NOT NULL,
    PRIMARY KEY (tenant, tool)
);

CREATE TABLE audit (
    tenant text COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,
    hash   text COLLATE "C" NOT NULL,
    body   text NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Against accidents, not against an owner of the table, who may drop the trigger: that is what checkpoints are for.
CREATE FUNCTION interlock_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION interlock_append_only();

-- A transaction that stood on something out of date is repeated by its writer. IL001: another gateway has written.
-- IL002: something that was taken for absent is there.
CREATE FUNCTION interlock_repeat(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'interlock repeats this transaction: it stood on what is out of date' USING ERRCODE = why;
END
$$;

-- Takes the tenants' heads from the versions that the writer knows to the next ones, and locks them by that; in the
-- order in which they are given, which is the same for all.
CREATE FUNCTION interlock_move(tenants text[], versions bigint[], seqs bigint[], hashes text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. cardinality(tenants) LOOP
        UPDATE heads SET seq = seqs[i], hash = hashes[i], version = version + 1
            WHERE tenant = tenants[i] COLLATE "C" AND version = versions[i];
        IF NOT FOUND THEN
            PERFORM interlock_repeat('IL001');
        END IF;
    END LOOP;
END
$$;
