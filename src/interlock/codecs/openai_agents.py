"""Turns of the OpenAI Agents SDK.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from agents import Agent
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from agents.testing.model import ModelCall
from agents.usage import Usage as NativeUsage

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by


def turn_of(output: Iterable[Any], usage: Any = None, model: str = "", response_id: str | None = None) -> Turn:
    """What a response says. A usage of nothing at all is one that did not come back."""
    output = list(output)
    parts = [part for item in output if item.type == "message" for part in item.content]
    texts = [part.text for part in parts if part.type == "output_text"]
    calls = [said_by(item.name, item.arguments, item.call_id) for item in output if item.type == "function_call"]
    return Turn("".join(texts) or None, tuple(calls), _usage(usage), model, response_id or "")


def _usage(said: Any) -> Usage | None:
    if said is None or not (said.input_tokens or said.output_tokens):
        return None
    read, reasoned = said.input_tokens_details, said.output_tokens_details
    return Usage(
        input_tokens=said.input_tokens, output_tokens=said.output_tokens,
        cached_input_tokens=(read and read.cached_tokens) or 0,
        reasoning_tokens=(reasoned and reasoned.reasoning_tokens) or 0,
    )


def native(turn: Turn) -> ModelStep:
    """The response that says it."""
    output = [assistant_message(turn.text)] if turn.text is not None else []
    output += [
        function_call(spelled(each.name, plain=True), each.raw or dict(each.args), call_id=each.id)
        for each in turn.calls
    ]
    used = turn.usage or Usage(input_tokens=0, output_tokens=0)
    usage = NativeUsage(
        requests=1, input_tokens=used.input_tokens, output_tokens=used.output_tokens, total_tokens=used.tokens
    )
    return ModelStep(output, usage, turn.response_id or None)


def speaking(agent: Agent[Any] | None, script: Script) -> Agent[Any]:
    """See `driving.Runtime`."""
    agent = agent or Agent(name="agent")
    settings = dataclasses.replace(agent.model_settings, max_tokens=script.max_output_tokens)
    return agent.clone(model=Scripted(script), model_settings=settings)


class Scripted(ScriptedModel):
    """The SDK's own scripted model, with a script that has no end of its own."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.model = script.model
        self._script = script
        self.enqueue(ModelStep.respond(self._answer))

    def _answer(self, call: ModelCall) -> ModelStep:
        self.enqueue(ModelStep.respond(self._answer))
        self._script.hear(_told(call.input))
        return native(self._script.say())


def _told(given: Any) -> Mapping[str, str]:
    items = [] if isinstance(given, str) else given
    return {item["call_id"]: item["output"] for item in items if item.get("type") == "function_call_output"}
