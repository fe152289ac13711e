-- What tools and policies said, by digest, so that a recorded run can be read without the program that made it.
CREATE TABLE definitions (
    tenant text COLLATE "C" NOT NULL,
    name   text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    body   text NOT NULL,
    PRIMARY KEY (tenant, name, digest)
);

-- Behind the second wall of tenancy, as in 0004.
ALTER TABLE definitions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY one_tenant ON definitions USING (
    '=' || tenant = current_setting('interlock.tenant', true) OR interlock_sees(tenant));
