"""Turns of LangChain, and its checkpoints as text.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by


def turn_of(message: AIMessage) -> Turn:
    """What a message says."""
    calls = [said_by(each["name"], each["args"], each["id"] or "") for each in message.tool_calls]
    calls += [said_by(each["name"] or "", each["args"] or "", each["id"] or "") for each in message.invalid_tool_calls]
    named = message.response_metadata.get("model_name") or message.response_metadata.get("model") or ""
    return Turn(message.text or None, tuple(calls), _usage(message.usage_metadata), str(named), message.id or "")


def _usage(said: UsageMetadata | None) -> Usage | None:
    if said is None or not (said["input_tokens"] or said["output_tokens"]):
        return None
    given, put_out = said.get("input_token_details", {}), said.get("output_token_details", {})
    return Usage(
        input_tokens=said["input_tokens"], output_tokens=said["output_tokens"],
        cached_input_tokens=given.get("cache_read", 0) or 0, cache_write_tokens=given.get("cache_creation", 0) or 0,
        reasoning_tokens=put_out.get("reasoning", 0) or 0,
    )


def native(turn: Turn, model: str) -> AIMessageChunk:
    """The message that says it."""
    usage = None
    if turn.usage is not None:
        usage = UsageMetadata(
            input_tokens=turn.usage.input_tokens, output_tokens=turn.usage.output_tokens,
            total_tokens=turn.usage.tokens,
            input_token_details=InputTokenDetails(cache_read=turn.usage.cached_input_tokens),
            output_token_details=OutputTokenDetails(reasoning=turn.usage.reasoning_tokens),
        )
    chunks = [
        tool_call_chunk(
            name=spelled(each.name, plain=True), args=each.raw or json.dumps(dict(each.args)), id=each.id, index=index
        )
        for index, each in enumerate(turn.calls)
    ]
    return AIMessageChunk(
        content=turn.text or "", tool_call_chunks=chunks, usage_metadata=usage, id=turn.response_id or None,
        response_metadata={"model_name": model}, chunk_position="last",
    )


class Scripted(BaseChatModel):
    """A model that says what a script has."""

    model: str
    max_tokens: int | None
    hear: Callable[[Mapping[str, str]], object]
    say: Callable[[], Turn]

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **more: Any) -> Any:  # noqa: ARG002  the script knows what it calls
        """See `BaseChatModel`."""
        return self.bind(**more)

    def _said(self, messages: Sequence[BaseMessage]) -> AIMessageChunk:
        self.hear({each.tool_call_id: each.text for each in messages if isinstance(each, ToolMessage)})
        return native(self.say(), self.model)

    def _generate(self, messages: list[BaseMessage], *_args: Any, **_more: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=message_chunk_to_message(self._said(messages)))])

    def _stream(self, messages: list[BaseMessage], *_args: Any, **_more: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=self._said(messages))


def speaking(agent: Callable[..., Any] | None, script: Script) -> Callable[..., Any]:
    """See `driving.Runtime`. The agent is one that is yet to be made: `partial(create_agent, model=…)`."""
    model = Scripted(model=script.model, max_tokens=script.max_output_tokens, hear=script.hear, say=script.say)
    return partial(agent or create_agent, model=model)


class Portable(InMemorySaver):
    """A checkpointer whose last checkpoint of a thread can be taken elsewhere. Whatever a text names, only types of
    LangChain's own messages and of the graph's own state are made of it."""

    def __init__(self) -> None:
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))

    async def state(self, config: Any) -> dict[str, str]:
        """The thread's last checkpoint."""
        found = await self.aget_tuple(config)
        kind, raw = self.serde.dumps_typed(found and (found.checkpoint, found.metadata, found.pending_writes))
        return {"kind": kind, "checkpoint": base64.b64encode(raw).decode()}

    def read(self, state: Any) -> Any:
        """A checkpoint, with its metadata and the writes that wait, out of that. Raises ValueError where it is none."""
        checkpoint, metadata, writes = self.serde.loads_typed((state["kind"], base64.b64decode(state["checkpoint"])))
        if not (isinstance(checkpoint, dict) and "channel_versions" in checkpoint and isinstance(metadata, dict)):
            raise ValueError("there is no checkpoint in it")
        return checkpoint, metadata, [(task, channel, value) for task, channel, value in writes or ()]

    async def restore(self, config: Any, read: Any) -> None:
        """Begin the thread with it."""
        checkpoint, metadata, writes = read
        begun: Any = {"configurable": {**config["configurable"], "checkpoint_ns": ""}}
        placed = await self.aput(begun, checkpoint, metadata, checkpoint["channel_versions"])
        for task in dict.fromkeys(task for task, *_ in writes):
            await self.aput_writes(placed, [(channel, value) for each, channel, value in writes if each == task], task)
