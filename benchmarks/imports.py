"""`import`: what `import interlock` costs a program that starts, and what it drags in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.figures import Figure, Size, figure

FORBIDDEN = (
    # agent frameworks
    "agents", "langchain", "langchain_core", "langgraph", "pydantic_ai", "claude_agent_sdk", "crewai", "autogen",
    "autogen_core", "llama_index", "smolagents", "google.adk", "semantic_kernel", "haystack", "dspy",
    "openai", "anthropic",
    # web frameworks and servers
    "fastapi", "starlette", "uvicorn", "flask", "django", "aiohttp.web", "tornado", "sanic", "quart", "hypercorn",
    "granian",
    # OpenTelemetry
    "opentelemetry",
)
PROGRAM = """
import json, sys, time
began = time.perf_counter()
import interlock
taken = time.perf_counter() - began
print(json.dumps([taken, [name for name in sys.argv[1:] if name in sys.modules], len(sys.modules)]))
"""


def imports(size: Size) -> Iterator[Figure]:
    """In fresh processes, one after the other; the first only warms the disk."""
    found = []
    for _ in range(size.of(15, 4) + 1):
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, *FORBIDDEN], capture_output=True, text=True, check=True
        ).stdout
        found.append(json.loads(told))
    loaded = sorted({name for _, names, _ in found for name in names})
    yield figure(
        "import interlock",
        [each[0] * 1e3 for each in found[1:]],
        unit="ms",
        at_most=300.0,
        seen={"modules": found[-1][2]},
    )
    yield figure("forbidden modules that it loads", [len(loaded)], unit="", at_most=0, note=", ".join(loaded))
