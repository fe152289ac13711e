"""OpenAPI documents and the requests that come of them, without a network."""

from __future__ import annotations

import copy
import json
import time
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import NotDone, ToolError
from interlock.tools.openapi.document import understood
from interlock.tools.openapi.request import problem_of_places, request_of
from interlock.tools.openapi.source import parse
from interlock.tools.schema import ArgumentSchema
from tests.gateway.openapi_shop import (
    ECHO,
    HOSTILE,
    ORDER,
    SCHEMES,
    body,
    having,
    info,
    only,
    operation,
    parameter,
    refusal,
    shop,
)

# --- the base --------------------------------------------------------------------------------------------------------


def test_the_configs_base_goes_before_the_documents_servers() -> None:
    assert understood(shop(), base_url="http://own.example/x/").server == "http://own.example/x"
    assert understood(shop()).server == "https://shop.example/v1"


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ([], "names no server"),
        ([{"url": "/v1"}], "no whole URL"),
        ([{"url": "http://shop.example"}], "not reached by https"),
        ([{"url": "https://user:pw@shop.example"}], "no whole URL"),
        ([{"url": "https://shop.example/../x"}], "no whole URL"),
        ([{"url": "https://shop.example/?a=b"}], "no whole URL"),
        ([{"url": "https://{region}.example"}], "no whole URL"),
        ([{"url": "file:///etc/passwd"}], "no whole URL"),
    ],
)
def test_a_server_that_cannot_be_trusted_wants_the_configs_word(servers: Any, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        understood(shop(servers=servers))


def test_a_document_from_the_network_can_name_its_own_host_alone() -> None:
    home = "https://api.example/openapi.json"
    assert understood(shop(servers=[{"url": "/v2"}]), home=home).server == "https://api.example/v2"
    with pytest.raises(ToolError, match="names a server elsewhere"):
        understood(shop(servers=[{"url": "https://evil.example"}]), home=home)


def test_an_operation_with_servers_of_its_own_is_left_out_unless_the_config_names_the_base() -> None:
    document = shop()
    document["paths"]["/status"]["get"]["servers"] = [{"url": "https://evil.example"}]
    assert "servers of its own" in understood(document).refused["status"]
    assert understood(document, base_url="https://shop.example").refused == {}


# --- what arguments may do ------------------------------------------------------------------------------------------


@given(one=HOSTILE, two=HOSTILE, q=HOSTILE, note=HOSTILE, tags=st.lists(HOSTILE, max_size=3), text=HOSTILE)
@settings(max_examples=400, deadline=None)
def test_whatever_is_said_the_request_goes_to_the_declared_host_and_path(
    one: str, two: str, q: str, note: str, tags: list[str], text: str
) -> None:
    args = {"one": one, "two": two, "q": q, "X-Note": note, "tags": tags, "text": text}
    operation_ = only(ECHO)
    if problem_of_places(operation_, args) is not None:
        with pytest.raises(NotDone):
            request_of("https://shop.example/v1", operation_, args, info(), None)
        return
    request = request_of("https://shop.example/v1", operation_, args, info(), None)
    assert request.url.isascii()
    assert request.url.isprintable()
    rest = request.url.removeprefix("https://shop.example/v1/")
    path, _, query = rest.partition("?")
    a, first, second, c = path.split("/")
    assert (a, c, unquote(first), unquote(second)) == ("a", "c", one, f"b{two}.json")
    assert unquote(first) not in ("", ".", "..")
    assert "/" not in unquote(first) + unquote(second)
    pairs = [tuple(map(unquote, each.split("="))) for each in query.split("&")]
    assert pairs == [("q", q), *(("tags", tag) for tag in tags)]
    assert all(value.isascii() and value.isprintable() for value in request.headers.values())
    assert json.loads(request.body or b"") == {"text": text}


def test_styles_of_parameters() -> None:
    array = {"type": "array", "items": {"type": "string"}}
    document = having(
        "/x/{ids}",
        parameters=[
            parameter("ids", "path", schema=array),
            parameter("csv", "query", schema=array, explode=False),
            parameter("pipes", "query", schema=array, style="pipeDelimited", explode=False),
            parameter("deep", "query", schema={"type": "object"}, style="deepObject"),
            {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
            parameter("n", "query", "number"), parameter("flag", "query", "boolean"),
            parameter("loose", "query", schema={"type": "object"}),  # its fields could pass for other parameters
        ],
    )
    found = only(document)
    assert "loose" not in found.takes.schema["properties"]
    args = {
        "ids": ["a", "b,c"], "csv": ["1", "2"], "pipes": ["x", "y"], "deep": {"a": "1", "b&c": "="},
        "filter": {"k": [1]}, "n": 2.0, "flag": True,
    }
    assert request_of("", found, args, info(), None).url == (
        "/x/a%2Cb%2Cc?csv=1%2C2&pipes=x%7Cy&deep%5Ba%5D=1&deep%5Bb%26c%5D=%3D&filter=%7B%22k%22%3A%5B1%5D%7D&n=2&flag=true"
    )


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_names_that_two_places_share_are_told_apart() -> None:
    document = having(
        "/x/{id}", "post", parameters=[parameter("id", "path"), parameter("id", "query")],
        requestBody=body({"type": "object", "properties": {"path_id": {"type": "string"}}}),
    )
    assert sorted(only(document).takes.schema["properties"]) == ["body", "path_id", "query_id"]


def test_objects_are_closed_wherever_they_stand_also_when_they_are_put_together() -> None:
    document = having("/x", "post", requestBody=body({"$ref": "#/components/schemas/Pet"}))
    document["components"] = {
        "schemas": {
            "Named": {"type": "object", "properties": {"name": {"type": "string"}}},
            "Pet": {
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {"type": "object", "properties": {"friend": {"$ref": "#/components/schemas/Pet"},
                                                      "free": {"type": "object"}}},
                ]
            },
        }
    }
    schema = ArgumentSchema(only(document).takes.schema, tool="t")
    assert schema.problem({"body": {"name": "a", "friend": {"name": "b", "free": {"any": 1}}}}) is None
    assert schema.problem({"body": {"name": "a", "odd": 1}})
    assert schema.problem({"body": {"name": "a", "friend": {"odd": 1}}})


def test_openapi_3_0_is_read_as_it_means() -> None:
    fields = {
        "a": {"type": "string", "nullable": True, "enum": ["x"]},
        "b": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "id": {"type": "string", "readOnly": True},
    }
    document = having("/x", "post", requestBody=body({"type": "object", "required": ["id", "b"], "properties": fields}))
    found = only(document).takes.schema
    assert (sorted(found["properties"]), found["required"]) == (["a", "b"], ["b"])
    schema = ArgumentSchema(found, tool="t")
    assert schema.problem({"a": None, "b": 0.5}) is None
    assert schema.problem({"b": 0})


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (having("/x", "post", requestBody=body({"$ref": "https://evil.example/s.json"})), "inside the document"),
        (having("/x", "post", requestBody=body({"$ref": "other.yaml#/X"})), "inside the document"),
        (having("/x", "post", requestBody=body({"$ref": "#/nowhere"})), "not in the document"),
        (having("/x", "post", requestBody={"$ref": "#/paths/~1x/post/requestBody"}), "circle"),
        (having("/x", "post", requestBody={"required": True, "content": {"text/csv": {}}}), "cannot be JSON"),
        (having("/x", parameters=[{"$ref": "#/paths/~1x/get/parameters/0"}]), "circle"),
        (
            having("/x", "post", requestBody=body({"type": "object", "properties": {"a": {"$ref": "#/openapi"}}})),
            "a schema in it is a str",
        ),
        (having("/x/{id}"), "parameters of its path"),
        (having("/x", parameters=[parameter("id", "path")]), "parameters of its path"),
        (having("/x/{id}/{id}", parameters=[parameter("id", "path")]), "parameters of its path"),
        (having("/../admin"), "'.' or '..'"),
        (having("/a//b"), "empty segment"),
        (having("x"), "does not begin"),
        (having("/x?admin=1"), "cannot stand in one"),
        (having("/x#y"), "cannot stand in one"),
        (having("/%2e%2e/x"), "cannot stand in one"),
        (having("/x\r\nHost: evil"), "cannot stand in one"),
        (having("/x", parameters=[parameter("Host", "header", required=True)]), "not an argument's to say"),
        (having("/x", parameters=[parameter("s", "cookie", required=True)]), "not an argument's to say"),
        (having("/x", parameters=[parameter("a\r\nb", "header")]), "a name that is none"),
        (having("/x", parameters=[parameter("a", "elsewhere")]), "stands in"),
        (having("/x", parameters=[{"in": "query"}]), "no name"),
        (having("/x", parameters=["text"]), "no name"),
        (having("/x", parameters=[parameter("o", "query", "object", required=True)]), "spelled in a way"),
        (having("/x", "trace"), "not offered"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": {}}}}, "no operationId"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": {"operationId": "a b"}}}}, "letters, digits"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": "text"}}}, "no mapping"),
        ({"openapi": "3.0.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}, "circle"),
    ],
)
def test_an_operation_that_cannot_be_taken_is_left_out_with_the_reason(document: dict[str, Any], why: str) -> None:
    assert why in refusal(document)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an OpenAPI document"),
        ("[]", "not an OpenAPI document"),
        ("{", "not valid JSON"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "not JSON"),
        ('{"a":' * 100_000, "deeper|not valid"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: !!python/object:os.system 1", "tags"),
        ("a: 1\na: 2", "stands twice"),
        ("a: {b: [", "not valid YAML"),
        ("[" * 5_000, "deeper"),
        ("--- a\n--- b", "second document"),
        ("? [a]\n: 1", "key must be text"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("x" * 9_000_000, "larger than"),
    ],
    ids=lambda text: text[:20],
)
def test_a_document_that_is_no_harmless_json_or_yaml_is_refused(text: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        parse(text.encode(), "doc")


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(ToolError, match=r"no OpenAPI 3\.0 or 3\.1"):
        understood({"swagger": "2.0"}, base_url="https://x.example")
    many = {f"/p{index}": {"get": operation(f"o{index}")} for index in range(2_001)}
    with pytest.raises(ToolError, match="more than 2000 operations"):
        understood({"openapi": "3.0.0", "paths": many}, base_url="https://x.example")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "object", "#/openapi", "#/paths", "query"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["$ref", "type", "in", "name", "schema", "properties", "allOf", "x"]), inner, max_size=3
    ),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_a_document_with_anything_anywhere_is_understood_or_refused(data: st.DataObject) -> None:
    document = copy.deepcopy(shop(components={"schemas": {"Order": ORDER}, "securitySchemes": SCHEMES}))
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and data.draw(st.integers(0, 5)):
                node = node[key]
            else:
                node[key] = data.draw(JUNK)
                break
    try:
        found = understood(document, credential=data.draw(st.booleans()))
    except ToolError:
        return
    for each in found.operations:
        try:
            ArgumentSchema(each.takes.schema, tool=each.name)
        except ToolError:
            continue


