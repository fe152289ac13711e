"""The promises of `ports.Store`, as functions that anybody's store can be held to.

Not a test framework: each function takes `open_store`, which opens the same ledger again each time it is called, and
fails by an AssertionError. Law: a store that is used with Interlock passes all of `STORE_CONTRACT`, and
of `SHARED_STORE_CONTRACT` where several processes may open it; for those, `open_store` can be pickled.

    @pytest.mark.parametrize("promise", STORE_CONTRACT, ids=lambda promise: promise.__name__)
    def test_my_store(promise): promise(functools.partial(MyStore, url))
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from msgspec.structs import replace

from interlock.core.approval import Standing
from interlock.core.audit import GENESIS, SYSTEM, Head, hash_of
from interlock.core.budget import Account, AccountKey, Window
from interlock.core.lifecycle import State
from interlock.ports import (
    ApprovalKey,
    CallKey,
    DefinitionKey,
    HeadKey,
    PinKey,
    RunKey,
    StepKey,
    Store,
)
from interlock.testing import samples
from interlock.testing.samples import BIG, HOSTILE, appends, call_key, counts, record, run, writes
from interlock.unit import Tx, Unit

OpenStore = Callable[[], Store]

COUNTER = AccountKey("acme", "tenant", "acme", Window.DAY, 0)
WRITERS, TURNS = 4, 25
_OF_THE_SYSTEM = (PinKey, DefinitionKey)


class _Oops(Exception):
    pass


def _raising(tx: Tx) -> None:
    tx.put(RunKey("acme", "r1"), run(denials=4))
    tx.append(samples.entry("acme", 9))
    raise _Oops


# --- transactions -----------------------------------------------------------------------------------------------------


def a_transaction_gives_the_values_of_its_units_in_order(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        assert store.transact([]) == []
        nothing: Unit[None] = Unit([HeadKey("acme")], lambda _: None)
        assert store.transact([counts(COUNTER), nothing, counts(COUNTER)]) == [1, None, 2]


def a_unit_that_raises_lands_nothing_of_its_batch(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        for _ in range(2):  # on a young ledger, and on one that the store remembers
            before = store.load(HeadKey("acme"))
            try:
                store.transact([counts(COUNTER), Unit([HeadKey("acme")], _raising), counts(COUNTER)])
            except _Oops:
                pass
            else:
                raise AssertionError("the exception of a unit must come out")
            assert store.load(HeadKey("acme")) == before
            assert store.load(RunKey("acme", "r1")) is None
            store.transact([counts(COUNTER)])
        assert store.load(COUNTER).held.tool_calls == 2  # type: ignore[union-attr]
        assert len(list(store.entries("acme"))) == 2


def a_later_unit_sees_what_an_earlier_one_wrote(open_store: OpenStore) -> None:
    first, second = record(key="k1", asked_at=1, tenant_wide=True), record(key="k2", asked_at=2, tenant_wide=True)

    def look(tx: Tx) -> list[Any]:
        return [
            tx.get(call_key(second)),
            [each.call.key for each in tx.same("acme", "r1", "f1")],
            [each.call.key for each in tx.same_in_tenant("acme", "f1", 1)],
            [each.call.key for each in tx.calls_of("acme", "r1")],
        ]

    with closing(open_store()) as store:
        store.transact([writes("acme", (call_key(first), first))])
        units: list[Unit[Any]] = [writes("acme", (call_key(second), second)), Unit([HeadKey("acme")], look)]
        assert store.transact(units)[1] == [second, ["k1", "k2"], ["k1", "k2"], ["k1", "k2"]]


def what_was_committed_is_there_after_reopening(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        store.transact([writes("acme", *_one_of_each()), appends("acme", 1, 2)])
        tip = store.load(HeadKey("acme"))
    with closing(open_store()) as store:
        for key, value in _one_of_each():
            assert store.load(key) == value, key
        assert store.load(HeadKey("acme")) == tip == Head(2, list(store.entries("acme"))[-1].hash)


def a_value_is_replaced_whole(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        for value in (record(lease_until=5), record(), record(lease_until=7), record(error="é", fingerprint="f2")):
            store.transact([writes("acme", (call_key(value), value))])
            assert store.load(call_key(value)) == value
            look = Unit([HeadKey("acme"), call_key(value)], lambda tx: tx.get(CallKey("acme", "r1", "k1")))
            assert store.transact([look]) == [value]
        assert store.calls_of("acme", "r1") == [value]
        assert store.transact([Unit([HeadKey("acme")], lambda tx: tx.same("acme", "r1", "f1"))]) == [[]]


def kinds_of_keys_do_not_collide(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        pairs = _one_of_each(name="x")
        for key, value in pairs:
            store.transact([writes("x", (key, value))])
        for key, value in pairs:
            assert store.load(key) == value, key
        seen = store.transact([Unit([key for key, _ in pairs], lambda tx: [tx.get(key) for key, _ in pairs])])
        assert seen == [[value for _, value in pairs]]


def what_does_not_exist_is_none(open_store: OpenStore) -> None:
    def look(tx: Tx) -> list[Any]:
        return [tx.get(key) for key, _ in _one_of_each()] + [tx.get(HeadKey("acme"))]

    with closing(open_store()) as store:
        for keys in ([HeadKey("acme")], [HeadKey("acme"), *(key for key, _ in _one_of_each())]):
            assert set(store.transact([Unit(keys, look)])[0]) == {None}
        assert store.load(HeadKey("acme")) is None
        assert store.load(COUNTER) is None
        assert store.tenants() == []


def hostile_names_are_kept_apart(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        for place, name in enumerate(HOSTILE):
            pairs = [(key, value) for key, value in _one_of_each(name=name) if type(key) not in _OF_THE_SYSTEM]
            store.transact([writes(name, *pairs), appends(name, place)])
        for place, name in enumerate(HOSTILE):
            for key, value in _one_of_each(name=name):
                assert type(key) in _OF_THE_SYSTEM or store.load(key) == value, key
            assert [each.run_id for each in store.runs(name)] == [name]
            assert [each.call.key for each in store.calls_of(name, name)] == [name]
            assert [each.approval_id for each in store.approvals(name)] == [name]
            assert store.find_approval(name) == samples.approval(name, name)
            assert [entry.seq for entry in store.entries(name)] == [1]
            assert [key.subject for key, _ in store.accounts(name)] == [name], place
        assert store.tenants() == sorted(HOSTILE)


# --- exclusion --------------------------------------------------------------------------------------------------------


def threads_lose_no_update(open_store: OpenStore) -> None:
    with closing(open_store()) as one, closing(open_store()) as other, ThreadPoolExecutor(WRITERS) as pool:
        turns = [store for _ in range(TURNS) for store in (one, other)]
        seen = list(pool.map(lambda store: store.transact([counts(COUNTER)])[0], turns))
        assert sorted(seen) == list(range(1, 2 * TURNS + 1))
        _assert_chained(one, "acme", 2 * TURNS)


def two_stores_see_each_others_writes_at_once(open_store: OpenStore) -> None:
    with closing(open_store()) as one, closing(open_store()) as other:
        for turn in range(1, 40, 2):
            assert one.transact([counts(COUNTER)]) == [turn]
            assert other.transact([counts(COUNTER)]) == [turn + 1]
        value = record()
        other.transact([writes("acme", (call_key(value), value))])
        look = Unit([HeadKey("acme")], lambda tx: (tx.get(call_key(value)), tx.same("acme", "r1", "f1")))
        assert one.transact([look]) == [(value, [value])]


def transactions_over_several_tenants_do_not_block_each_other(open_store: OpenStore) -> None:
    names = ["a", "b", "c", SYSTEM]

    def work(turn: int) -> None:
        first, second, third, _ = names[turn % 4 :] + names[: turn % 4]
        stores[turn % 2].transact([appends(first, 1), appends(second, 1), counts(COUNTER._replace(tenant=third))])

    with closing(open_store()) as one, closing(open_store()) as other, ThreadPoolExecutor(WRITERS) as pool:
        stores = (one, other)
        list(pool.map(work, range(40)))
        for name in names:
            _assert_chained(one, name, 30)


def processes_lose_no_update(open_store: OpenStore) -> None:
    with closing(open_store()) as store, processes() as pool:
        seen = [turn for turns in pool.map(_count, [open_store] * WRITERS) for turn in turns]
        assert sorted(seen) == list(range(1, WRITERS * TURNS + 1))
        _assert_chained(store, "acme", WRITERS * TURNS)


def _count(open_store: OpenStore) -> list[int]:
    with closing(open_store()) as store:
        return [store.transact([counts(COUNTER)])[0] for _ in range(TURNS)]


# --- what is asked ----------------------------------------------------------------------------------------------------


def calls_are_found_by_fingerprint(open_store: OpenStore) -> None:
    calls = [
        record(key="k3", asked_at=3), record(key="k1", asked_at=5, tenant_wide=True), record(run_id="r2", asked_at=2),
        record(run_id="r2", key="k9", asked_at=4, tenant_wide=True), record(key="k4", fingerprint="f"),
        record("other", asked_at=1, tenant_wide=True),
    ]

    def look(tx: Tx) -> list[Any]:
        found = [tx.same("acme", "r1", "f1"), tx.same_in_tenant("acme", "f1", 4), tx.same_in_tenant("acme", "f1", 5)]
        found += [tx.same("acme", "r1", "f%"), tx.same("acme", "r3", "f1"), tx.calls_of("acme", "r2")]
        return [[(each.call.run_id, each.call.key) for each in calls] for calls in found]

    with closing(open_store()) as store:
        store.transact([writes("acme", *((call_key(each), each) for each in calls[:-1]))])
        store.transact([writes("other", (call_key(calls[-1]), calls[-1]))])
        in_run = [("r1", "k3"), ("r1", "k1")]
        wide = [("r2", "k9"), ("r1", "k1")]
        of_run = [("r2", "k1"), ("r2", "k9")]
        for _ in range(2):
            seen = store.transact([Unit([HeadKey("acme")], look)])
            assert seen == [[in_run, wide, [("r1", "k1")], [], [], of_run]]
            store.transact([appends("acme", 1)])


def leases_lapse_when_their_time_is_over(open_store: OpenStore) -> None:
    calls = [record(key=f"k{until}", lease_until=until) for until in (30, 10, 20)] + [record("other", lease_until=15)]
    with closing(open_store()) as store:
        for each in calls:
            store.transact([writes(each.call.tenant, (call_key(each), each))])
        assert [each.lease.until for each in store.lapsed(20) if each.lease] == [10, 15]
        assert [each.lease.until for each in store.lapsed(BIG, limit=3) if each.lease] == [10, 15, 20]
        settled = replace(calls[1], state=State.DONE)  # its old lease may still be told
        store.transact([writes("acme", (call_key(settled), settled))])
        assert [each.lease.until for each in store.lapsed(20) if each.lease] == [15]


def runs_come_newest_first_and_in_pages(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        for at in (3, 1, 2):
            for tenant in ("acme", "other"):
                value = run(tenant, f"r{at}", opened_at=at * 10 + (tenant == "other"))
                store.transact([writes(tenant, (RunKey(tenant, value.run_id), value))])
        assert [each.opened_at for each in store.runs("acme")] == [30, 20, 10]
        assert [each.opened_at for each in store.runs("acme", limit=2)] == [30, 20]
        assert [each.opened_at for each in store.runs("acme", limit=2, before=20)] == [10]
        assert [each.opened_at for each in store.runs(limit=4)] == [31, 30, 21, 20]
        assert list(store.runs("nobody")) == []


def approvals_are_found_by_standing_and_by_id(open_store: OpenStore) -> None:
    asked = [
        samples.approval(approval_id="a3", asked_at=3), samples.approval(approval_id="a1", asked_at=9),
        samples.approval(approval_id="a2", asked_at=2, standing=Standing.REJECTED),
        samples.approval("other", "b1", asked_at=4),
    ]
    with closing(open_store()) as store:
        for each in asked:
            store.transact([writes(each.tenant, (ApprovalKey(each.tenant, each.approval_id), each))])
        ids = [[each.approval_id for each in store.approvals(*which)] for which in _WHICH]
        assert ids == [["a2", "a3", "b1", "a1"], ["a2", "a3", "a1"], ["a3", "a1"], ["a3", "b1", "a1"], []]
        assert store.find_approval("b1") == asked[3]
        assert store.find_approval("b%") is None


_WHICH: list[tuple[Any, ...]] = [
    (), ("acme",), ("acme", Standing.WAITING), (None, Standing.WAITING), ("other", Standing.EXPIRED),
]


def steps_of_a_run_come_in_the_order_in_which_they_began(open_store: OpenStore) -> None:
    began = {"s9": 5, "s10": 5, "s-zz": 2, "s1": 7}
    with closing(open_store()) as store:
        for step_id, at in began.items():
            value = replace(samples.step(step_id=step_id), began_at=at)
            store.transact([writes("acme", (StepKey("acme", "r1", step_id), value))])
        for tenant, run_id in (("acme", "r2"), ("other", "r1")):
            store.transact([writes(tenant, (StepKey(tenant, run_id, "s1"), samples.step(tenant, run_id)))])
        assert [each.step_id for each in store.steps_of("acme", "r1")] == ["s-zz", "s9", "s10", "s1"]
        assert list(store.steps_of("acme", "r%")) == []


def definitions_are_listed_by_name_and_age(open_store: OpenStore) -> None:
    seen = [("b.x", "1", 3), ("a.x", "2", 2), ("a.x", "1", 9), ("", "v1", 1)]
    with closing(open_store()) as store:
        for name, digest, at in seen:
            key = DefinitionKey(SYSTEM, name, digest)
            store.transact([writes(SYSTEM, (key, samples.definition(name, digest, at=at)))])
        listed = [(each.name, each.digest) for each in store.definitions()]
        assert listed == [("", "v1"), ("a.x", "2"), ("a.x", "1"), ("b.x", "1")]


def accounts_and_pins_are_listed(open_store: OpenStore) -> None:
    keys = [AccountKey("acme", "agent", "bot", Window.MINUTE, start) for start in (60, 120, 180)]
    with closing(open_store()) as store:
        store.transact([writes("acme", *((key, Account()) for key in keys))])
        store.transact([writes("other", (AccountKey("other", "agent", "bot", Window.MINUTE, 120), Account()))])
        store.transact([writes(SYSTEM, *((PinKey(SYSTEM, tool), samples.pin(tool)) for tool in ("b.x", "a.x")))])
        assert sorted(key for key, _ in store.accounts("acme", 120)) == keys[1:]
        assert {key.kind: value for key, value in store.accounts("acme")} == {"account": Account()}
        assert sorted(pin.tool for pin in store.pins()) == ["a.x", "b.x"]


def entries_stream_in_order(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        store.transact([appends("acme", *range(1201)), appends("other", 1)])
        _assert_chained(store, "acme", 1201)
        assert [each.seq for each in store.entries("acme", after=1199)] == [1200, 1201]
        assert [each.seq for each in store.entries("acme", after=3, limit=2)] == [4, 5]
        assert [each.seq for each in store.entries("acme", limit=600)] == list(range(1, 601))
        assert list(store.entries("acme", after=1201)) == list(store.entries("nobody")) == []
        assert store.tenants() == ["acme", "other"]


# --- helpers ----------------------------------------------------------------------------------------------------------


def _one_of_each(name: str = "acme") -> list[tuple[Any, Any]]:
    call = record(name, name, name)
    return [
        (RunKey(name, name), run(name, name, labels={"é": "🧨"}, request="o'hara said \"%\"")),
        (StepKey(name, name, name), samples.step(name, name, name)),
        (call_key(call), call),
        (AccountKey(name, "tenant", name, Window.MONTH, BIG), samples.ACCOUNT),
        (ApprovalKey(name, name), samples.approval(name, name)),
        (PinKey(name, name), samples.pin(name)),
        (DefinitionKey(name, name, name), samples.definition(name, name)),
    ]


def _assert_chained(store: Store, tenant: str, length: int) -> None:
    before, count = GENESIS, 0
    for count, sealed in enumerate(store.entries(tenant), 1):
        assert (sealed.tenant, sealed.seq) == (tenant, count)
        assert f'"prev":"{before}"'.encode() in sealed.body
        assert sealed.hash == hash_of(sealed.body)
        before = sealed.hash
    assert count == length
    assert store.load(HeadKey(tenant)) == Head(count, before)


def processes() -> ProcessPoolExecutor:
    """Processes that share nothing with this one but the ledger."""
    return ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn"))


STORE_CONTRACT: tuple[Callable[[OpenStore], None], ...] = (
    a_transaction_gives_the_values_of_its_units_in_order,
    a_unit_that_raises_lands_nothing_of_its_batch,
    a_later_unit_sees_what_an_earlier_one_wrote,
    what_was_committed_is_there_after_reopening,
    a_value_is_replaced_whole,
    kinds_of_keys_do_not_collide,
    what_does_not_exist_is_none,
    hostile_names_are_kept_apart,
    threads_lose_no_update,
    two_stores_see_each_others_writes_at_once,
    transactions_over_several_tenants_do_not_block_each_other,
    calls_are_found_by_fingerprint,
    leases_lapse_when_their_time_is_over,
    runs_come_newest_first_and_in_pages,
    approvals_are_found_by_standing_and_by_id,
    steps_of_a_run_come_in_the_order_in_which_they_began,
    definitions_are_listed_by_name_and_age,
    accounts_and_pins_are_listed,
    entries_stream_in_order,
)
SHARED_STORE_CONTRACT: tuple[Callable[[OpenStore], None], ...] = (processes_lose_no_update,)
