"""What of a model request is sent on, and what is refused."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.config.serve import Models
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import OVERHEAD, parsed
from interlock.faces.http.proxy.chat import Chat
from interlock.faces.http.proxy.messages import Messages
from interlock.faces.http.proxy.responses import Responses
from tests.faces.http.model_stub import ALL, asking

DIALECTS = {"chat": Chat(), "responses": Responses(), "messages": Messages()}
FUNCTION = {"type": "function", "function": {"name": "f"}}

HOSTED = [
    ("responses", {"tools": [{"type": "web_search_preview"}]}, "web_search_preview"),
    ("responses", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "code_interpreter"),
    ("responses", {"tools": [{"type": "mcp", "server_url": "https://x", "require_approval": "never"}]}, "mcp"),
    ("responses", {"tools": [{"type": "function", "name": "f"}, {"type": "file_search"}]}, "file_search"),
    ("responses", {"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "namespace"),
    ("responses", {"input": [{"type": "tool_search_output", "tools": [{"type": "mcp"}]}]}, "mcp"),
    ("responses", {"prompt": {"id": "pmpt_1"}}, "prompt"),
    ("chat", {"tools": [{"type": "openrouter:web_search"}]}, "openrouter:web_search"),
    ("chat", {"web_search_options": {}}, "web_search"),
    ("chat", {"model": "gpt-4o-search-preview"}, "web_search"),
    ("chat", {"model": "some/model:online"}, "web_search"),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
    ("messages", {"tools": [{"type": "code_execution_20250825", "name": "x"}]}, "code_execution_20250825"),
    ("messages", {"mcp_servers": [{"type": "url", "url": "https://x"}]}, "mcp_servers"),
    ("messages", {"container": "c1"}, "container"),
]


def asked(protocol, more=None, **settings):
    body = {**asking(protocol), **(more or {})}
    return DIALECTS[protocol].asked(parsed(json.dumps(body).encode()), Models(**settings))


@pytest.mark.parametrize(("protocol", "more", "kind"), HOSTED)
def test_a_tool_that_runs_at_the_provider_is_refused_unless_the_config_allows_it(protocol, more, kind):
    with pytest.raises(Problem, match="runs at the provider") as refused:
        asked(protocol, more)
    assert (refused.value.status, kind in refused.value.detail) == (400, True)
    with pytest.raises(Problem):
        asked(protocol, more, hosted_tools=("another",))
    assert asked(protocol, more, hosted_tools=(kind,)).body.items() >= more.items()


@pytest.mark.parametrize(("protocol", "tool"), [
    ("chat", FUNCTION), ("responses", {"type": "function", "name": "f"}), ("responses", {"type": "local_shell"}),
    ("messages", {"name": "f", "input_schema": {}}), ("messages", {"type": "custom", "name": "f"}),
    ("messages", {"type": "bash_20250124", "name": "bash"}), ("messages", {"type": "memory_20250818", "name": "m"}),
])
def test_a_tool_that_runs_at_the_client_is_none_of_the_proxys_business(protocol, tool):
    assert asked(protocol, {"tools": [tool]}).body["tools"] == [tool]


@pytest.mark.parametrize(("protocol", "more"), [
    ("chat", {"tools": [{}]}), ("chat", {"tools": [{"type": None}]}), ("chat", {"tools": [["mcp"]]}),
    ("chat", {"tools": {"type": "function"}}), ("responses", {"tools": [{"type": ["function"]}]}),
    ("responses", {"tools": [{"type": "Function"}]}), ("messages", {"tools": [{"type": ["custom"]}]}),
    ("messages", {"tools": [{"type": "bash_20250124x"}]}), ("messages", {"tools": "web_search"}),
    ("messages", {"tools": [{"type": "memory_٢٠٢٥٠٨١٨"}]}),
])
def test_a_tool_that_says_not_what_it_is_is_refused(protocol, more):
    with pytest.raises(Problem):
        asked(protocol, more)


@pytest.mark.parametrize(("protocol", "more"), [
    ("responses", {"background": True}), ("chat", {"plugins": [{"id": "web"}]}), ("chat", {"models": ["dear"]}),
    ("messages", {"fallbacks": [{"model": "dear"}]}), ("messages", {"speed": "fast"}),
    ("chat", {"modalities": ["audio"]}), ("chat", {"service_tier": "priority"}),
    ("messages", {"inference_geo": "us"}), ("chat", {"Tools": []}),
])
def test_a_field_that_nobody_vouches_for_is_refused_unless_the_config_names_it(protocol, more):
    with pytest.raises(Problem) as refused:
        asked(protocol, more)
    name = next(iter(more))
    assert (refused.value.status, name in refused.value.detail) == (400, True)
    assert "serve.models.fields" in refused.value.remedy
    assert asked(protocol, more, fields=(name,)).body[name] == more[name]


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("more", [
    {"model": ""}, {"model": None}, {"model": 5}, {"model": "a\nb"}, {"model": "x" * 201}, {"stream": "yes"},
    {"stream": 1}, {"tools": [1]}, {"service_tier": ["flex"]},
])
def test_what_cannot_be_is_refused(protocol, more):
    with pytest.raises(Problem) as refused:
        asked(protocol, more)
    assert refused.value.status == 400


@pytest.mark.parametrize(("protocol", "name"), [
    ("chat", "max_tokens"), ("chat", "n"), ("responses", "max_output_tokens"), ("messages", "max_tokens")
])
@pytest.mark.parametrize("value", [-1, 1.5, "9", True, 10**30])
def test_a_number_that_cannot_be_is_refused(protocol, name, value):
    with pytest.raises(Problem, match=name):
        asked(protocol, {name: value})


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b'{"model": "\\ud800"}', b"[" * 100_000,
    b'{"a":' * 200 + b"1" + b"}" * 200, b'{"a": 1e999}', b'{"a": NaN}',
])
def test_what_is_no_json_object_of_modest_depth_is_refused(raw):
    with pytest.raises(Problem) as refused:
        parsed(raw)
    assert refused.value.status == 400


def test_of_a_field_that_stands_twice_what_was_checked_is_what_is_sent():
    raw = b'{"model": "m", "messages": [], "tools": [{"type": "mcp"}], "tools": [{"type": "function"}]}'
    assert msgspec.json.encode(Chat().asked(parsed(raw), Models()).body).count(b"tools") == 1


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=300))
def test_the_input_is_never_counted_as_less_than_its_bytes(text):
    for protocol, key in (("chat", "messages"), ("responses", "input"), ("messages", "system")):
        said = [{"role": "user", "content": text}] if key == "messages" else text
        counted = asked(protocol, {key: said}).input
        assert counted is not None
        assert counted >= len(text.encode()) + OVERHEAD


@pytest.mark.parametrize(("protocol", "more"), [
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}),
    ("responses", {"previous_response_id": "r1"}), ("responses", {"conversation": "c1"}),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f1"}]}]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}),
])
def test_an_input_that_cannot_be_counted_is_not_guessed(protocol, more):
    assert asked(protocol, more).input is None


def test_what_goes_into_the_cache_may_cost_twice_as_much():
    plain = asked("messages", {"system": [{"type": "text", "text": "x" * 1000}]})
    marked = {"type": "text", "text": "x" * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    cached = asked("messages", {"system": [marked]})
    assert plain.input is not None
    assert cached.input is not None
    assert cached.input > 2 * plain.input


def test_the_most_that_chat_may_put_out_is_the_larger_of_its_two_names():
    assert asked("chat", {"max_tokens": 500, "max_completion_tokens": 20}).output == 500
    assert asked("chat", {"max_tokens": 0, "max_completion_tokens": None}).output is None
