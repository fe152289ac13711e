-- The second wall of tenancy. Whatever a statement says, its transaction sees and writes the rows of the tenants that it
-- has named, and no row where it has named none. It names them in settings (set_config(…, true)) that are NULL or '' in
-- every other transaction:
--   interlock.tenant        '=' and the name of one tenant: what nearly every transaction says
--   interlock.tenants_N     several, by interlock_see() below
--   interlock.every_tenant  'yes', in a read-only transaction: for the few questions that go across tenants
-- A migration that changes rows must lift FORCE first, or it finds none.

-- Shows several tenants, spread over 64 settings by their hashes, so that a row is not compared with all of them. A
-- setting is the literal of an array, made by the server out of an array, so that no name can pose as two.
CREATE FUNCTION interlock_see(tenants text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('interlock.tenants_' || (hashtext(t.name) & 63), array_agg(t.name)::text, true)
        FROM unnest(tenants) AS t(name) GROUP BY hashtext(t.name) & 63;
END
$$;

-- Whether a row of this tenant is shown by interlock_see(), or because all are. Dear, so that the planner asks it of
-- those rows only that a statement's own keys have found.
CREATE FUNCTION interlock_sees(tenant text) RETURNS boolean LANGUAGE plpgsql STABLE COST 1000 AS $$
BEGIN
    RETURN tenant = ANY (nullif(current_setting('interlock.tenants_' || (hashtext(tenant) & 63), true), '')::text[])
        OR current_setting('interlock.every_tenant', true) = 'yes' AND current_setting('transaction_read_only') = 'on';
END
$$;

-- As interlock_move, for one tenant; and names it, because this is how most transactions begin.
CREATE FUNCTION interlock_move_one(of text, was bigint, new_seq bigint, new_hash text) RETURNS void
LANGUAGE plpgsql AS $$
    DECLARE
        named text;
    BEGIN
        named := set_config('interlock.tenant', '=' || of, true);
        UPDATE heads SET seq = new_seq, hash = new_hash, version = version + 1
            WHERE tenant = of COLLATE "C" AND version = was;
        IF NOT FOUND THEN
            PERFORM interlock_repeat('IL001');
        END IF;
    END
$$;

-- FORCE binds the owner of the tables too, as whom gateways commonly run. Superusers, and roles with BYPASSRLS, are
-- bound by nothing.
DO $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['heads', 'runs', 'steps', 'calls', 'accounts', 'approvals', 'pins', 'audit'] LOOP
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
            EXECUTE format(
                'CREATE POLICY one_tenant ON %I USING ('
                '%L || tenant = current_setting(%L, true) OR interlock_sees(tenant))', name, '=', 'interlock.tenant');
        END LOOP;
    END
$$;
