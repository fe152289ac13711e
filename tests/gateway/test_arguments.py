"""Arguments are refused before anything else happens, in words that a model can act on."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ToolError
from interlock.tools.explain import MAX_PROBLEMS
from interlock.tools.schema import ArgumentSchema

REFUND = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 1},
        "order_id": {"type": "string", "maxLength": 5},
        "currency": {"enum": ["EUR", "USD"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}},
                "required": ["sku"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["amount", "order_id"],
    "additionalProperties": False,
}
GOOD = {"amount": 12.5, "order_id": "A1"}


@pytest.fixture(scope="module")
def refund() -> ArgumentSchema:
    return ArgumentSchema(REFUND, tool="refund.create")


def test_arguments_that_fit_have_no_problem(refund):
    assert refund.problem(GOOD) is None
    assert refund.problem({**GOOD, "note": None, "lines": [{"sku": "x"}]}) is None


def test_every_problem_of_a_call_is_named_at_once(refund):
    assert refund.problem({"amonut": 1, "amount": "12 EUR"}) == (
        "refund.create: 'amonut' is not an argument (did you mean 'amount'?); 'order_id' is missing; "
        "'amount' must be a number, not \"12 EUR\""
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"amount": True}, "'amount' must be a number, not true"),
        ({"amount": None}, "'amount' must be a number, not null"),
        ({"amount": 0}, "'amount' must be at least 1, not 0"),
        ({"order_id": "x" * 1000}, "'order_id' must have at most 5 characters, not \"xxx"),
        ({"currency": "EURO"}, '\'currency\' must be one of "EUR", "USD", not "EURO" (did you mean \'EUR\'?)'),
        ({"note": 1}, "'note' must be a string or null, not 1"),
        ({"lines": [{"sku": "a"}, {}]}, "'lines[1].sku' is missing"),
        ({"lines": [{"sku": "a", "qty": 2}]}, "'qty' is not a field of 'lines[0]'"),
        ({"lines": "a"}, "'lines' must be an array, not \"a\""),
    ],
)
def test_a_message_says_what_was_expected_and_what_came(refund, changed, said):
    assert said in refund.problem({**GOOD, **changed})


def test_a_mistyped_name_is_not_called_missing_too(refund):
    assert refund.problem({"amonut": 1, "order_id": "A"}) == (
        "refund.create: 'amonut' is not an argument (did you mean 'amount'?)"
    )


def test_a_name_like_no_other_gets_the_list_of_names(refund):
    assert "(the arguments are 'amount', 'order_id', 'currency', 'note', 'lines')" in refund.problem({**GOOD, "zzz": 1})


def test_a_message_stays_short_whatever_came(refund):
    said = refund.problem({"order_id": ["y" * 10_000], **{f"{n}-" + "k" * 500: "v" * 10 for n in range(20)}})
    assert said.count(";") <= MAX_PROBLEMS
    assert said.endswith("; and more")
    assert len(said) < 1000


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_refused(refund, number):
    assert "not a JSON number" in refund.problem({**GOOD, "amount": number})


def test_over_deep_over_large_and_unjsonlike_arguments_are_refused_before_the_schema(refund):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested deeper than 32 levels" in refund.problem({"x": deep})
    assert "larger than 262144 bytes" in refund.problem({"x": "a" * 300_000})
    assert "holds a set" in refund.problem({"x": {1}})
    assert "key that is not text" in refund.problem({1: 2})
    assert "must be an object" in refund.problem([1])
    assert "nested deeper than 2 levels" in ArgumentSchema({}, tool="t", max_depth=2).problem({"a": {"b": [1]}})


def test_a_whole_number_with_a_point_is_an_integer_and_a_text_or_a_truth_is_not():
    schema = ArgumentSchema({"type": "object", "properties": {"n": {"type": "integer"}}}, tool="t")
    assert schema.problem({"n": 1.0}) is None
    assert schema.problem({"n": 2**70}) is None
    for wrong in (1.5, "1", True, None):
        assert "must be an integer" in schema.problem({"n": wrong})


def test_a_foreign_schema_that_does_not_forbid_unknown_arguments_allows_them():
    assert ArgumentSchema({"type": "object", "properties": {"a": {}}}, tool="t").problem({"b": 1}) is None


def test_a_schema_that_names_an_older_draft_is_read_by_it():
    draft7 = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"items": [{"type": "string"}]}},
    }
    assert "'a[0]' must be a string" in ArgumentSchema(draft7, tool="t").problem({"a": [1]})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/x.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$id": "http://127.0.0.1:9/", "$ref": "y"},
        {"$ref": "other.json"},
        {"$ref": "//host/x"},
        {"properties": {"enum": {"$ref": "http://127.0.0.1:9/x.json"}}},
        {"$schema": "http://127.0.0.1:9/schema"},
        {"$ref": "#/$defs/missing"},
        {"type": "strin"},
        {"pattern": "("},
        {"minimum": math.nan},
        {"type": "object", "maximum": "3"},
        [],
    ],
)
def test_a_schema_that_does_not_compile_or_would_fetch_is_refused_with_the_name_of_the_tool(schema):
    with pytest.raises(ToolError, match=r"'shop\.order'"):
        ArgumentSchema(schema, tool="shop.order")


def test_a_schema_that_spreads_through_its_references_is_refused():
    spread = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    with pytest.raises(ToolError, match="subschemas"):
        ArgumentSchema({"$defs": {**spread, "a40": {"type": "string"}}, "$ref": "#/$defs/a0"}, tool="t")


def test_a_schema_may_refer_to_itself():
    tree = {
        "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["id"]}},
        "$ref": "#/$defs/node",
    }
    schema = ArgumentSchema(tree, tool="t")
    assert schema.problem({"id": 1, "next": {"id": 2}}) is None
    assert "'next.next.id' is missing" in schema.problem({"id": 1, "next": {"id": 2, "next": {}}})


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)+$", r"^(?=(a+)+$)a", r"^(a+)\1+b$", r"^(?:(?=a)a|a)+$"])
def test_no_pattern_of_a_tool_holds_up_the_gateway(pattern):
    schema = ArgumentSchema({"properties": {"a": {"pattern": pattern}}}, tool="t")
    begun = time.perf_counter()
    assert "must match" in schema.problem({"a": "a" * 20_000 + "!"}) or ""
    assert time.perf_counter() - begun < 1


def test_a_refusal_takes_no_longer_for_a_schema_that_refers_to_itself_or_for_thousands_of_wrong_items():
    forms = [
        {
            "type": "object",
            "properties": {"op": {"const": op}, "args": {"items": {"$ref": "#/$defs/n"}}},
            "required": ["op"],
        }
        for op in ("and", "or", "not")
    ]
    schema = ArgumentSchema(
        {"$defs": {"n": {"anyOf": [*forms, {"type": "string"}]}}, "properties": {"filter": {"$ref": "#/$defs/n"}}},
        tool="t",
    )
    deep: object = 5
    for _ in range(12):
        deep = {"op": "or", "args": [deep]}
    begun = time.perf_counter()
    assert schema.problem({"filter": deep}).endswith("must be an object or a string, not 5")
    assert schema.problem({"filter": {"op": "and", "args": [4] * 60_000}}).endswith("; and more")
    assert "'filter.op' must be \"" in schema.problem({"filter": {"op": "xor", "args": ["a"]}})
    assert (
        schema.problem({f"k{n}": 1 for n in range(20_000)} | {"filter": 1})
        == "t: 'filter' must be an object or a string, not 1"
    )
    assert time.perf_counter() - begun < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(args=st.dictionaries(st.sampled_from([*REFUND["properties"], "amonut", "x"]), JSON, max_size=6))
def test_a_problem_is_said_exactly_where_the_schema_refuses(args):
    import jsonschema  # the reference implementation, as an oracle

    said = ArgumentSchema(REFUND, tool="t").problem(args)
    fits = jsonschema.Draft202012Validator(REFUND).is_valid(args)
    assert (said is None) == (fits and not _has_what_json_has_not(args))
    assert said is None or said.startswith("t: ")


def _has_what_json_has_not(value):
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, str):
        return any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return any(map(_has_what_json_has_not, [*value, *value.values()]))
    return isinstance(value, list) and any(map(_has_what_json_has_not, value))
