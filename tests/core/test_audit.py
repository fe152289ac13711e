"""What the chain promises: every edit, drop, swap, cut and insertion is found, and the first bad entry is named."""

import time
import tracemalloc
from collections.abc import Iterable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.audit import Entry, Head, Kind, Sealed, decode, encode, hash_of, seal
from interlock.core.verdict import Reason, StopReason, Verdict
from interlock.core.verify import Anchor, Problem, Verification, Verifier

REASONS = (Reason("policy", Verdict.DENY, "no rule", rule="r1", stop=None), Reason("budget", Verdict.STOP, "out"))
FULL = Entry(
    tenant="acme", at=5, kind=Kind.DECIDED, run_id="r", step_id="s", call_id="c", key="k", agent="bot", env="prod",
    runtime="plain", tool="ticket.create", verdict="deny", reasons=REASONS, policy_version="p1", outcome="done",
    args=msgspec.Raw(b'{"title":"x"}'), args_digest="a", result_digest="b", schema_digest="d", error="e",
    approval_id="ap", attempt=1, usd=7, tokens=8, by="oncall", note="n", detail={"scope": {"tenant": "acme"}},
)


def entry(number: int, **changes: object) -> Entry:
    return msgspec.structs.replace(FULL, at=number, call_id=f"c{number}", **changes)


def chain(entries: Iterable[Entry], head: Head = Head()) -> Iterator[Sealed]:  # noqa: B008
    for one in entries:
        sealed, head = seal(one, head)
        yield sealed


def log(length: int = 9) -> list[Sealed]:
    return list(chain(map(entry, range(1, length + 1))))


def tip(sealed: list[Sealed]) -> Head:
    return Head(sealed[-1].seq, sealed[-1].hash)


def verified(
    sealed: Iterable[Sealed], stored: Head | None = None, anchors: Iterable[Anchor | Problem] = (), start: Head = Head()  # noqa: B008
) -> Verification:
    """As a ledger is verified: rows in the order of their number, the head read before and after them."""
    known = [*anchors, *([Anchor(stored.seq, stored.hash, "the ledger's head")] if stored else [])]
    verifier = Verifier("acme", start, sorted(known, key=lambda one: one.seq))
    for one in sealed:
        if verifier.feed(one) and not verifier.wants_more:
            break
    verifier.finish(stored)
    return verifier.result()


def found(verification: Verification) -> tuple[int, str]:
    assert not verification.ok
    assert verification.problem is not None
    assert f"first bad entry {verification.problem.seq}: {verification.problem.reason}" in verification.text
    return verification.problem.seq, verification.problem.reason


def rehashed(one: Sealed, **changes: object) -> Sealed:
    """An entry edited by somebody who knows how the hash is made."""
    body = encode(msgspec.structs.replace(decode(one.body), **changes))
    return Sealed(one.tenant, one.seq, body, hash_of(body))


def other(value: object) -> object:
    """Another value of the same type."""
    match value:
        case Kind():
            return Kind.SETTLED
        case str():
            return value + "x"
        case int():
            return value + 1
        case tuple():
            return value[:1]
        case msgspec.Raw():
            return msgspec.Raw(b'{"title":"y"}')
    return {"scope": {"tenant": "other"}}


def test_a_log_as_it_was_sealed_is_intact() -> None:
    sealed = log()
    verification = verified(sealed, tip(sealed))
    assert verification == Verification(ok=True, tenant="acme", entries=9, head=tip(sealed))
    assert "intact, 9 entries" in verification.text
    assert "\n" not in verification.text


def test_an_empty_log_is_intact() -> None:
    assert verified([]).ok
    assert verified([], Head()).ok


@pytest.mark.parametrize("place", [1, 5, 9])
@pytest.mark.parametrize("field", Entry.__struct_fields__)
def test_every_field_of_an_entry_is_attested(field: str, place: int) -> None:
    sealed = log()
    one = sealed[place - 1]
    changed = rehashed(one, **{field: other(getattr(decode(one.body), field))})
    assert changed.body != one.body
    sealed[place - 1] = Sealed(one.tenant, one.seq, changed.body, one.hash)
    assert found(verified(sealed))[0] == place
    sealed[place - 1] = changed  # and with a hash that fits
    assert found(verified(sealed, tip(log())))[0] == place


@pytest.mark.parametrize(
    "changes", [{"guard": "x"}, {"verdict": Verdict.ASK}, {"text": "x"}, {"rule": "x"}, {"stop": StopReason.KILLED}]
)
def test_every_field_of_a_reason_is_attested(changes: dict[str, object]) -> None:
    sealed = log()
    reasons = (msgspec.structs.replace(REASONS[0], **changes), REASONS[1])
    sealed[4] = Sealed("acme", 5, rehashed(sealed[4], reasons=reasons).body, sealed[4].hash)
    assert found(verified(sealed)) == (5, "edited: its bytes do not give its hash")


