"""The environment of these tests is the one that the extras ask for."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
RUNTIMES = ("openai-agents", "langchain", "pydantic-ai", "agent-framework", "google-adk", "anthropic", "claude-agent")


def out_of_range(lines: list[str]) -> list[str]:
    wanted = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()]
    return [f"{each}: {version(each.name)}" for each in wanted if not each.specifier.contains(version(each.name))]


@pytest.mark.parametrize("extra", RUNTIMES)
def test_a_runtime_is_here_in_the_range_that_its_extra_promises(extra: str) -> None:
    assert not out_of_range(PROJECT["optional-dependencies"][extra])


def test_they_leave_interlock_what_it_asks_for() -> None:
    assert not out_of_range(PROJECT["dependencies"])
