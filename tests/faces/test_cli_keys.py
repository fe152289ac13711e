import asyncio
import json
import re
import sqlite3
import subprocess

import pytest

import interlock
from interlock.core.audit import Kind, decode
from interlock.identity import Unauthenticated
from interlock.keyrings import identity_of
from tests.faces.test_cli_ground import CONFIG, PROGRAM, ground, obeyed

__all__ = ["ground"]

BY = ("--by", "bob")
BOT = ("--name", "support bot", "--role", "agent", "--tenant", "acme", "--agent", "bot", "--env", "prod")
ANN = ("--name", "ann", "--role", "approver", "--role", "auditor")


def test_a_key_is_made_where_there_was_no_ledger_yet_and_lets_its_agent_in(ground):
    made = ground.cli("keys", "create", *BOT, *BY, "--expires", "90d")
    token = made.splitlines()[-1]
    assert re.fullmatch(r"ilk_[0-9a-f]{16}_[\w-]{43}", token)
    assert "shown this once" in made
    assert "agent bot of tenant acme in prod" in made
    with interlock.open(ground.config) as gateway:
        who = asyncio.run(identity_of(gateway).principal_of(token))
    assert (who.name, who.tenant, who.agent, who.env, list(who.roles)) == (
        "support bot", "acme", "bot", "prod", ["agent"]
    )


def test_a_key_is_shown_once_and_never_again(ground):
    made = ground.json("keys", "create", *ANN, *BY)
    secret = made["token"].split("_", 2)[2]
    said = ground.cli("keys", "list") + json.dumps(ground.json("keys", "list"))
    said += ground.cli("keys", "revoke", made["key_id"], *BY)
    assert secret not in said
    assert made["key_id"] in said
    assert not [path for path in ground.folder.iterdir() if secret.encode() in path.read_bytes()]


def test_a_key_is_told_in_json_as_it_is(ground):
    made = ground.json("keys", "create", *ANN, *BY, "--tenant", "acme")
    assert made.pop("token").startswith(f"ilk_{made['key_id']}_")
    assert (made["state"], made["roles"], made["tenant"], made["agent"]) == (
        "usable", ["approver", "auditor"], "acme", ""
    )
    assert (made["created_by"], made["expires_at"], made["revoked_at"]) == ("bob", None, None)
    assert ground.json("keys", "list") == {"keys": [made]}


def test_the_keys_of_one_tenant_are_listed_apart(ground):
    ground.cli("keys", "create", *BOT, *BY)
    ground.cli("keys", "create", *ANN, *BY)
    assert len(ground.json("keys", "list")["keys"]) == 2
    assert [key["agent"] for key in ground.json("keys", "list", "--tenant", "acme")["keys"]] == ["bot"]
    shown = ground.cli("keys", "list")
    assert all(word in shown for word in ("usable", "ann", "approver"))


def test_a_key_that_is_revoked_is_refused_by_a_gateway_that_is_running(ground):
    made = ground.json("keys", "create", *ANN, *BY)
    with interlock.open(ground.config) as gateway:
        identity = identity_of(gateway)
        assert asyncio.run(identity.principal_of(made["token"])).name == "ann"
        revoked = ground.program("keys", "revoke", made["key_id"], *BY)
        assert (revoked.returncode, revoked.stderr) == (0, b"")
        with pytest.raises(Unauthenticated, match="revoked"):
            asyncio.run(identity.principal_of(made["token"]))
    assert [key["state"] for key in ground.json("keys", "list")["keys"]] == ["revoked"]
    assert ground.json("keys", "revoke", made["key_id"], "--by", "eve")["revoked_by"] == "bob"


