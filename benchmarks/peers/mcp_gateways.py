"""How each MCP gateway is started beside ours, in front of the same upstream. What is set and why: README.md."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import require
from benchmarks.mcp_front import Way
from benchmarks.peers.process import free_port, listening, place_of
from benchmarks.wire import Wire


@contextmanager
def fastmcp(folder: Path, upstream: str) -> Iterator[Way]:
    """A proxy and nothing else: no key, no policy, no record."""
    port = free_port()
    start = Path(__file__).with_name("start_fastmcp.py")
    order = [place_of("fastmcp") / "python", "-P", start, str(port), upstream]
    with listening(order, port, folder / "fastmcp.log"):
        yield Way(port, "echo")


@contextmanager
def litellm(folder: Path, upstream: str) -> Iterator[Way]:
    """Its proxy with one MCP server and the master key; no database."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
        "mcp_servers": {"peer": {"url": upstream, "transport": "http", "allow_all_keys": True}},
    }))
    order = [place_of("litellm") / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR"}
    with listening([str(each) for each in order], port, folder / "litellm.log", env):
        yield Way(port, "peer-echo", path="/mcp/", headers={"Authorization": f"Bearer {key}"}, newest=False)


@contextmanager
def contextforge(folder: Path, upstream: str) -> Iterator[Way]:
    """Its gateway on SQLite, with a signed token for its administrator; the upstream registered as a gateway."""
    port, place = free_port(), place_of("contextforge")
    password, secret = f"Bench-{secrets.token_urlsafe(12)}-1!", secrets.token_hex(32)
    env = {
        "DATABASE_URL": f"sqlite:///{folder / 'contextforge.db'}", "CACHE_TYPE": "memory", "LOG_LEVEL": "ERROR",
        "AUTH_REQUIRED": "true", "JWT_SECRET_KEY": secret, "AUTH_ENCRYPTION_SECRET": secrets.token_hex(32),
        "PLATFORM_ADMIN_EMAIL": "admin@example.com", "PLATFORM_ADMIN_PASSWORD": password,
        "DEFAULT_USER_PASSWORD": password, "BASIC_AUTH_PASSWORD": password,
        "MCPGATEWAY_UI_ENABLED": "false", "MCPGATEWAY_ADMIN_API_ENABLED": "false", "PLUGINS_ENABLED": "false",
        "OTEL_ENABLE_OBSERVABILITY": "false", "OBSERVABILITY_ENABLED": "false",
        "SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true", "HEALTH_CHECK_INTERVAL": "3600",
        "RATE_LIMITING_ENABLED": "false",
    }
    order = [place / "mcpgateway", "--port", str(port), "--log-level", "error", "--no-access-log"]
    with listening(order, port, folder / "contextforge.log", env):
        made = subprocess.run(
            [place / "python", "-m", "mcpgateway.utils.create_jwt_token", "-u", "admin@example.com", "-e", "600",
             "-s", secret, "--admin"],
            env=env, cwd=folder, capture_output=True, text=True, check=True,
        )
        shown = {"Authorization": f"Bearer {made.stdout.splitlines()[-1]}"}
        asyncio.run(_register(port, shown, upstream))
        yield Way(port, "peer-echo", path="/mcp/", headers=shown, newest=False)


async def _register(port: int, shown: dict[str, str], upstream: str) -> None:
    wire = Wire("127.0.0.1", port, shown)
    body = {"name": "peer", "url": upstream, "transport": "STREAMABLEHTTP"}
    status, answer = await wire.send("POST", "/gateways", body)
    wire.close()
    require(status in (200, 201), f"ContextForge did not register the upstream: {status} {answer[:500]!r}")


class Gateway(NamedTuple):
    """One that ours is measured beside, and what the project has promised."""

    peer: str
    package: str
    words: str
    start: Callable[[Path, str], AbstractContextManager[Way]]
    median: float  #: how many times lower ours is to be
    rate: float  #: how many times more calls


GATEWAYS = [
    Gateway("fastmcp", "fastmcp", "FastMCP {} proxy", fastmcp, 15, 40),
    Gateway("litellm", "litellm", "LiteLLM {} MCP gateway", litellm, 15, 40),
    Gateway("contextforge", "mcp-contextforge-gateway", "ContextForge {}", contextforge, 20, 50),
]
