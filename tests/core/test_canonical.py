"""One JSON value, one byte string: RFC 8785, with integers whole."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.canonical import canonical, digest, problem_of

#: RFC 8785, appendix B
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_written_as_rfc_8785_has_them(bits):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == NUMBERS[bits].encode()
    assert canonical([{"a": number}]) == b'[{"a":' + NUMBERS[bits].encode() + b"}]"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_json_number_is_refused(number):
    with pytest.raises(ValueError):
        canonical({"a": [number]})


def test_keys_are_ordered_by_utf_16_as_rfc_8785_demands():
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    order = [2, 4, 6, 7, 1, 5, 3]  # section 3.2.3
    assert list(json.loads(canonical(value)).values()) == order


def test_the_example_of_rfc_8785_comes_out_as_it_stands_there():
    value = json.loads(
        r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
             "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    )
    assert (
        canonical(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 + 1, -(2**63) - 1, 10**400])
def test_integers_keep_all_their_digits(number):
    assert canonical({"id": number}) == b'{"id":' + str(number).encode() + b"}"
    assert canonical(number) != canonical(number + 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SAFE = st.integers(-(2**53), 2**53)
NUMBER = SAFE | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def same(one, other):
    """Equal as JSON: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return float(one) == float(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(JSON, JSON)
def test_values_are_equal_just_where_their_bytes_are(one, other):
    assert (canonical(one) == canonical(other)) == same(one, other)


def respelled(value, draw):
    """The same JSON value in another spelling: keys in another order, whole floats as integers and back."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: respelled(value[key], draw) for key in keys}
    if isinstance(value, list):
        return [respelled(child, draw) for child in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53 and draw(st.booleans()):
        return float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value


@given(JSON, st.data())
def test_the_spelling_of_a_value_makes_no_difference(value, data):
    assert canonical(respelled(value, data.draw)) == canonical(value)


@given(JSON)
def test_the_bytes_say_the_value_and_are_their_own_canonical_form(value):
    raw = canonical(value)
    assert same(json.loads(raw), value)
    assert canonical(json.loads(raw)) == raw


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_no_two_splits_have_the_same_digest(one, other):
    assert (digest(*one) == digest(*other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": math.nan}, "nan"),
        ([math.inf], "inf"),
        ({1: 2}, "key that is not text"),
        ({"a": {1, 2}}, "set"),
        ((1,), "tuple"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ("x" * 300_000, "larger"),
        (b"x", "bytes"),
    ],
    ids=repr,
)
def test_what_is_no_json_is_told(value, says):
    assert says in problem_of(value)


def test_depth_and_size_are_limited_without_recursion():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert "deeper" in problem_of(deep)
    assert problem_of({"a": [1, {"b": None}]}) is None
    assert "larger" in problem_of([10**100_000] * 20)
