"""A Python function is a tool: schema from its hints, words from its docstring, arguments in the types it wants."""

# ruff: noqa: PLR0917, A002

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import enum
import functools
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from interlock.core.call import Cost, Effect, Risk
from interlock.core.canonical import canonical
from interlock.errors import NotDone, ToolError
from interlock.ports import CallInfo, Invocation
from interlock.tools.python import Credential, PythonTool

INFO = CallInfo(
    tenant="acme",
    agent="bot",
    env="prod",
    run_id="r",
    step_id="s",
    call_id="c",
    key="k",
    deadline=1,
    attempt=1,
    report_cost=lambda _: None,
)
SECRET = "sk-canary-1234567890"


def call(tool, args=None, credential=None):
    args = {} if args is None else args
    assert tool.problem(args) is None
    return tool.perform(Invocation(args=args, info=INFO, credential=credential))


def tool_of(fn, **fields):
    return PythonTool(fn, name="shop.order", **fields)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    sku: str
    at: dt.datetime


class Address(BaseModel):
    street: str
    zip: int = Field(ge=1)


class Options(TypedDict, total=False):
    gift: bool


# --- the schema ------------------------------------------------------------------------------------------------------


def test_the_schema_says_what_the_hints_say():
    def order(
        sku: str,
        count: int,
        price: float,
        colour: Colour,
        line: Line,
        address: Address | None = None,
        size: Literal["s", "m"] = "m",
        tags: list[str] = [],  # noqa: B006
        options: Optional[Options] = None,  # noqa: UP045
        note: Annotated[str, Field(description="for the driver", max_length=9)] = "",
        anything=1,
    ):
        pass

    schema = tool_of(order).tool.schema
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["sku", "count", "price", "colour", "line"]
    properties = schema["properties"]
    assert properties["sku"] == {"type": "string"}
    assert properties["count"] == {"type": "integer"}
    assert properties["price"] == {"type": "number"}
    assert properties["colour"] == {"$ref": "#/$defs/Colour"}
    assert properties["address"] == {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None}
    assert properties["size"] == {"enum": ["s", "m"], "type": "string", "default": "m"}
    assert properties["tags"] == {"items": {"type": "string"}, "type": "array", "default": []}
    assert properties["note"] == {"type": "string", "maxLength": 9, "description": "for the driver", "default": ""}
    assert properties["anything"] == {"description": "Any JSON value.", "default": 1}
    assert schema["$defs"]["Colour"]["enum"] == ["red", "blue"]
    assert all(schema["$defs"][name]["additionalProperties"] is False for name in ("Line", "Address", "Options"))
    assert json.loads(canonical(schema)) == schema


def _google(a: int, b: int = 2):
    """Add things.

    At length.

    Args:
        a (int): the first
        b: the second
    """


def _numpy(a: int, b: int = 2):
    """Add things.

    At length.

    Parameters
    ----------
    a : int
        the first
    b
        the second
    """


def _rest(a: int, b: int = 2):
    """Add things.

    At length.

    :param a: the first
    :param int b: the second
    """


@pytest.mark.parametrize("fn", [_google, _numpy, _rest])
def test_the_docstring_describes_the_tool_and_its_arguments(fn):
    tool = tool_of(fn).tool
    assert tool.description == "Add things.\n\nAt length."
    assert {name: part["description"] for name, part in tool.schema["properties"].items()} == {
        "a": "the first",
        "b": "the second",
    }


def test_a_description_that_is_given_wins_over_the_docstring():
    assert tool_of(_google, description="Other.").tool.description == "Other."


def test_what_is_declared_nowhere_is_irreversible():
    assert tool_of(lambda: 1).tool.effect is Effect.IRREVERSIBLE
    tool = tool_of(lambda: 1, effect="read", risk=Risk.HIGH, timeout=5, idempotent=True, credential="crm").tool
    assert (tool.effect, tool.risk, tool.timeout, tool.idempotent, tool.credential) == (
        Effect.READ,
        Risk.HIGH,
        5,
        True,
        "crm",
    )


def test_the_schema_is_the_same_in_every_process_where_a_default_is_made_anew():
    def save(
        id: Annotated[str, Field(default_factory=lambda: uuid.uuid4().hex)], when: float = Field(default_factory=float)
    ):
        return id, when

    assert tool_of(save).tool.schema_digest == tool_of(save).tool.schema_digest
    assert "required" not in tool_of(save).tool.schema
    first, second = call(tool_of(save)), call(tool_of(save))
    assert first != second
    assert first[1] == 0.0


class Unknown:
    pass


def _positional(a, /):
    pass


def _star(*names: str):
    pass


def _stars(**fields: str):
    pass


def _generator():
    yield 1


async def _async_generator():
    yield 1


def _foreign(when: Unknown):
    pass


