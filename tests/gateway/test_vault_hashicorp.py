"""Credentials in HashiCorp Vault: what is asked, what is lent, and what each refusal tells an operator."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import interlock
from interlock.config.scalars import reference
from interlock.errors import ConfigError, CredentialError
from interlock.vaults import Vaults
from interlock.vaults.hashicorp import HashicorpVault
from tests.gateway.vault_stub import TOKEN, VaultStub

SECRET = "canary-3fa1c0-vault"
PATH = "secret/data/acme/prod/crm"
TEMPLATE = "secret/data/{tenant}/{env}/crm#token"


@pytest.fixture
def stub() -> Iterator[VaultStub]:
    with VaultStub({PATH: {"token": SECRET, "empty": " ", "number": 7}}) as stub:
        yield stub


def lend(stub: VaultStub, template: str = TEMPLATE, tenant: str = "acme", env: str = "prod", **environ: str) -> str:
    """One read, by a vault that has kept nothing."""
    vault = HashicorpVault({"crm": template}, {**stub.environ, **environ})
    return vault.lend("crm", tenant=tenant, env=env)


def test_a_field_of_a_secret_is_lent_by_tenant_and_env(stub: VaultStub) -> None:
    assert lend(stub) == SECRET
    ((path, headers),) = stub.asked
    assert path == f"/v1/{PATH}"
    assert (headers["x-vault-token"], headers["x-vault-request"]) == (TOKEN, "true")
    assert "x-vault-namespace" not in headers


def test_a_namespace_is_named(stub: VaultStub) -> None:
    stub.namespace = "team-7"
    assert lend(stub, VAULT_NAMESPACE="team-7") == SECRET
    with pytest.raises(CredentialError, match="answers 404"):
        lend(stub, VAULT_NAMESPACE="team-8")


def test_a_token_may_be_in_a_file_that_an_agent_renews_and_nobody_else_reads(stub: VaultStub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("hvs.old")
    vault = HashicorpVault({"crm": TEMPLATE}, {"VAULT_ADDR": stub.address, "VAULT_TOKEN_FILE": str(file)}, kept=0)
    with pytest.raises(CredentialError, match="answers 403"):
        vault.lend("crm", tenant="acme", env="prod")
    file.write_text(TOKEN + "\n")
    assert vault.lend("crm", tenant="acme", env="prod") == SECRET
    file.chmod(0o644)
    with pytest.raises(CredentialError, match="chmod 600"):
        vault.lend("crm", tenant="acme", env="prod")


@pytest.mark.parametrize("tenant", ["a b", "a#b", "a?b", "a%2fb", "ä", "a+b", "a&b"])
def test_whatever_a_tenant_is_called_it_is_one_part_of_the_path(stub: VaultStub, tenant: str) -> None:
    stub.secrets[f"secret/data/{tenant}/prod/crm"] = {"token": "theirs-0001"}
    assert lend(stub, tenant=tenant) == "theirs-0001"


@pytest.mark.parametrize("tenant", ["..", ".", "a/b", "a\\b", "", "a\nb"])
def test_no_tenant_leads_to_anothers_path(stub: VaultStub, tenant: str) -> None:
    with pytest.raises(CredentialError, match="tenant"):
        lend(stub, tenant=tenant)
    assert stub.asked == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("forbidden", "403 for .*: the token may not read it"),
        ("missing", "404 for .*: there is no such secret"),
        ("deleted", "404 for .*: there is no such secret, or its newest version is deleted"),
        ("sealed", "503 for .*: it is sealed"),
        ("leads away", "307 for .*: it leads elsewhere, and the token is not sent there"),
        ("no field", "no text under 'other'"),
        ("empty", "no text under 'empty'"),
        ("a number", "no text under 'number'"),
        ("version 1", "no secret of the KV engine, version 2"),
    ],
)
def test_a_refusal_names_the_path_and_the_remedy_and_no_secret(stub: VaultStub, wrong: str, said: str) -> None:
    template = TEMPLATE
    match wrong:
        case "forbidden":
            stub.forbidden.add(PATH)
        case "missing":
            del stub.secrets[PATH]
        case "deleted":
            stub.deleted.add(PATH)
        case "sealed":
            stub.sealed = True
        case "leads away":
            stub.leads_to = "https://elsewhere.example/v1/"
        case "no field":
            template = TEMPLATE.replace("#token", "#other")
        case "empty":
            template = TEMPLATE.replace("#token", "#empty")
        case "a number":
            template = TEMPLATE.replace("#token", "#number")
        case "version 1":
            stub.answer = lambda *_: (200, {"data": {"token": SECRET}})  # type: ignore[method-assign]
    with pytest.raises(CredentialError, match=said) as refused:
        lend(stub, template)
    assert PATH in str(refused.value)
    assert SECRET not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"VAULT_ADDR": ""}, "VAULT_ADDR must name Vault"),
        ({"VAULT_ADDR": "http://vault.example:8200"}, "http:// is for this machine alone"),
        ({"VAULT_ADDR": "ftp://127.0.0.1"}, "VAULT_ADDR must name Vault"),
        ({"VAULT_ADDR": "https://me:pw@vault.example"}, "VAULT_ADDR must name Vault"),
        ({"VAULT_TOKEN": ""}, "set VAULT_TOKEN, or VAULT_TOKEN_FILE"),
        ({"VAULT_TOKEN": "two\r\nlines"}, "set VAULT_TOKEN"),
        ({"VAULT_TOKEN": "", "VAULT_TOKEN_FILE": "/nowhere/token"}, "VAULT_TOKEN_FILE /nowhere/token: No such file"),
        ({"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_CACERT": "/nowhere/ca.pem"}, "cannot be reached"),
    ],
)
def test_an_environment_that_does_not_say_enough_is_told_so(
    stub: VaultStub, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(CredentialError, match=said):
        lend(stub, **environ)
    assert stub.asked == []


def test_a_secret_is_known_for_a_while_and_then_asked_for_again(stub: VaultStub) -> None:
    keeps = HashicorpVault({"crm": TEMPLATE}, stub.environ)
    forgets = HashicorpVault({"crm": TEMPLATE}, stub.environ, kept=0)
    before = [vault.lend("crm", tenant="acme", env="prod") for vault in (keeps, forgets)]
    stub.secrets[PATH] = {"token": "rotated-0002"}
    after = [vault.lend("crm", tenant="acme", env="prod") for vault in (keeps, forgets)]
    assert (before, after) == ([SECRET] * 2, [SECRET, "rotated-0002"])
    assert len(stub.asked) == 3
    assert SECRET not in repr(keeps)


def test_what_was_known_is_not_lent_any_longer_when_vault_is_sealed(stub: VaultStub) -> None:
    vault = HashicorpVault({"crm": TEMPLATE}, stub.environ, kept=0)
    vault.lend("crm", tenant="acme", env="prod")
    stub.sealed = True
    with pytest.raises(CredentialError, match="sealed"):
        vault.lend("crm", tenant="acme", env="prod")


def test_a_vault_that_cannot_be_reached_is_not_asked_by_everybody_at_once(stub: VaultStub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        environ = {**stub.environ, "VAULT_ADDR": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        vault = HashicorpVault({"crm": TEMPLATE}, environ, timeout=0.1, pause=3600)
        with pytest.raises(CredentialError, match="cannot be reached"):
            vault.lend("crm", tenant="acme", env="prod")
        with pytest.raises(CredentialError, match="a moment ago"):
            vault.lend("crm", tenant="acme", env="prod")


@pytest.mark.parametrize(
    "template",
    [
        "secret/crm#token", "secret/data/crm", "secret/data/crm#", "data/crm#token", "secret/data#token", "#token",
        "secret/data/../crm#token", "/secret/data/crm#token", "secret/data/{tenant}{env}#token",
        "secret/data/{tenant}/{tenant}#token", "secret/data/{who}#token",
    ],
)
def test_a_place_that_is_none_is_refused_in_the_config_and_by_the_vault(template: str) -> None:
    with pytest.raises(ValueError, match=r"vault:|placeholder|once each|put '/'"):
        reference(f"vault:{template}")
    with pytest.raises(ConfigError):
        Vaults({"crm": f"vault:{template}"})


def test_the_config_takes_a_place_in_vault() -> None:
    for place in (f"vault:{TEMPLATE}", "vault:team/kv/data/crm#api.key", "vault:secret/data/{TENANT}/crm#token"):
        assert reference(place) == place
        assert Vaults({"crm": place}).waits("crm")
    assert not Vaults({"crm": "env:CRM"}).waits("crm")


# --- in a gateway ----------------------------------------------------------------------------------------------------


def test_a_tool_is_lent_it_and_nobody_else_sees_it(stub: VaultStub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stub.environ.items():
        monkeypatch.setenv(name, value)
    config = {"ledger": "memory:", "policy": {"allow": ["*"]}, "credentials": {"crm": f"vault:{TEMPLATE}"}}
    with interlock.open(config) as gateway:

        @gateway.tool("crm.find", effect="read", credential="crm")
        async def find(key: interlock.Credential) -> dict[str, object]:
            return {"sent": f"Bearer {key}", "as it is": key == SECRET}

        @gateway.tool("crm.lost", effect="read", credential="crm")
        def lost(key: interlock.Credential) -> None:
            raise AssertionError("it must not be performed")

        with gateway.run(agent="bot", tenant="acme", env="prod") as run:
            assert run.call("crm.find", {}).value == {"sent": "Bearer [redacted]", "as it is": True}
        stub.sealed = True
        with gateway.run(agent="bot", tenant="globex", env="prod") as run:
            out = run.call("crm.lost", {})
        assert (out.kind, "sealed" in out.text) == ("failed", False)


class Slow:
    """A vault that waits until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def waits(self, name: str) -> bool:
        return True

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        self.asked.set()
        self.go.wait(20)
        return SECRET


