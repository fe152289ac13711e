"""Turns of Google's Agent Development Kit.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by


def turn_of(*responses: LlmResponse) -> Turn:
    """What the responses of one turn say. A call may have no id yet: the kit gives it one afterwards."""
    parts = [part for each in responses for part in (each.content and each.content.parts) or ()]
    text = "".join(part.text for part in parts if part.text and not part.thought)
    called = [part.function_call for part in parts if part.function_call is not None]
    calls = tuple([said_by(each.name or "", each.args or {}, each.id or "") for each in called])
    used = [usage for each in responses if (usage := _usage(each.usage_metadata)) is not None]
    return Turn(text or None, calls, used[-1] if used else None, responses[-1].model_version or "")


def _usage(said: types.GenerateContentResponseUsageMetadata | None) -> Usage | None:
    if said is None:
        return None
    thought = said.thoughts_token_count or 0
    given, put_out = said.prompt_token_count or 0, (said.candidates_token_count or 0) + thought
    given += said.tool_use_prompt_token_count or 0
    if not (given or put_out):
        return None
    cached = said.cached_content_token_count or 0
    return Usage(input_tokens=given, output_tokens=put_out, cached_input_tokens=cached, reasoning_tokens=thought)


def native(turn: Turn, model: str) -> LlmResponse:
    """The response that says it. Raises ValueError for arguments that are no object, as the kit's own models do."""
    parts = [] if turn.text is None else [types.Part(text=turn.text)]
    for each in turn.calls:
        if each.raw:
            raise ValueError(f"the arguments of {each.name} are no JSON object: {each.raw!r:.80}")
        call = types.FunctionCall(id=each.id, name=spelled(each.name, plain=True), args=dict(each.args))
        parts.append(types.Part(function_call=call))
    usage = None
    if turn.usage is not None:
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=turn.usage.input_tokens,
            candidates_token_count=turn.usage.output_tokens - turn.usage.reasoning_tokens,
            thoughts_token_count=turn.usage.reasoning_tokens, cached_content_token_count=turn.usage.cached_input_tokens,
            total_token_count=turn.usage.tokens,
        )
    return LlmResponse(content=types.Content(role="model", parts=parts), model_version=model, usage_metadata=usage)


class Scripted(BaseLlm):
    """A model that says what a script has."""

    script: Any

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """See `BaseLlm`."""
        parts = [part for content in llm_request.contents for part in content.parts or ()]
        answers = [part.function_response for part in parts if part.function_response is not None]
        self.script.hear({each.id or "": _text(each.response or {}) for each in answers})
        said = native(self.script.say(), self.model)
        if stream and said.content is not None:
            yield LlmResponse(content=said.content, partial=True)
        yield said


def _text(response: dict[str, Any]) -> str:
    return str(response.get("result", response.get("error", response)))


def speaking(agent: LlmAgent | None, script: Script) -> LlmAgent:
    """See `driving.Runtime`."""
    agent = agent or LlmAgent(name="agent")
    config = agent.generate_content_config or types.GenerateContentConfig()
    config = config.model_copy(update={"max_output_tokens": script.max_output_tokens})
    return agent.clone({"model": Scripted(model=script.model, script=script), "generate_content_config": config})
