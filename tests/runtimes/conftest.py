"""Tests with real agent runtimes, in an environment of their own: .venv-runtimes. Elsewhere nothing is collected.

Which packages must be there is a test (test_environment.py), so that an environment that lacks some of them fails.
"""

from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("agents") else ["*"]

#: What the packages say of themselves. A warning of ours is an error here as everywhere.
TOLD = (
    "ignore:.*langchain.mcp.* is in beta:",  # LangChainBetaWarning, at import
)


def pytest_configure(config: pytest.Config) -> None:
    for line in TOLD:
        config.addinivalue_line("filterwarnings", line)
