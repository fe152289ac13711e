"""Keys: who gets in, who does not, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

import interlock
from interlock.core.audit import SYSTEM, Entry, Kind, decode
from interlock.core.call import MICROS
from interlock.core.principal import Principal, Role
from interlock.errors import LedgerUnavailable, Refused
from interlock.identity import Identity, Unauthenticated
from interlock.keyrings import identity_of, key_ring
from interlock.stores.memory_keys import MemoryKeyRing
from interlock.testing import ManualClock

BOT = Principal(name="support bot", roles=(Role.AGENT,), tenant="acme", agent="bot", env="prod")
ANN = Principal(name="ann", roles=(Role.APPROVER,), tenant="acme")
DAY = 86_400 * MICROS


class Desk:
    """An identity on a ring in memory, and the entries that it leaves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ring = MemoryKeyRing()
        self.entries: list[Entry] = []
        self.identity = Identity(self.ring, self.clock, self.entries.append)

    def who(self, token: str) -> Principal:
        return asyncio.run(self.identity.principal_of(token))

    def nobody(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.who(token)
        return str(caught.value)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_key_makes_its_principal(desk: Desk) -> None:
    key, token = desk.identity.give(BOT, by="ops")
    assert token.startswith(f"ilk_{key.key_id}_")
    assert desk.who(token) == replace(BOT, key_id=key.key_id)


def test_no_two_keys_are_alike_and_no_secret_is_kept(desk: Desk) -> None:
    given = [desk.identity.give(BOT, by="ops") for _ in range(50)]
    assert len({token for _, token in given}) == len({key.key_id for key, _ in given}) == 50
    kept = repr([desk.identity.keys(), desk.entries, given[0][0]])
    for _, token in given:
        assert token.split("_", 2)[2] not in kept


def test_whoever_shows_anything_else_is_nobody(desk: Desk) -> None:
    key, token = desk.identity.give(BOT, by="ops")
    _, other = desk.identity.give(ANN, by="ops")
    prefix, secret = token[:21], token[21:]
    flipped = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    wrong = [
        "", "ilk_", "ilk__", prefix, secret, token + "x", token[:-1], " " + token, token + "\n", token + "\x00",
        token.upper(), prefix + flipped, prefix + other[21:], f"ilk_{'0' * 16}_{secret}", f"ilk_../../etc_{secret}",
        f"ilk_{key.key_id}_{key.digest}", prefix + "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 43, "ilk_" + "a" * 99_999,
        "a" * 1_000_000, "\ud800", prefix + "\ud800" * 43, "Bearer " + token, "x.y.z", "eyJhbGciOiJub25lIn0.e30.",
    ]
    for each in wrong:
        assert desk.nobody(each) == "this is no valid credential"
    assert desk.who(token).agent == "bot"


def test_a_key_ends_when_it_expires(desk: Desk) -> None:
    _, token = desk.identity.give(ANN, by="ops", expires_in=DAY)
    desk.clock.advance(86_399.999999)
    assert desk.who(token).name == "ann"
    desk.clock.advance(0.000001)
    assert desk.nobody(token) == "this key has expired"
    assert desk.nobody(token[:-3] + "abc") == "this is no valid credential"  # the reason is for the holder alone


def test_a_revoked_key_is_refused_at_once_and_for_ever(desk: Desk) -> None:
    key, token = desk.identity.give(ANN, by="ops")
    revoked = desk.identity.revoke(key.key_id, by="boss")
    assert (revoked.revoked_by, revoked.revoked_at) == ("boss", desk.clock.now())
    assert desk.nobody(token) == "this key was revoked"
    desk.clock.set(0)
    assert desk.nobody(token) == "this key was revoked"


def test_revoking_again_changes_nothing(desk: Desk) -> None:
    key, _ = desk.identity.give(ANN, by="ops")
    first = desk.identity.revoke(key.key_id, by="boss")
    desk.clock.advance(60)
    assert desk.identity.revoke(key.key_id, by="somebody") == first
    assert [entry.kind for entry in desk.entries] == [Kind.KEY_GIVEN, Kind.KEY_REVOKED]
    with pytest.raises(Refused, match="no key"):
        desk.identity.revoke("nothing", by="boss")


@pytest.mark.parametrize(
    "who",
    [
        replace(BOT, roles=()),
        replace(BOT, roles=(Role.AGENT, Role.APPROVER)),
        replace(BOT, roles=(Role.ADMIN, Role.AGENT)),
        replace(BOT, tenant=""),
        replace(BOT, agent=""),
        replace(BOT, env=""),
        replace(BOT, tenant=SYSTEM),
        replace(BOT, agent="a\u202eb"),
        replace(BOT, name=""),
        replace(ANN, name="ann\n"),
        replace(ANN, agent="bot"),
        replace(ANN, tenant=SYSTEM),
        replace(ANN, name="\ud800"),
    ],
)
def test_there_is_no_key_for_what_can_be_no_principal(desk: Desk, who: Principal) -> None:
    with pytest.raises(Refused):
        desk.identity.give(who, by="ops")
    assert desk.entries == []
    assert desk.identity.keys() == []


def test_a_time_of_expiry_that_is_none_is_refused(desk: Desk) -> None:
    for wrong in ({"expires_in": 0}, {"expires_in": -1}, {"expires_at": desk.clock.now()}, {"expires_in": 4000 * DAY}):
        with pytest.raises(Refused, match="in the future"):
            desk.identity.give(ANN, by="ops", **wrong)
    with pytest.raises(Refused, match="once"):
        desk.identity.give(ANN, by="ops", expires_in=DAY, expires_at=desk.clock.now() + DAY)
    with pytest.raises(Refused, match="by"):
        desk.identity.give(ANN, by="")


def test_a_key_that_somebody_wrote_into_the_ring_for_no_possible_principal_opens_nothing(desk: Desk) -> None:
    key, token = desk.identity.give(BOT, by="ops")
    desk.ring.put(replace(key, principal=replace(key.principal, roles=(Role.AGENT, Role.ADMIN))))
    assert desk.nobody(token) == "this is no valid credential"


def test_a_key_whose_entry_cannot_be_written_is_not_given() -> None:
    ring = MemoryKeyRing()

    def gone(_: Entry) -> None:
        raise LedgerUnavailable("the disk is full")

    with pytest.raises(LedgerUnavailable):
        Identity(ring, ManualClock(), gone).give(ANN, by="ops")
    assert ring.keys() == []


def test_a_revocation_holds_though_its_entry_waits(desk: Desk) -> None:
    key, token = desk.identity.give(ANN, by="ops")

    def gone(_: Entry) -> None:
        raise LedgerUnavailable("the disk is full")

    with pytest.raises(LedgerUnavailable, match="holds in every process"):
        Identity(desk.ring, desk.clock, gone).revoke(key.key_id, by="boss")
    desk.nobody(token)
    assert [entry.kind for entry in desk.entries] == [Kind.KEY_GIVEN]
    desk.identity.revoke(key.key_id, by="somebody else")
    assert desk.entries[-1].kind is Kind.KEY_REVOKED
    assert desk.entries[-1].by == "boss"


def test_the_keys_of_one_tenant_are_listed_apart(desk: Desk) -> None:
    acme, _ = desk.identity.give(BOT, by="ops")
    other, _ = desk.identity.give(replace(BOT, tenant="other"), by="ops")
    boss, _ = desk.identity.give(Principal(name="boss", roles=(Role.ADMIN,)), by="ops")
    assert desk.identity.keys("acme") == [acme]
    assert desk.identity.keys("other") == [other]
    assert len(desk.identity.keys()) == 3
    assert desk.identity.find(boss.key_id) == boss


def test_the_first_operator_gets_a_key_once(desk: Desk) -> None:
    assert not desk.identity.has_usable_key()
    token = desk.identity.first_operator_key()
    assert token is not None
    assert desk.who(token).roles == (Role.ADMIN,)
    assert desk.identity.has_usable_key()
    assert desk.identity.first_operator_key() is None
    desk.identity.revoke(desk.identity.keys()[0].key_id, by="me")
    assert not desk.identity.has_usable_key()
    assert desk.identity.first_operator_key() is None  # whoever revoked the last one did not mean a new one to appear


def test_an_admin_of_a_tenant_gives_keys_within_it_alone() -> None:
    boss = Principal(name="boss", roles=(Role.ADMIN,))
    theirs = replace(boss, tenant="acme")
    assert boss.may_give(BOT)
    assert boss.may_give(boss)
    assert theirs.may_give(BOT)
    assert not theirs.may_give(boss)
    assert not theirs.may_give(replace(BOT, tenant="other"))
    assert not ANN.may_give(ANN)
    assert not BOT.may_give(BOT)


# --- with a gateway --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory:",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'ledger.db'}",
        "postgres": lambda: str(request.getfixturevalue("postgres_url")),
    }
    return {"ledger": urls[request.param]()}


