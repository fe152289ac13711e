"""Tests with real agent runtimes, in an environment of their own: .venv-runtimes. Elsewhere nothing is collected.
CrewAI stands alone, in .venv-crewai, and is started from here.

Which packages must be there is a test (test_environment.py), so that an environment that lacks some of them fails. None
of them reaches another machine: whoever tries is refused.
"""

import os
import sys
from importlib.util import find_spec
from typing import Any

import pytest

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"  # it would send its traces to its maker

collect_ignore_glob = [] if find_spec("agents") else ["*"]

#: What the packages say of themselves. A warning of ours is an error here as everywhere.
TOLD = (
    "ignore:.*langchain.mcp.* is in beta:",  # LangChain, of itself
    "ignore:.elicitation_handler. will never be called:",  # Pydantic AI, and it is called: test_contract.py
    "ignore:Accessing .* is deprecated; MCP SDK v2:",  # fastmcp, of how Google ADK reads the tools of an MCP server
    "ignore:Pydantic serializer warnings:UserWarning:pydantic.main",  # Anthropic's: arguments that are no object
)
HERE = ("127.0.0.1", "::1", "localhost")


def stay_here(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in HERE:
        raise ConnectionRefusedError(f"tests stay on this machine: {args[1][0]} is another")


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(stay_here)
    for line in TOLD:
        config.addinivalue_line("filterwarnings", line)