def test_a_schema_that_multiplies_by_its_references_costs_little() -> None:
    schemas: dict[str, Any] = {
        f"s{index}": {"allOf": [{"$ref": f"#/components/schemas/s{index + 1}"}] * 2} for index in range(60)
    }
    schemas["s60"] = {"type": "object", "properties": {"x": {"$ref": "#/components/schemas/s0"}}}
    document = having("/x", "post", requestBody=body({"$ref": "#/components/schemas/s0"}))
    document["components"] = {"schemas": schemas}
    began = time.process_time()
    assert understood(document, base_url="https://x.example").operations
    assert time.process_time() - began < 5


@pytest.mark.parametrize("change", ["path", "method", "place", "schema", "credential"])
def test_whatever_decides_what_is_sent_is_in_the_pinned_definition(change: str) -> None:
    def digest(document: dict[str, Any]) -> str:
        return only(document, credential=True).digest

    def plain() -> dict[str, Any]:
        document = having("/x", "post", parameters=[parameter("q", "query")])
        document["components"] = {"securitySchemes": {"k": dict(SCHEMES["header"])}}
        return document

    other = plain()
    if change == "path":
        other["paths"] = {"/y": other["paths"]["/x"]}
    elif change == "method":
        other["paths"] = {"/x": {"put": other["paths"]["/x"]["post"]}}
    elif change == "place":
        other["paths"]["/x"]["post"]["parameters"][0]["in"] = "header"
    elif change == "schema":
        other["paths"]["/x"]["post"]["parameters"][0]["schema"] = {"type": "integer"}
    else:
        other["components"]["securitySchemes"]["k"]["name"] = "X-Other"
    assert digest(plain()) == digest(plain()) != digest(other)


def test_the_documents_own_server_is_pinned_and_the_configs_is_not() -> None:
    first, second = shop(), shop(servers=[{"url": "https://evil.example"}])
    assert understood(first).operations[0].digest != understood(second).operations[0].digest
    same = {"base_url": "https://own.example"}
    assert understood(first, **same).operations[0].digest == understood(second, **same).operations[0].digest
