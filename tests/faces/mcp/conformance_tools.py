"""The tools that the official conformance suite asks for, as far as a gateway of tools can have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import interlock
from interlock.core.call import Effect, Tool
from interlock.ports import CallInfo, Invocation
from interlock.tools.schema import ArgumentSchema

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"}, "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
    },
}
ASKING = [
    f"test_input_required_result_{name}"
    for name in (
        "elicitation", "sampling", "list_roots", "request_state", "multiple_inputs", "multi_round", "tampered_state",
        "capabilities",
    )
]


class Given:
    """A tool with a schema of its own, as an upstream may have one."""

    is_async = False

    def __init__(self, name: str, schema: Mapping[str, Any], text: str) -> None:
        self.tool = Tool(name=name, effect=Effect.READ, schema=schema, description=text)
        self._schema = ArgumentSchema(schema, tool=name)
        self._text = text

    def problem(self, args: Mapping[str, Any]) -> str | None:
        return self._schema.problem(args)

    def perform(self, _: Invocation) -> Any:
        return self._text


def _giving(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give


def equip(gateway: interlock.Gateway) -> None:
    """Register all of them."""
    picture = {"type": "image", "data": PNG, "mimeType": "image/png"}
    sound = {"type": "audio", "data": WAV, "mimeType": "audio/wav"}

    def resource(uri: str, kind: str, text: str) -> dict[str, Any]:
        return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}}

    embedded = resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    mixed = resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    blocks: dict[str, dict[str, Any]] = {
        "test_image_content": {"blocks": [picture]},
        "test_audio_content": {"blocks": [sound]},
        "test_embedded_resource": {"blocks": [embedded]},
        "test_multiple_content_types": {"text": "Multiple content types test:", "blocks": [picture, mixed]},
    }
    texts = {
        "test_simple_text": "This is a simple text response for testing.",
        "test_logging_tool": "nothing is logged to a client", "test_missing_capability": "none is needed",
        "test_streaming_elicitation": "nothing is streamed", **dict.fromkeys(ASKING, "done"),
    }
    for name, given in {**blocks, **texts}.items():
        gateway.tool(name, effect="read", description=name)(_giving(given))

    @gateway.tool("test_error_handling", effect="read")
    def error() -> str:
        """Fails, always."""
        raise RuntimeError("This tool intentionally returns an error for testing")

    @gateway.tool("test_tool_with_progress", effect="read")
    async def progress(call: CallInfo) -> str:
        """Says how far it has come."""
        for done in (0, 50, 100):
            call.report_progress(done, 100, f"{done} of 100")
            await asyncio.sleep(0.05)
        return "done"

    gateway.register(Given("json_schema_2020_12_tool", SCHEMA, "JSON Schema 2020-12"))
    gateway.register(Given("test_custom_headers", HEADERS, "Wants arguments repeated in headers"))