def _lost(when: Nowhere):  # noqa: F821
    pass


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (_positional, "'a'.*by name"),
        (_star, r"'\*names'.*list"),
        (_stars, r"'\*\*fields'.*dict"),
        (_generator, "generator"),
        (_async_generator, "generator"),
        (_foreign, "'when'.*no JSON Schema"),
        (_lost, "'Nowhere'.*import it"),
        (Unknown, "not a function"),
        (3, "not a function"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_the_remedy(fn, said):
    with pytest.raises(ToolError, match=said):
        tool_of(fn)


def test_a_declaration_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ToolError, match="did you mean 'idempotent'"):
        tool_of(lambda: 1, idempotant=True)
    with pytest.raises(ToolError, match="did you mean 'write'"):
        tool_of(lambda: 1, effect="wirte")


def test_a_role_or_a_cost_of_an_argument_that_is_not_there_is_refused():
    with pytest.raises(ToolError, match=r"a role to 'too', which is none of its arguments.*'to'"):
        tool_of(lambda to: to, arguments={"too": "destination"})
    with pytest.raises(ToolError, match="'amount', which is none of its arguments"):
        tool_of(lambda to: to, cost=Cost(argument="amount"))
    assert tool_of(lambda to: to, arguments={"to": "destination"}).tool.arguments == {"to": "destination"}


# --- what the function gets ------------------------------------------------------------------------------------------


def test_values_arrive_in_the_types_of_the_hints():
    def order(
        count: int,
        price: float,
        colour: Colour,
        line: Line,
        address: Address,
        ids: set[uuid.UUID],
        sum: Decimal,
        options: Options,
        day: dt.date,
        pair: tuple[int, str],
        maybe: int | None = None,
    ):
        return locals()

    known = uuid.UUID(int=7)
    got = call(
        tool_of(order),
        {
            "count": 2.0,
            "price": 3,
            "colour": "red",
            "line": {"sku": "x", "at": "2026-01-31T09:30:00Z"},
            "address": {"street": "a", "zip": 1},
            "ids": [str(known)],
            "sum": "1.10",
            "options": {"gift": True},
            "day": "2026-01-31",
            "pair": [1, "a"],
        },
    )
    assert got == {
        "count": 2,
        "price": 3.0,
        "colour": Colour.RED,
        "line": Line("x", dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)),
        "address": Address(street="a", zip=1),
        "ids": {known},
        "sum": Decimal("1.10"),
        "options": {"gift": True},
        "day": dt.date(2026, 1, 31),
        "pair": (1, "a"),
        "maybe": None,
    }
    assert type(got["count"]) is int
    assert type(got["price"]) is float


def test_an_integer_that_no_float_holds_keeps_its_digits():
    assert call(tool_of(_give_float), {"value": 2**60 + 1}) == 2**60 + 1
    assert call(tool_of(_give_float), {"value": 10**400}) == 10**400


def _give_float(value: float):
    return value


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, "1"),
        (int, 1.5),
        (int, None),
        (float, "1"),
        (float, True),
        (bool, 1),
        (bool, "yes"),
        (str, 1),
        (list[int], [True]),
        (list[int], "12"),
        (dict[str, int], {"a": "1"}),
        (dt.datetime, 1_700_000_000),
        (dt.datetime, "1700000000"),
        (dt.date, "1700000000"),
        (dt.datetime, "2026-13-01T00:00:00Z"),
        (Colour, "green"),
        (Literal[1, 2], "1"),
        (Literal[1], True),
        (uuid.UUID, "x"),
        (Address, {"street": "a", "zip": 0}),
        (Address, {"street": "a", "zip": 1, "zap": 2}),
        (Line, {"sku": "a"}),
        (Options, {"gift": 1}),
        (Decimal, "x"),
        (set[int], [1, 1]),
        (dict[int, str], {"a": "b"}),
    ],
)
def test_no_value_is_taken_for_what_it_is_not(hint, value):
    def take(value):
        return value

    take.__annotations__ = {"value": hint}
    assert "'value" in tool_of(take).problem({"value": value})


def test_what_only_a_validator_of_the_users_knows_is_refused_before_anything_happens():
    class Order(BaseModel):
        model_config = ConfigDict(strict=True)
        at: dt.datetime
        sku: str

        @field_validator("sku")
        @classmethod
        def known(cls, sku: str) -> str:
            if sku == "boom":
                raise RuntimeError("boom")
            if sku != "x":
                raise ValueError("no such sku")
            return sku

    def take(order: Order):
        return order.at.year

    at = "2026-01-31T09:30:00Z"
    assert call(tool_of(take), {"order": {"at": at, "sku": "x"}}) == 2026
    assert tool_of(take).problem({"order": {"at": at, "sku": "y"}}) == (
        "shop.order: 'order.sku' is wrong: Value error, no such sku"
    )
    assert "'order' cannot be read" in tool_of(take).problem({"order": {"at": at, "sku": "boom"}})
    with pytest.raises(NotDone):
        tool_of(take).perform(Invocation(args={"order": {"at": at, "sku": "y"}}, info=INFO))


def test_a_default_is_the_functions_own():
    marker = object()

    def take(a: int = 1, b: Any = marker, c: int = Field(3, ge=2)):
        return a, b, c

    assert call(tool_of(take)) == (1, marker, 3)
    assert tool_of(take).tool.schema["properties"]["c"] == {"type": "integer", "minimum": 2, "default": 3}


