"""The environment of these tests is the one that the extras ask for; CrewAI's is the one that its group asks for."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SAID: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT: dict[str, Any] = SAID["project"]
RUNTIMES = ("openai-agents", "langchain", "pydantic-ai", "agent-framework", "google-adk", "anthropic", "claude-agent")


def out_of_range(lines: list[str]) -> list[str]:
    wanted = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()]
    return [f"{each}: {version(each.name)}" for each in wanted if not each.specifier.contains(version(each.name))]


@pytest.mark.parametrize("extra", RUNTIMES)
def test_a_runtime_is_here_in_the_range_that_its_extra_promises(extra: str) -> None:
    assert not out_of_range(PROJECT["optional-dependencies"][extra])


def test_they_leave_interlock_what_it_asks_for() -> None:
    assert not out_of_range(PROJECT["dependencies"])


def test_crewai_is_here_in_its_range_in_an_environment_of_its_own_without_interlock() -> None:
    (site,) = (ROOT / ".venv-crewai").glob("lib/python*/site-packages")
    there = {each.name.lower(): each.version for each in distributions(path=[str(site)])}
    for wanted in map(Requirement, SAID["dependency-groups"]["crewai"]):
        assert wanted.specifier.contains(there[wanted.name])
    assert "interlock" not in there
