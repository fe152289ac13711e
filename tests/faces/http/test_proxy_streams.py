"""Server-sent events, however they are cut; and what a stream says of its usage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.faces.http.proxy.asked import Asked
from interlock.faces.http.proxy.chat import Chat
from interlock.faces.http.proxy.messages import Messages
from interlock.faces.http.proxy.responses import Responses
from interlock.faces.http.proxy.sse import Events, TooLong
from tests.faces.http.model_stub import Provider

ASKED = Asked(body={}, model="m", output=1, input=1, streamed=True, usage_wanted=False)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
WORDS = st.text(alphabet=st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=12)
LINES = st.tuples(st.sampled_from(["data: ", "data:", "event: ", ": ", "id:", ""]), WORDS).map("".join)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS, LINE_ENDS | st.just("")), max_size=12).map(
    lambda lines: "".join("".join(line) for line in lines).encode()
)


def read(stream: bytes, cuts: list[int]) -> list[tuple[bytes, str | None, str]]:
    events, found, before = Events(10_000), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        found += events.feed(stream[before:cut])
        before = cut
    last = events.close()
    return [(each.raw, each.data, each.kind) for each in [*found, *([last] if last else [])]]


@given(STREAMS, st.lists(st.integers(0, 200), max_size=30))
def test_events_are_the_same_however_the_stream_is_cut(stream, cuts):
    whole = read(stream, [])
    assert read(stream, cuts) == whole
    assert read(stream, list(range(len(stream)))) == whole
    assert b"".join(raw for raw, _, _ in whole) == stream


@given(st.lists(st.text(max_size=20), max_size=8), LINE_ENDS)
def test_what_was_said_is_what_is_heard(said, end):
    stream = "".join(f"data: {json.dumps(each)}{end}{end}" for each in said).encode()
    assert [json.loads(each) for _, each, _ in read(stream, list(range(0, len(stream), 3))) if each] == said


def test_data_on_several_lines_is_one_and_comments_are_none():
    stream = b": ping\n\nevent: a\ndata: 1\ndata:2\n\n\xef\xbb\xbfdata: 3\r\n\r\nid: 4\n\ndata: 5"
    assert [(data, kind) for _, data, kind in read(stream, [])] == [
        (None, ""), ("1\n2", "a"), ("3", ""), (None, ""), ("5", "")
    ]


def test_an_event_without_an_end_is_not_gathered():
    events = Events(1000)
    for _ in range(1000):
        assert events.feed(b"x") == []
    with pytest.raises(TooLong):
        events.feed(b"x")


@pytest.mark.parametrize("dialect", [Chat(), Responses(), Messages()], ids=lambda each: type(each).__name__)
@given(cuts=st.lists(st.integers(0, 900), max_size=20))
def test_the_usage_of_a_stream_is_found_however_it_is_cut(dialect, cuts):
    name = type(dialect).__name__.lower()
    provider = Provider.__new__(Provider)
    provider.usage, provider.silent = None, False
    stream = b"".join(provider.events(name, {"stream_options": {"include_usage": True}}))
    reader, events, before, seen = dialect.reader(ASKED), Events(10_000), 0, b""
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        seen += b"".join(each.raw for each in events.feed(stream[before:cut]) if reader.read(each))
        before = cut
    assert (reader.ended, reader.began, reader.failed) == (True, True, False)
    assert reader.usage is not None
    assert (reader.usage.input_tokens, reader.usage.output_tokens) == (1000, 200)
    assert (seen == stream) is (name != "chat")


def test_a_usage_in_the_last_chunk_of_text_counts_and_stays():
    reader, events = Chat().reader(ASKED), Events(10_000)
    chunk = {"choices": [{"delta": {}}], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}
    stream = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    assert [reader.read(each) for each in events.feed(stream)] == [True, True]
    assert reader.usage is not None
    assert reader.usage.output_tokens == 7


def test_reasoning_that_a_provider_leaves_out_of_its_completion_is_output_all_the_same():
    said = {
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115,
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    usage = Chat().usage({"usage": said})
    assert usage is not None
    assert (usage.output_tokens, usage.reasoning_tokens, usage.whole) == (105, 100, True)


def test_what_it_took_to_shorten_the_context_is_counted():
    rounds = [{"input_tokens": 1000, "output_tokens": 50}, {"input_tokens": 20, "output_tokens": 7}]
    said = {"input_tokens": 20, "output_tokens": 7, "iterations": rounds}
    usage = Messages().usage({"usage": said})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (1020, 57)
    assert Messages().usage({"usage": {**said, "iterations": [rounds[0], None]}}) is None


@pytest.mark.parametrize("tier", ["priority", "scale", "new", 1])
def test_what_was_charged_at_another_price_has_none(tier):
    used = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}
    for dialect in (Chat(), Responses()):
        assert dialect.usage({"usage": used, "service_tier": tier}) is None
    assert Messages().usage({"usage": {**used, "service_tier": tier}}) is None


def test_searches_of_the_provider_are_counted():
    said = {"input_tokens": 1, "output_tokens": 1}
    output = [{"type": "web_search_call"}, {"type": "message"}, {"type": "web_search_call"}]
    found = Responses().usage({"usage": said, "output": output})
    theirs = Messages().usage({"usage": {**said, "server_tool_use": {"web_search_requests": 2}}})
    assert found is not None
    assert theirs is not None
    assert found.web_searches == theirs.web_searches == 2