@pytest.mark.parametrize("changes", [{"tenant": "other"}, {"seq": 6}, {"seq": 99}, {"body": b"{}"}, {"hash": "0" * 64}])
def test_every_column_is_attested(changes: dict[str, object]) -> None:
    sealed = log()
    sealed[4] = msgspec.structs.replace(sealed[4], **changes)
    seq, reason = found(verified(sealed))
    assert seq == 5
    assert reason.startswith(("edited", "dropped"))


@pytest.mark.parametrize("gone", [(1,), (5,), (8,), (4, 5, 6), (1, 2)])
def test_dropped_entries_are_named(gone: tuple[int, ...]) -> None:
    sealed = log()
    left = [one for one in sealed if one.seq not in gone]
    seq, reason = found(verified(left, tip(sealed)))
    assert seq == gone[0]
    assert reason.startswith("dropped")


@pytest.mark.parametrize("gone", [1, 3, 9])
def test_a_cut_off_tail_is_seen_against_the_stored_head_and_against_a_checkpoint_and_not_without(gone: int) -> None:
    sealed = log()
    left = sealed[: 9 - gone]
    assert verified(left).ok
    assert found(verified(left, tip(sealed)))[0] == 10 - gone
    seq, reason = found(verified(left, anchors=[Anchor(9, sealed[8].hash, "the checkpoint", signed=True)]))
    assert seq == 10 - gone
    assert reason.startswith(f"truncated: the entries end at {9 - gone}, but the checkpoint names 9")


@pytest.mark.parametrize(("a", "b"), [(1, 2), (4, 5), (8, 9), (2, 7), (1, 9)])
def test_swapped_entries_are_named(a: int, b: int) -> None:
    sealed, columns = log(), log()
    sealed[a - 1], sealed[b - 1] = sealed[b - 1], sealed[a - 1]
    for rows in (
        sealed,  # lines of a file
        [msgspec.structs.replace(one, seq=row.seq) for one, row in zip(sealed, columns, strict=True)],  # bodies in rows
    ):
        seq, reason = found(verified(rows))
        assert seq == a
        assert reason.startswith("swapped")


def test_an_inserted_entry_is_named_however_well_it_is_forged() -> None:
    sealed = log()
    forged, _ = seal(entry(99), Head(4, sealed[3].hash))
    seq, reason = found(verified([*sealed[:4], forged, *sealed[4:]]))
    assert seq == 5
    assert reason.startswith("inserted")
    copied = found(verified([*sealed[:4], sealed[3], *sealed[4:]]))
    assert copied[0] == 4
    assert copied[1].startswith("inserted")
    unbound, _ = seal(entry(99), Head(4, "0" * 64))
    assert found(verified([*sealed[:4], unbound, *sealed[4:]])) == (
        5,
        "inserted: the true entry of this number stands behind it",
    )


def test_an_inserted_entry_is_named_where_the_rows_were_numbered_anew() -> None:
    sealed = log()
    forged, _ = seal(entry(99), Head(4, sealed[3].hash))
    rows = [*sealed[:4], forged, *sealed[4:]]
    numbered = [msgspec.structs.replace(one, seq=number) for number, one in enumerate(rows, 1)]
    assert found(verified(numbered))[0] == 5


def test_an_entry_of_another_tenant_is_named() -> None:
    sealed = log()
    foreign, _ = seal(entry(5, tenant="other"), Head(4, sealed[3].hash))
    sealed[4] = msgspec.structs.replace(foreign, tenant="acme")
    assert found(verified(sealed)) == (5, "inserted: it is an entry of tenant 'other'")


def test_an_appended_entry_is_seen_against_the_stored_head() -> None:
    sealed = log()
    forged, _ = seal(entry(99), tip(sealed))
    assert found(verified([*sealed, forged], tip(sealed)))[0] == 10


def test_a_log_chained_anew_from_an_edit_is_seen_only_with_a_checkpoint() -> None:
    honest = log()
    rebuilt = list(chain(entry(n, by="nobody") if n == 4 else entry(n) for n in range(1, 10)))
    assert verified(rebuilt, tip(rebuilt)).ok  # the limit of a chain: it is intact, only it is another one
    anchors = [Anchor(n, honest[n - 1].hash, f"checkpoint {n}", signed=True) for n in (3, 6, 9)]
    verification = verified(rebuilt, tip(rebuilt), anchors)
    assert verification.checkpoints == 1
    assert found(verification) == (
        6,
        "chained anew from an edit in entries 4 to 6: checkpoint 6 names another entry here",
    )
    assert verified(honest, tip(honest), anchors).checkpoints == 3


@pytest.mark.parametrize(
    ("head", "seq"), [(Head(9, "f" * 64), 9), (Head(5, "f" * 64), 5), (Head(12, "f" * 64), 10), (Head(), 1)]
)
def test_an_edited_head_row_is_named(head: Head, seq: int) -> None:
    assert found(verified(log(), head))[0] == seq
    assert "the ledger's head" in found(verified(log(), head))[1]


