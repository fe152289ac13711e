"""What an MCP server gave, as one JSON value.

Not the cleaning of what it says: see `tools/text.py`. Law: blocks that are not text are told of, never passed on.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types


def value_of(result: types.CallToolResult) -> Any:
    """What a tool gave: its structured content, else its text, with a summary of blocks that are not text.

    Structured content that only wraps that same text (`{"content": text}`, `{"result": text}`) is the text.
    """
    texts, others = [], []
    for block in result.content:
        inner = block.resource if isinstance(block, types.EmbeddedResource) else block
        if isinstance(inner, (types.TextContent, types.TextResourceContents)):
            texts.append(inner.text)
        else:
            others.append(_summary(block.type, inner))
    return joined("\n".join(texts), others, result.structured_content)


def joined(text: str, others: list[dict[str, Any]], structured: Any) -> Any:
    """The value of these: text, what is told of the other blocks, and structured content."""
    if structured is not None:
        wraps = isinstance(structured, dict) and list(structured.values()) == [text]
        if others or not wraps:
            return structured
    return {"text": text, "blocks": others} if others else text


def _summary(kind: str, block: Any) -> dict[str, Any]:
    encoded = getattr(block, "data", None) or getattr(block, "blob", None) or ""
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    said = {"type": kind, "mimeType": block.mime_type, "bytes": size if encoded else getattr(block, "size", None)}
    return said | ({"uri": str(block.uri)} if getattr(block, "uri", None) else {})