# --- what is not the model's to say ----------------------------------------------------------------------------------


def test_the_credential_and_the_calls_facts_are_in_no_schema_and_cannot_be_sent():
    def send(
        to: str, token: Credential, info: CallInfo, spare: Credential | None = None, other: CallInfo | None = None
    ):
        return to, token, info, spare, other

    tool = tool_of(send)
    assert tool.needs_credential
    assert list(tool.tool.schema["properties"]) == ["to"]
    assert call(tool, {"to": "a"}, SECRET) == ("a", SECRET, INFO, SECRET, INFO)
    for name in ("token", "info", "spare", "other"):
        assert f"'{name}' is not an argument" in tool.problem({"to": "a", name: "x"})


def test_without_a_credential_nothing_is_done_unless_the_tool_can_do_without():
    def needs(token: Credential):
        raise AssertionError

    def can(token: Credential | None):
        return token

    def may(token: Credential = Credential("public")):  # noqa: B008
        return token

    with pytest.raises(NotDone, match="credential"):
        call(tool_of(needs))
    assert call(tool_of(can)) is None
    assert call(tool_of(may)) == "public"
    assert not tool_of(can).needs_credential
    assert not tool_of(may).needs_credential


def test_no_repr_shows_a_credential_and_every_use_of_it_does():
    token = Credential(SECRET)
    assert SECRET not in f"{token!r} {[token]} {{'a': {token!r}}}"
    assert f"Bearer {token}" == f"Bearer {SECRET}"
    assert SECRET not in repr(Invocation(args={}, info=INFO, credential=token))


def test_what_a_partial_has_fixed_a_model_cannot_change():
    def pay(account: str, amount: int):
        """Pay."""
        return account, amount

    tool = tool_of(functools.partial(pay, account="ours"))
    assert list(tool.tool.schema["properties"]) == ["amount"]
    assert tool.tool.description == "Pay."
    assert "'account' is not an argument" in tool.problem({"account": "mine", "amount": 1})
    assert call(tool, {"amount": 1}) == ("ours", 1)
    assert call(tool_of(functools.partial(pay, "ours")), {"amount": 1}) == ("ours", 1)


# --- kinds of functions ----------------------------------------------------------------------------------------------


class Desk:
    """A desk."""

    def close(self, ticket: int) -> int:
        """Close it."""
        return ticket

    def __call__(self, ticket: int) -> int:
        return -ticket


class AsyncDesk:
    async def __call__(self, ticket: int) -> int:
        return ticket


async def _aclose(ticket: int) -> int:
    return ticket


@pytest.mark.parametrize("fn", [_aclose, AsyncDesk(), functools.partial(_aclose), functools.partial(AsyncDesk())])
def test_an_async_tool_gives_an_awaitable(fn):
    tool = tool_of(fn)
    assert tool.is_async
    assert asyncio.run(call(tool, {"ticket": 3.0})) == 3


def test_bound_methods_and_callable_objects_are_tools():
    assert call(tool_of(Desk().close), {"ticket": 1}) == 1
    assert tool_of(Desk().close).tool.description == "Close it."
    assert call(tool_of(Desk()), {"ticket": 1}) == -1
    assert tool_of(Desk()).tool.description == "A desk."
    assert not tool_of(Desk()).is_async


def test_a_decorated_function_is_the_function_behind():
    @functools.wraps(_google)
    def wrapped(*args, **kwargs):
        return kwargs

    assert call(tool_of(wrapped), {"a": 1}) == {"a": 1}
    assert "'c' is not an argument" in tool_of(wrapped).problem({"a": 1, "c": 1})


def test_a_sync_function_that_gives_a_coroutine_is_an_error_that_says_so():
    with pytest.raises(ToolError, match="async def"):
        call(tool_of(lambda: _aclose(1)))


# --- the rule --------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["red", "s", "2026-01-31", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sku", "gift", "street", "zip"]), inner)
    ),
    max_leaves=6,
)


def _everything(
    text: str = "",
    count: int = 0,
    price: float = 0,
    flag: bool = False,
    colour: Colour = Colour.RED,
    day: dt.date | None = None,
    address: Address | None = None,
    options: Options | None = None,
    many: list[int] | None = None,
    table: dict[str, float] | None = None,
    unlike: int | str | None = None,
    lit: Literal["s", 1] = "s",
    any: Any = None,
    bare=None,
    span: dt.timedelta | None = None,
    pair: tuple[int, str] | None = None,
    number: Decimal | None = None,
):
    return locals()


_EVERYTHING = tool_of(_everything)


@given(args=st.dictionaries(st.sampled_from([*_EVERYTHING.tool.schema["properties"], "other"]), VALUES, max_size=4))
def test_validated_arguments_always_bind(args):
    if _EVERYTHING.problem(args) is None:
        got = _EVERYTHING.perform(Invocation(args=args, info=INFO))
        assert all(type(got[name]) is kind for name, kind in (("text", str), ("count", int), ("flag", bool)))
        assert isinstance(got["colour"], Colour)
        for name in ("text", "flag", "any", "bare"):
            assert name not in args or got[name] is args[name]