def test_a_head_row_put_back_to_an_earlier_entry_is_named() -> None:
    sealed = log()
    assert found(verified(sealed, Head(5, sealed[4].hash)))[0] == 6


def test_only_the_tail_behind_a_trusted_head_is_read() -> None:
    sealed = log()
    start = Head(6, sealed[5].hash)
    verification = verified(sealed[6:], tip(sealed), start=start)
    assert (verification.ok, verification.entries, verification.head) == (True, 3, tip(sealed))
    assert found(verified(sealed[6:], tip(sealed), start=Head(6, "f" * 64)))[0] == 7
    assert "truncated" in found(verified([], Head(2, sealed[1].hash), start=start))[1]


def test_checkpoints_out_of_order_are_a_problem() -> None:
    sealed = log()
    anchors = [Anchor(n, sealed[n - 1].hash, "a checkpoint", signed=True) for n in (6, 3)]
    verifier = Verifier("acme", anchors=anchors)
    for one in sealed:
        verifier.feed(one)
    assert found(verifier.result())[0] == 3


def test_a_clock_that_stood_back_is_told_and_is_no_problem() -> None:
    sealed = list(chain([entry(5), entry(3)]))
    verifier = Verifier("acme")
    assert [verifier.feed(one) for one in sealed] == [None, None]
    assert verifier.result().ok
    assert verifier.result().remarks == ("the clock stood back 1 time",)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\x00\xff", b"null", b"[]", b"{}", b"{", b"[" * 100_000, b'{"at":1}', b'{"at":' + b"9" * 5_000 + b"}",
        b'{"at":1,"at":1,"kind":"decided","prev":"","tenant":"acme"}', b'{"tenant":"\xff"}', b'{"tenant":"\\ud800"}',
        b'{"args":' + b"[" * 100_000, b'{"at":1,"kind":"decided","seq":1,"tenant":"acme","detail":{"a":1e999}}',
    ],
)
def test_a_body_that_is_no_entry_is_a_problem_even_with_its_hash(body: bytes) -> None:
    assert found(verified([Sealed("acme", 1, body, hash_of(body))]))[0] == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda body: body.replace(b'"at"', b' "at"'),
        lambda body: body.replace(b'"kind"', b'"kind":"decided","kind"'),
        lambda body: body[:-1] + b',"zzz":1}',
        lambda body: body.replace(b'{"title":"x"}', b'{"title":\n"x"}'),
        lambda body: body.replace(b'"attempt":1', b'"attempt":1.0'),
        lambda body: body.replace(b'"seq":1', b'"seq":01'),
        lambda body: body.replace(b'"text":"no rule"', b'"text":"no\\u0020rule"'),
        lambda body: body.replace(b'"text":"no rule"', b'"text":"no rule","who":"me"'),
    ],
)
def test_an_entry_spelled_otherwise_is_a_problem_even_with_its_hash(spoiled) -> None:
    body = spoiled(log(1)[0].body)
    assert body != log(1)[0].body
    assert found(verified([Sealed("acme", 1, body, hash_of(body))])) == (
        1,
        "edited: its bytes are not the canonical form of an entry, though its hash fits them",
    )


def test_an_entry_of_an_unknown_version_is_a_problem() -> None:
    sealed = log(1)
    assert found(verified([rehashed(sealed[0], v=2)])) == (1, "of version 2, which this verifier does not know")


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json, max_size=5), st.text(), st.binary(max_size=10))
def test_whatever_is_sealed_is_intact(detail: dict[str, object], text: str, raw: bytes) -> None:
    args = msgspec.Raw(msgspec.json.encode({"a": raw.hex(), "b": detail}))
    sealed = list(chain([entry(1, detail=detail, note=text, args=args), entry(2, error=text)]))
    assert verified(sealed, tip(sealed)).ok


def test_the_empty_parts_of_an_entry_are_intact_too() -> None:
    sealed = list(chain([entry(1, args=msgspec.Raw(b"{}"), detail={}, reasons=(), attempt=0, by="")]))
    assert verified(sealed).ok


def test_memory_does_not_grow_with_the_log() -> None:
    def peak(length: int) -> int:
        tracemalloc.start()
        sealed = chain(Entry(tenant="acme", at=n, kind=Kind.DECIDED, run_id="r") for n in range(length))
        assert verified(sealed).entries == length
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(200_000) < peak(2_000) + 20_000


def test_verification_is_fast_enough_to_be_run_often() -> None:
    sealed = log(20_000)
    verifier = Verifier("acme")
    began = time.perf_counter()
    for one in sealed:
        verifier.feed(one)
    assert 20_000 / (time.perf_counter() - began) > 20_000  # 100,000 and more on an idle machine