@pytest.mark.parametrize("leaves", [False, True])
def test_a_vault_that_waits_keeps_no_event_loop_waiting(leaves: bool) -> None:
    vault, done = Slow(), []

    async def scenario(gateway: interlock.Gateway) -> None:
        run = gateway.run(agent="bot", tenant="acme", env="prod")
        slow = asyncio.create_task(run.acall("crm.find", {}, call_id="c1"))
        await asyncio.to_thread(vault.asked.wait, 20)
        assert (await run.acall("look", {})).kind == "done"  # the loop goes on meanwhile
        if leaves:
            slow.cancel()
            await asyncio.sleep(0.01)
        vault.go.set()
        if leaves:
            with pytest.raises(asyncio.CancelledError):
                await slow
            assert done == []
        assert (await run.acall("crm.find", {}, call_id="c1")).kind == "done"

    config = {"ledger": "memory:", "policy": {"allow": ["*"]}, "credentials": {"crm": "env:NOWHERE"}}
    with interlock.open(config, vault=vault) as gateway:
        gateway.tool("look", effect="read")(lambda: 1)

        @gateway.tool("crm.find", effect="write", credential="crm")
        async def find(key: interlock.Credential) -> None:
            done.append(str(key))

        asyncio.run(scenario(gateway))
    assert done == [SECRET]
