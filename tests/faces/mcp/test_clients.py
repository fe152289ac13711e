"""Clients of the SDK, of both eras, against a served front."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faces.mcp.conftest import Served, run

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def text(result: Any) -> str:
    return str(result.content[0].text)


@ERAS
def test_a_client_lists_what_it_may_use_and_calls_it(served: Served, mode: str) -> None:
    async def go() -> None:
        async with served.client(mode=mode) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"kb.search", "ticket.create", "ticket.close"} <= set(listed)
            assert not {"ticket.delete", "office.burn"} & set(listed)
            result = await client.call_tool("kb.search", {"text": "x"})
            assert result.structured_content == {"found": ["x", None], "count": 1}
            assert not result.is_error
            assert (await client.call_tool("kb.search", {"text": "x"})).meta["interlock/outcome"] == "done"

    run(go())
