"""What is kept of a turn for replay."""

import asyncio
import json

import pytest

from interlock.core.run import Wanted
from interlock.core.turn import Call
from interlock.faces.http.proxy.recording import KEPT
from tests.faces.http.model_stub import ALL, CANARY, asking, data, start, whole, world

ARGS = '{"to": "a@example.org"}'
CALL = Wanted("k1", "mail.send", ARGS)
HISTORY = {
    "chat": {"messages": [
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "old"},
        {"role": "assistant", "content": "yes?"}, {"role": "user", "content": f"new {CANARY}"},
    ]},
    "responses": {"instructions": "be kind", "input": [
        {"role": "user", "content": "old"}, {"type": "function_call", "call_id": "k0", "name": "x", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "k0", "output": f"new {CANARY}"},
    ]},
    "messages": {"system": "be kind", "messages": [
        {"role": "user", "content": "old"}, {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": [{"type": "text", "text": f"new {CANARY}"}]},
    ]},
}


def chat_answer():
    call = {"id": "k1", "type": "function", "function": {"name": "mail.send", "arguments": ARGS}}
    message = {"role": "assistant", "content": f"I write. {CANARY}", "tool_calls": [call]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return {"id": "a1", "model": "m-1", "choices": [{"index": 0, "message": message}], "usage": usage}


def responses_answer():
    output = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": f"I write. {CANARY}"}]},
        {"type": "function_call", "call_id": "k1", "name": "mail.send", "arguments": ARGS},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {"id": "a1", "model": "m-1", "status": "completed", "output": output, "usage": usage}


def messages_answer():
    content = [
        {"type": "text", "text": f"I write. {CANARY}"},
        {"type": "tool_use", "id": "k1", "name": "mail.send", "input": json.loads(ARGS)},
    ]
    return {"id": "a1", "model": "m-1", "content": content, "usage": {"input_tokens": 1, "output_tokens": 1}}


def chat_events():
    head = {"id": "a1", "model": "m-1"}

    def delta(**more):
        return data({**head, "choices": [{"index": 0, "delta": more}]})

    def call(args, **more):
        first = {"id": "k1"} if more else {}
        return delta(tool_calls=[{"index": 0, "function": {"arguments": args, **more}, **first}])

    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return [
        delta(content="I "), delta(content=f"write. {CANARY}"), call("", name="mail.send"), call(ARGS[:5]),
        call(ARGS[5:]), data({"choices": [], "usage": usage}), b"data: [DONE]\n\n",
    ]


def responses_events():
    return [data({"type": "response.completed", "response": responses_answer()})]


def messages_events():
    return [
        data({"type": "message_start", "message": {**messages_answer(), "content": []}}),
        data({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        data({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I "}}),
        data({"type": "content_block_delta", "index": 0, "delta": {"text": f"write. {CANARY}"}}),
        data({"type": "content_block_start", "index": 1, "content_block": {
            "type": "tool_use", "id": "k1", "name": "mail.send", "input": {}
        }}),
        data({"type": "content_block_delta", "index": 1, "delta": {"partial_json": ARGS[:9]}}),
        data({"type": "content_block_delta", "index": 1, "delta": {"partial_json": ARGS[9:]}}),
        data({"type": "message_delta", "usage": {"output_tokens": 1}}),
        data({"type": "message_stop"}),
    ]


ANSWERS = {"chat": chat_answer, "responses": responses_answer, "messages": messages_answer}
EVENTS = {"chat": chat_events, "responses": responses_events, "messages": messages_events}


def recorded(monkeypatch, protocol, body, answer, recording=None, **models):
    async def answers(provider, body, receive, send):
        if body.get("stream"):
            await start(send)
            await send({"type": "http.response.body", "body": b"".join(answer)})
        else:
            await whole(send, answer)

    async def go():
        async with world(monkeypatch, models=models, recording=recording or {}) as here:
            run = here.run()
            here.gateway.redactor.remember(CANARY)
            here.provider.does = answers
            assert (await here.ask(protocol, body, run))[0] == 200
            return here.step(run)

    return asyncio.run(go())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", ALL)
def test_what_a_model_was_newly_told_and_said_is_kept_without_secrets(monkeypatch, protocol, streamed):
    body = {**asking(protocol, stream=streamed), **HISTORY[protocol]}
    answer = EVENTS[protocol]() if streamed else ANSWERS[protocol]()
    kept = recorded(monkeypatch, protocol, body, answer).asking
    assert (kept.text, kept.model, kept.answer_id, kept.cut) == ("I write. [redacted]", "m-1", "a1", False)
    assert [(call.call_id, call.tool, json.loads(call.args)) for call in kept.calls] == [
        (CALL.call_id, CALL.tool, json.loads(CALL.args))
    ]
    assert "new [redacted]" in kept.asked
    assert not {"old", "kind", CANARY} & {*kept.asked.split(), *str(kept).split()}
    json.loads(kept.asked)


@pytest.mark.parametrize("protocol", ["responses", "messages"])
def test_the_first_turn_of_a_conversation_keeps_what_stood_before_it(monkeypatch, protocol):
    told = {"responses": {"instructions": "be kind"}, "messages": {"system": "be kind"}}[protocol]
    kept = recorded(monkeypatch, protocol, asking(protocol, **told), ANSWERS[protocol]()).asking
    assert "be kind" in kept.asked
    assert "hello" in kept.asked


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", ALL)
def test_nothing_is_kept_where_the_config_says_no(monkeypatch, protocol, streamed):
    answer = EVENTS[protocol]() if streamed else ANSWERS[protocol]()
    step = recorded(monkeypatch, protocol, asking(protocol, stream=streamed), answer, record=False)
    assert (step.asking, step.ended_at is not None) == (None, True)


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_is_kept_where_no_turn_of_the_tenant_is(monkeypatch, streamed):
    answer = EVENTS["chat"]() if streamed else ANSWERS["chat"]()
    step = recorded(monkeypatch, "chat", asking("chat", stream=streamed), answer, recording={"turns": False})
    assert (step.asking, step.usage.tokens) == (None, 2)


def test_what_is_kept_can_be_said_again(monkeypatch):
    turn = recorded(monkeypatch, "messages", asking("messages"), ANSWERS["messages"]()).asking.turn
    assert turn.calls == (Call("mail.send", json.loads(ARGS), "k1"),)


def test_what_is_kept_has_a_size(monkeypatch):
    answer = chat_answer()
    answer["choices"][0]["message"]["content"] = "x" * (KEPT + 1)
    kept = recorded(monkeypatch, "chat", asking("chat"), answer).asking
    assert (len(kept.text), kept.calls, kept.cut) == (KEPT, (), True)


@pytest.mark.parametrize("junk", [
    {"choices": "x"}, {"choices": [{"message": 5}]}, {"choices": [{"message": {"content": 7, "tool_calls": [1]}}]},
    {"choices": [{"message": {"content": [1, {"text": 2}], "tool_calls": {"a": 1}}}], "id": 5, "model": []},
])
def test_an_answer_that_nobody_can_read_is_booked_and_passed_on(monkeypatch, junk):
    answer = {**junk, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    step = recorded(monkeypatch, "chat", asking("chat"), answer)
    assert (step.input_tokens, step.asking.text, step.asking.calls) in ((1, "", ()), (1, "", (Wanted(),)))
