"""Every example of the docs that carries the name of a runtime's extra: executed here, where the runtimes are.

They define, and do nothing by themselves: what they do is tested by whoever takes them from here. A block that is a
file of a page (`tools.py`) is executed by the test of that page; one for CrewAI, where CrewAI is (clients/crew.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.pages import PAGES, Block, blocks, named

EXAMPLES = [
    (page, block) for page in PAGES for block in blocks(page)
    if block.kind == "python" and block.name and not block.name.endswith(".py") and block.name != "crewai"
]


def executed(block: Block, page: str) -> dict[str, Any]:
    """What an example defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile("\n" * block.line + block.text, page, "exec", dont_inherit=True), names)
    return names


def example(page: str, name: str) -> dict[str, Any]:
    """What the examples of that name on a page define, all of them together."""
    found: dict[str, Any] = {}
    for at, block in EXAMPLES:
        if (named(at), block.name) == (page, name):
            found |= executed(block, page)
    return found


@pytest.mark.parametrize(("page", "block"), [(named(page), block) for page, block in EXAMPLES],
                         ids=[f"{named(page)}-{block.name}" for page, block in EXAMPLES])
def test_an_example_for_a_runtime_runs_where_the_runtime_is(page: str, block: Block) -> None:
    assert executed(block, page)