def test_giving_and_revoking_stand_in_the_chain_of_whom_it_concerns(config: dict[str, object]) -> None:
    with interlock.open(config) as gateway:
        identity = identity_of(gateway)
        bot, token = identity.give(BOT, by="ops", expires_in=DAY)
        identity.give(Principal(name="boss", roles=(Role.ADMIN,)), by="interlock serve")
        assert asyncio.run(identity.principal_of(token)).agent == "bot"
        identity.revoke(bot.key_id, by="boss")
        with pytest.raises(Unauthenticated):
            asyncio.run(identity.principal_of(token))
        acme = [decode(sealed.body) for sealed in gateway.store.entries("acme")]
        system = [decode(sealed.body) for sealed in gateway.store.entries(SYSTEM)]
        assert gateway.audit.verify("acme").ok
    assert [(entry.kind, entry.by, entry.detail["key_id"]) for entry in acme] == [
        (Kind.KEY_GIVEN, "ops", bot.key_id),
        (Kind.KEY_REVOKED, "boss", bot.key_id),
    ]
    assert acme[0].detail["roles"] == ["agent"]
    assert acme[0].detail["expires_at"] == bot.expires_at
    assert [(entry.kind, entry.detail["name"]) for entry in system] == [(Kind.KEY_GIVEN, "boss")]
    assert token.split("_", 2)[2] not in repr(acme)


def test_keys_outlive_the_program_beside_their_ledger(tmp_path: Path) -> None:
    config = {"ledger": f"sqlite:///{tmp_path / 'ledger.db'}"}
    with interlock.open(config) as gateway:
        _, token = identity_of(gateway).give(BOT, by="ops")
    with interlock.open(config) as gateway:
        assert asyncio.run(identity_of(gateway).principal_of(token)).agent == "bot"
    assert (tmp_path / "ledger.db.keys").exists()
    secret = token.split("_", 2)[2].encode()
    assert not [path for path in tmp_path.iterdir() if secret in path.read_bytes()]


def test_a_gateway_that_was_closed_lets_nobody_in(tmp_path: Path) -> None:
    with interlock.open({"ledger": f"sqlite:///{tmp_path / 'ledger.db'}"}) as gateway:
        identity = identity_of(gateway)
        _, token = identity.give(BOT, by="ops")
    with pytest.raises(LedgerUnavailable):
        asyncio.run(identity.principal_of(token))


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    from interlock.config import load

    with pytest.raises(LedgerUnavailable, match="create it"):
        key_ring(load({"ledger": f"sqlite:///{tmp_path / 'no' / 'ledger.db'}"}))