def test_giving_and_revoking_are_in_the_audit(ground):
    made = ground.json("keys", "create", *BOT, *BY)
    ground.cli("keys", "revoke", made["key_id"], "--by", "eve")
    with interlock.open(ground.config) as gateway:
        entries = [decode(sealed.body) for sealed in gateway.store.entries("acme")]
    told = [(entry.kind, entry.by, entry.detail["key_id"]) for entry in entries]
    assert told == [(Kind.KEY_GIVEN, "bob", made["key_id"]), (Kind.KEY_REVOKED, "eve", made["key_id"])]
    assert "intact, 2 entries" in ground.cli("audit", "verify")


def test_a_key_that_there_cannot_be_is_refused(ground):
    for wrong, code, why in (
        (("--name", "x", "--role", "agent", "--tenant", "acme"), 1, "an agent needs agent, env"),
        ((*BOT, "--role", "approver"), 1, "an agent can hold no other role"),
        ((*ANN, "--agent", "bot"), 1, "a person has neither"),
        (("--name", "x", "--role", "root"), 2, "root"),
        (("--name", "x"), 2, "--role"),
        (("--name", "", "--role", "admin"), 2, "must not be empty"),
        ((*ANN, "--tenant", "*"), 2, "whole system"),
        ((*ANN, "--expires", "soon"), 2, "no duration"),
        ((*ANN, "--expires", "0s"), 2, "longer than nothing"),
        ((*ANN, "--expires", "99999d"), 2, "at most"),
    ):
        ground.cli("keys", "create", *wrong, *BY, code=code)
        assert why in ground.err, wrong
    ground.cli("keys", "create", *ANN, code=2)
    assert "--by" in ground.err


def test_a_revocation_names_a_key_that_there_is(ground):
    ground.cli("keys", "revoke", "abc", *BY, code=1)
    made = ground.json("keys", "create", *ANN, *BY)
    ground.cli("keys", "revoke", "abc", *BY, code=1)
    assert "there is no key 'abc'" in ground.err
    ground.cli("keys", "revoke", made["token"], *BY, code=2)
    assert "by its id" in ground.err
    assert made["token"].split("_", 2)[2] not in ground.err


def test_looking_for_keys_makes_no_file(ground):
    with interlock.open(ground.config):
        pass
    assert "there is no key" in ground.cli("keys", "list")
    ground.cli("keys", "revoke", "abc", *BY, code=1)
    assert not list(ground.folder.glob("*.keys"))


def test_keys_of_a_ledger_in_memory_would_be_gone_at_once(ground):
    ground.config.write_text("ledger: 'memory:'\n")
    ground.cli("keys", "create", *ANN, *BY, code=1)
    assert "name a file" in ground.err


def test_a_key_can_be_revoked_though_the_identity_provider_is_set_up_wrongly(ground):
    made = ground.json("keys", "create", *ANN, *BY)
    oidc = '{issuer: "https://login.example", audience: a, jwks: nowhere.json}'
    ground.config.write_text(f"{CONFIG}serve: {{oidc: {oidc}}}\n")
    assert ground.json("keys", "revoke", made["key_id"], *BY)["state"] == "revoked"


def test_a_revocation_waits_for_no_writer_of_the_ledger(ground):
    made = ground.json("keys", "create", *ANN, *BY)
    with interlock.open(ground.config) as gateway:
        identity = identity_of(gateway)
        writer = sqlite3.connect(ground.folder / "interlock.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        program = subprocess.Popen([*PROGRAM, "keys", "revoke", made["key_id"], *BY], cwd=ground.folder)
        refused = False
        while not refused:
            try:
                asyncio.run(identity.principal_of(made["token"]))
            except Unauthenticated:
                refused = True
            assert program.poll() is None
        writer.execute("ROLLBACK")
        writer.close()
        assert program.wait(30) == 0


def test_what_stands_in_a_name_is_no_command_for_a_terminal(ground):
    ground.cli("keys", "create", "--name", "[bold red]x[/]", "--role", "admin", *BY)
    shown = ground.cli("keys", "list")
    assert "[bold red]x[/]" in shown
    assert not obeyed(shown)
