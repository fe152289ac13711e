"""What a tool returned becomes JSON, whatever it was; nothing is dropped unsaid, and nothing raises."""

import dataclasses
import datetime as dt
import enum
import json
import pathlib
import typing
import uuid
from collections import OrderedDict, UserDict, deque
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from interlock.core.canonical import problem_of
from interlock.redaction import Redactor
from interlock.results import as_json, encode_result, error_text, pack, text_for_model
from interlock.tools.python import Credential


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Line:
    sku: str
    at: dt.date


class Order(BaseModel):
    lines: list[Line]
    token: SecretStr = SecretStr("x")


class Row(msgspec.Struct):
    a: int
    b: Decimal


class Pair(typing.NamedTuple):
    left: int
    right: str


@pytest.mark.parametrize("value", [0, "", [], {}, None, False, True, 0.0, -1, 2**70, "é", {"": [None, {"a": []}]}])
def test_what_json_has_stays_exactly_what_it_is(value):
    assert as_json(value) == value
    assert type(as_json(value)) is type(value)
    assert json.loads(encode_result(value, 10_000)) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Line("x", dt.date(2026, 1, 31)), {"sku": "x", "at": "2026-01-31"}),
        (
            Order(lines=[Line("x", dt.date(2026, 1, 31))]),
            {"lines": [{"sku": "x", "at": "2026-01-31"}], "token": "**********"},
        ),
        (Row(1, Decimal("1.10")), {"a": 1, "b": "1.10"}),
        (Pair(1, "a"), [1, "a"]),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 20}, [1, 3, 20]),
        (frozenset(["b", "a"]), ["a", "b"]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (UserDict({"a": 1}), {"a": 1}),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC), "2026-01-31T09:00:00+00:00"),
        (dt.time(9, 30), "09:30:00"),
        (dt.timedelta(seconds=90), "PT90S"),
        (Credential("abc"), "abc"),
        ({1: "a", None: "b", Colour.RED: "d", 2.5: "e"}, {"1": "a", "null": "b", "red": "d", "2.5": "e"}),
        ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_json_has_not_is_said_in_json(value, shown):
    assert as_json(value) == shown
    assert json.loads(encode_result(value, 10_000)) == shown


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")

    def __str__(self):
        raise RuntimeError("no")

    def __getattribute__(self, name):
        raise RuntimeError("no")


class HostileMapping(UserDict):
    def items(self):
        raise RuntimeError("no")


class HostileMeta(type):
    def __getattribute__(cls, name):
        raise RuntimeError("no")


class HostileKind(metaclass=HostileMeta):
    pass


def _generator():
    yield 1


STRANGE = {
    "object": object(),
    "instance": Hostile(),
    "mapping": HostileMapping(a=1),
    "kind": HostileKind(),
    "type": HostileKind,
    "generator": _generator(),
    "function": len,
    "integer": 10**5000,
    "class": Hostile,
    "error": ValueError("x"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_cannot_be_shown_is_marked_so(name):
    value = STRANGE[name]
    shown = as_json({"a": value})["a"]
    assert shown["interlock"] == "unserialisable"
    assert set(shown) == {"interlock", "type", "repr"}
    assert len(shown["repr"]) <= 200
    json.loads(encode_result(value, 10_000))


def test_no_address_is_in_a_marker_so_that_the_same_result_has_the_same_digest():
    assert as_json(object()) == as_json(object())


def test_a_cycle_and_what_is_nested_too_deep_end_in_a_marker():
    circle: dict = {"a": 1}
    circle["self"] = circle
    assert as_json(circle)["self"]["interlock"] == "unserialisable"
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "unserialisable" in text_for_model(deep)
    twice = [1]
    assert as_json([twice, twice]) == [[1], [1]]


def test_a_value_that_repeats_itself_without_end_comes_to_an_end():
    wide: list = [1]
    for _ in range(60):
        wide = [wide, wide]
    assert len(encode_result(wide, 10_000)) <= 10_000


def test_nothing_of_the_original_is_in_the_result():
    original = {"a": [1]}
    shown = as_json(original)
    original["a"].append(2)
    assert shown == {"a": [1]}


@pytest.mark.parametrize("value", ["x" * 5000, ['é"\\\n' * 1000], {"a": "\x00" * 3000}])
@pytest.mark.parametrize("limit", [120, 500, 3000])
def test_a_result_beyond_the_limit_is_cut_and_says_so(value, limit):
    shown, raw = pack(value, limit)
    assert len(raw) <= limit
    assert json.loads(raw) == shown
    assert shown["interlock"] == "truncated"
    assert shown["bytes"] == len(msgspec.json.encode(value))
    whole = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    assert whole.startswith(shown["text"])
    assert len(shown["text"]) > limit // 20


def test_a_secret_is_gone_before_anything_is_cut():
    redactor = Redactor()
    redactor.remember("hunter2-hunter2-hunter2")

    class Leaky:
        def __repr__(self):
            return "x" * 185 + "hunter2-hunter2-hunter2"

    for value in ("y" * 30 + "hunter2-hunter2-hunter2" * 20, Leaky(), [Leaky()], {"hunter2-hunter2-hunter2": 1}):
        for limit in range(100, 160, 3):
            assert b"hunter2" not in encode_result(value, limit, redactor.redact)
    assert "hunter2" not in error_text(ValueError("z" * 1980 + "hunter2-hunter2-hunter2"), redactor.redact)


def test_a_model_sees_texts_as_they_are_and_all_else_as_json():
    assert [text_for_model(value) for value in ("a\n", "", None, 0, {"a": [1, "é"]}, {1})] == [
        "a\n",
        "",
        "null",
        "0",
        '{"a":[1,"é"]}',
        "[1]",
    ]


def test_an_error_is_said_by_its_type_and_its_message():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no")

    assert error_text(ValueError("bad")) == "ValueError: bad"
    assert error_text(KeyError()) == "KeyError"
    assert error_text(Mute()) == "Mute: its message cannot be read"
    assert len(error_text(ValueError("x" * 10_000))) == 2000


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.timedeltas()
    | st.times()
    | st.complex_numbers()
    | st.builds(object)
    | st.builds(Hostile)
    | st.just(Colour.RED)
    | st.functions(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.none() | st.integers() | st.text(), inner)
        | st.frozensets(st.integers() | st.text())
        | st.builds(UserDict, st.dictionaries(st.text(), inner))
        | st.builds(Line, inner, inner)
    ),
    max_leaves=12,
)


@given(value=ANY)
def test_as_json_never_raises_and_always_gives_json(value):
    shown = as_json(value)
    assert problem_of(shown, max_depth=1000) is None
    assert as_json(shown) == shown
    assert json.loads(encode_result(value, 100_000)) == json.loads(json.dumps(shown))
    assert isinstance(text_for_model(value), str)
