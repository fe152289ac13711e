"""Canary secrets, and everything that leaves a service that was given them: they are in none of it.

A real `interlock serve` over SQLite is lent a different secret for each of its neighbours, and every neighbour tells
what it was sent: tools in results and in errors, a model's provider, an MCP server, an HTTP API. Agents and people then
repeat these secrets wherever they may write something. What comes out is gathered channel by channel.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from interlock.core.principal import Role
from tests.faces.console.conftest import token_in
from tests.faces.mcp.conftest import ENVELOPE
from tests.faces.serving import PATIENCE, Process, key_of

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {  #: variable → what the gateway is given in it
    name: f"canary-{name.lower()}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    for name in ("TOOL", "PROVIDER", "UPSTREAM", "API", "HOOK", "SLACK_SIGNING")
}
SLACK_PATH = "/services/canary-slack-T0-B0-x9y8z7"
TOLD = SECRETS["TOOL"]  #: what the tools let out, and everybody repeats
REPEATED = ("TOOL", "PROVIDER", "UPSTREAM", "API")  #: what a neighbour may tell to somebody else
TOOLS = '''
import os

import interlock
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=open("spans", "a", buffering=1))))
trace.set_tracer_provider(provider)

def gateway():
    gw = interlock.open("interlock.yaml")

    def lend(name, **said):
        return gw.tool(name, credential="tool", **{"effect": "write", "dedupe": "off", **said})

    @lend("leak.text")
    async def text(key: interlock.Credential, note: str = "") -> dict:
        with open("lent", "w") as file:
            file.write(str(key))
        return {"header": f"Bearer {key}", str(key): [str(key)]}

    @lend("leak.error")
    async def error(key: interlock.Credential) -> None:
        raise ValueError(f"cannot log in with {key}")

    @lend("leak.failed", errors="failed")
    def failed(key: interlock.Credential) -> None:
        raise interlock.NotDone(f"cannot log in with {key}")

    @lend("leak.read", effect="read")
    def read(key: interlock.Credential) -> None:
        raise RuntimeError(f"cannot log in with {key}")

    @gw.tool("say", effect="write", dedupe="off")
    def say(note: str) -> str:
        return note

    @gw.tool("ask", effect="write", dedupe="off")
    def ask(note: str) -> str:
        return note

    return gw
'''
API = {
    "openapi": "3.1.0", "info": {"title": "echo", "version": "1"},
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}, "security": [{"key": []}],
    "paths": {
        f"/echo/{status}": {"get": {"operationId": f"echo{status}", "responses": {"200": {"description": "what came"}}}}
        for status in (200, 400, 500)
    },
}


class Neighbour(BaseHTTPRequestHandler):
    """Everything that the gateway speaks to: each tells back what it was sent."""

    heard: dict[str, list[bytes]]

    def do_GET(self) -> None:
        status = self.path.rpartition("/")[2]
        self._answer(int(status) if status.isdigit() else 404, {"sent": dict(self.headers)})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith(("/hook", "/services")):
            self.heard.setdefault(self.path[:5], []).append(raw)
            self._answer(200, "ok")
            return
        asked = json.loads(raw)
        key = self.headers["authorization"]
        message = {"role": "assistant", "content": f"you sent {key}"}
        if asked["model"] == "refuses":
            self._answer(400, {"error": {"message": f"no, {key}"}})
        elif asked.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            chunk = {"choices": [{"index": 0, "delta": message}]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")  # and breaks off
        else:
            usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
            self._answer(200, {"id": key, "choices": [{"index": 0, "message": message}], "usage": usage})

    def _answer(self, status: int, said: Any) -> None:
        raw = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-request-id", f"r-{self.headers.get('authorization', '')}".replace(" ", "-"))
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Story:
    """One service, and everything that came out of it, by channel."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.near = folder, f"http://127.0.0.1:{port}"
        self.out: dict[str, list[bytes]] = {}
        self.keys: dict[str, str] = {}

    def told(self, channel: str, *pieces: bytes | str) -> None:
        """This came out there."""
        self.out.setdefault(channel, []).extend(
            piece if isinstance(piece, bytes) else piece.encode() for piece in pieces
        )

    def client(self, base: str, channel: str, key: str = "") -> httpx2.Client:
        """A client whose every answer is kept, with its headers."""

        def keep(answer: httpx2.Response) -> None:
            answer.read()
            headers = [f"{name}: {value}" for name, value in answer.headers.items() if name != "set-cookie"]
            self.told(channel, answer.content, "\n".join(headers))

        headers = {"authorization": f"Bearer {key}"} if key else {}
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [keep]}
        return httpx2.Client(base_url=base, headers=headers, event_hooks=hooks, timeout=PATIENCE, trust_env=False)

    def environ(self) -> dict[str, str]:
        """What the service runs with; other programs have none of it."""
        return {**SECRETS, "SLACK": self.near + SLACK_PATH, "PYTHONPATH": str(ROOT)}

    # --- the service -------------------------------------------------------------------------------------------------

    def begin(self) -> Process:
        """Serve, with keys for an agent and for a person."""
        upstream = [sys.executable, str(ROOT / "tests/faces/mcp/mcp_upstream.py"), str(self.folder)]
        config = {
            "ledger": {"url": "sqlite:///interlock.db", "synchronous": "off"},
            "policy": {"allow": ["leak.*", "say", "ask", "up.*", "api.*"]},
            "approvals": {"required_for": ["ask"], "webhook": {"url": f"{self.near}/hook", "secret": "env:HOOK"}},
            "budgets": {"max_tool_calls": 500, "max_denials": 500, "max_repeats": 500},
            "credentials": {name.lower(): f"env:{name}" for name in REPEATED},
            "tools": {"api.*": {"effect": "read"}},
            "upstreams": {
                "up": {
                    "mcp": {"command": upstream, "env": {"TOKEN": "{credential}", "TELLS": "1"}},
                    "credential": "upstream",
                },
                "api": {"openapi": "api.json", "base_url": self.near, "credential": "api", "allow_private": True},
            },
            "serve": {
                "models": {"openai": {"url": f"{self.near}/v1", "credential": "provider"}},
                "slack": {
                    "webhook": "env:SLACK", "signing_secret": "env:SLACK_SIGNING", "approvers": {"U1": "ann"},
                },
            },
        }
        (self.folder / "interlock.yaml").write_text(json.dumps(config))
        (self.folder / "api.json").write_text(json.dumps(API))
        (self.folder / "tools.py").write_text(TOOLS)
        self.keys["agent"] = key_of(self.folder, Role.AGENT)
        self.keys["ann"] = key_of(self.folder, Role.ADMIN, tenant="", name="ann")
        return Process(self.folder, "--app", "tools:gateway", env=self.environ())

    # --- what agents do ----------------------------------------------------------------------------------------------

    def over_http(self, url: str) -> None:
        """Tools that let it out, and an agent that says it again wherever it can."""
        with self.client(url, "http", self.keys["agent"]) as agent:
            agent.post("/v1/runs", json={"run_id": "r0"})
            calls = "/v1/runs/r0/calls"
            for tool in ("leak.text", "leak.error", "leak.failed", "leak.read", "up.leak", "api.echo200"):
                agent.post(calls, json={"tool": tool, "call_id": tool})
                agent.get(f"{calls}/{tool}")
            for more in ({"error": True}, {"fail": True}):
                agent.post(calls, json={"tool": "up.leak", "args": more})
            for status in (400, 500):
                agent.post(calls, json={"tool": f"api.echo{status}"})
            assert (self.folder / "lent").read_text() == TOLD
            for said in (
                {"request": TOLD}, {"labels": {TOLD: TOLD}}, {"runtime": TOLD}, {"requested_by": TOLD},
                {"run_id": TOLD}, {TOLD: 1}, {"request": [TOLD]}, {"tenant": TOLD}, {"budgets": {TOLD: 1}},
            ):
                agent.post("/v1/runs", json=said)
            for said in (
                {"tool": "say", "args": {"note": TOLD}}, {"tool": "say", "args": {TOLD: 1}}, {"tool": TOLD},
                {"tool": "say", "args": {"note": "x"}, "call_id": TOLD}, {"tool": "say", "step_id": TOLD},
                {"tool": "ask", "args": {"note": TOLD}, "call_id": "secret"}, {"tool": [TOLD]}, {TOLD: TOLD},
                {"tool": "leak.text", "args": {"note": TOLD}},
            ):
                agent.post(calls, json=said)
            agent.post(calls, content=b'{"tool": "say", "args": ' + TOLD.encode())
            agent.post(calls, json={"tool": "say", "args": {"note": "y"}}, headers={"Idempotency-Key": TOLD})
            agent.post(calls, json={"tool": "say", "args": {"note": "z"}}, headers={"X-Request-Id": TOLD})
            agent.post(f"/v1/runs/{TOLD}/calls", json={"tool": "say"})
            agent.post(f"{calls}/{TOLD}/settle", json={"lease_id": TOLD, "outcome": "done"})
            agent.get(f"/v1/{TOLD}")
            agent.get("/v1/runs", params={"limit": TOLD})
            agent.get("/v1/runs", params={TOLD: 1})
            agent.get(f"/v1/approvals/{TOLD}")
            agent.request(f"{TOLD[:12]}", calls)
            agent.post(calls, json={"tool": "ask", "args": {"note": "please"}, "call_id": "q1"})
            agent.post(calls, json={"tool": "ask", "args": {"note": "please do"}, "call_id": "q2"})
            agent.post("/v1/runs/r0/steps", json={"model": TOLD})
            agent.get("/v1/tools")
            agent.get("/v1/runs/r0/report")
            agent.get(calls)
        with self.client(url, "http", TOLD) as nobody:
            nobody.get("/v1/runs")

    def over_mcp(self, url: str) -> None:
        """The same, by another door."""
        names = ["leak.text", "leak.error", "leak.failed", "leak.read", "up.leak", "ask", "say", TOLD]
        asked: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("tools/call", {"name": name, "arguments": {"note": TOLD} if name == "say" else {}}, {}) for name in names
        ]
        asked += [
            ("tools/call", {"name": "ask", "arguments": {"note": "this one waits"}}, {}),
            ("tools/list", {}, {}), ("tools/call", {"name": "say", "arguments": TOLD}, {}),
            ("tools/call", {"name": "say", "arguments": {"note": "m"}}, {"interlock/run_id": TOLD}),
            ("tools/call", {"name": "say", "arguments": {"note": "m"}}, {"interlock/call_id": TOLD}),
            ("tools/call", {"name": "leak.text", "arguments": {}}, {"interlock/call_id": "same"}),
            ("tools/call", {"name": "say", "arguments": {"note": TOLD}}, {"interlock/call_id": "same"}),
        ]
        with self.client(url, "mcp", self.keys["agent"]) as agent:
            for number, (method, params, meta) in enumerate(asked):
                headers = {
                    "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
                    "mcp-method": method, **({"mcp-name": params["name"]} if "name" in params else {}),
                }
                request = {"jsonrpc": "2.0", "id": number, "method": method}
                said = {**request, "params": {**params, "_meta": {**ENVELOPE, **meta}}}
                agent.post("/mcp", json=said, headers=headers)
            agent.post("/mcp", content=TOLD, headers={"content-type": "application/json"})

    def over_the_proxy(self, url: str) -> None:
        """A provider that tells its key, and prompts that repeat it."""
        said = [{"role": "user", "content": f"use {TOLD} and {SECRETS['PROVIDER']}"}]
        with self.client(url, "proxy", self.keys["agent"]) as agent:
            for body in (
                {"model": "m", "messages": said}, {"model": "m", "messages": said, "stream": True},
                {"model": "refuses", "messages": said}, {"model": TOLD, TOLD: 1},
                {"model": "m", "tools": [{"type": TOLD}]},
            ):
                agent.post("/openai/v1/chat/completions", json=body)
            agent.post("/openai/v1/chat/completions", json={}, headers={"interlock-run-id": TOLD})
            agent.get(f"/openai/v1/models/{TOLD}")

    # --- what people do ----------------------------------------------------------------------------------------------

    def people(self, url: str) -> None:
        """Answer, and write it down again everywhere."""
        with self.client(url, "people", self.keys["ann"]) as ann:
            waiting = ann.get("/v1/approvals").json()["approvals"]
            q1, q2 = sorted(each["approval_id"] for each in waiting if each["call_id"] in ("q1", "q2"))
            ann.post(f"/v1/approvals/{q1}/approve", json={"note": TOLD})
            ann.post(f"/v1/approvals/{q2}/approve", json={"args": {"note": TOLD}})
            ann.post("/v1/switches/kill", json={"tool": "nothing", "reason": TOLD})
            ann.post("/v1/switches/kill", json={"agent": f"{TOLD}*", "reason": "x"})
            ann.post("/v1/switches/release", json={"tool": "nothing", "reason": TOLD})
            ann.post("/v1/switches/release", json={"tool": TOLD})
            unknown = {"tenant": "acme", "happened": True, "value": {TOLD: TOLD}, "note": TOLD}
            ann.post("/v1/runs/r0/calls/leak.error/reconcile", json=unknown)
            ann.post("/v1/budgets/top-up", json={"tenant": "acme", "run_id": "r0", "steps": 1, "note": TOLD})
            ann.post("/v1/tools/up.leak/accept", json={"note": TOLD, "offered": TOLD})
            ann.post(f"/v1/tools/{TOLD}/accept", json={})
            check = {"tenant": "acme", "tool": "say", "args": {"note": TOLD}, "agent": "bot", "env": "prod"}
            ann.post("/v1/policy/check", json=check)
            for path in ("/v1/runs", "/v1/audit/entries", "/v1/audit/export", "/v1/budgets", "/v1/audit/checkpoints"):
                ann.get(path, params={"tenant": "acme", "limit": 1000} if "export" not in path else {"tenant": "acme"})
            for path in ("/v1/policy", "/v1/tools", "/v1/switches?active=false", "/v1/approvals?waiting=false"):
                ann.get(path)
            ann.post("/v1/audit/verify", json={"tenant": "acme"})
        with self.client(url, "metrics", self.keys["ann"]) as ann:
            assert "interlock_" in ann.get("/metrics").text
        self._slack(url, q2)

    def _slack(self, url: str, approval_id: str) -> None:
        with self.client(url, "slack") as slack:
            ours = SECRETS["SLACK_SIGNING"]
            for value, secret in ((approval_id, ours), (TOLD, ours), ("x", "wrong")):
                click = {"user": {"id": "U1"}, "actions": [{"action_id": "reject", "value": value}], "response_url": ""}
                body, seconds = urllib.parse.urlencode({"payload": json.dumps(click)}), str(int(time.time()))
                mac = hmac.new(secret.encode(), f"v0:{seconds}:{body}".encode(), hashlib.sha256).hexdigest()
                headers = {"x-slack-request-timestamp": seconds, "x-slack-signature": f"v0={mac}"}
                slack.post("/slack/actions", content=body, headers=headers)

    def console(self, url: str) -> None:
        """Every page, and pages that cannot be made."""
        with self.client(url, "console") as ann:
            csrf = token_in(ann.get("/sign-in").text)
            signed = ann.post("/sign-in", data={"csrf": csrf, "key": self.keys["ann"], "next": "/"})
            assert signed.status_code == 303
            csrf = token_in(ann.get("/").text)
            for path in (
                "/runs", "/run?tenant=acme&id=r0", "/switches", "/switches/kill?kind=everything", "/tools", "/policy",
                "/budgets?tenant=acme", "/tool?name=leak.text", "/tool?name=up.leak", "/audit?tenant=acme",
                "/audit/checkpoints?tenant=acme", f"/run?tenant=acme&id={TOLD}", f"/approvals/{TOLD}",
                f"/tool?name={TOLD}", f"/audit?tenant=acme&q={TOLD}", f"/runs?tenant={TOLD}",
            ):
                ann.get(path)
            for path, form in (
                ("/switches/kill", {"kind": "agent", "agent": "nobody", "reason": TOLD}),
                ("/policy", {"tenant": "acme", "agent": "bot", "env": "prod", "tool": "say", "args": "{" + TOLD}),
                ("/run/reconcile", {"tenant": "acme", "run": "r0", "call": TOLD, "happened": "yes"}),
                ("/audit/verify", {"tenant": "acme"}),
            ):
                ann.post(path, data={"csrf": csrf, **form})

    def command_line(self) -> None:
        """What people print, on a machine that has none of the secrets."""
        environ = {name: value for name, value in os.environ.items() if name not in SECRETS}
        for words in (
            "run list", "run show r0 --tenant acme", "approvals list --all", "unknowns", "switches --all",
            "audit export --tenant acme", "audit verify --tenant acme", "keys list", "tools list", "check",
        ):
            for more in ([], ["--json"]):
                command = [sys.executable, "-m", "interlock", *words.split(), *more]
                done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, check=False)
                self.told("command line", done.stdout, done.stderr)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All of it, once."""
    Neighbour.heard = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as near:
        thread = threading.Thread(target=near.serve_forever, args=(0.01,))
        thread.start()
        told = Story(tmp_path_factory.mktemp("canaries"), near.server_address[1])
        serving = told.begin()
        try:
            told.over_http(serving.url)
            told.over_mcp(serving.url)
            told.over_the_proxy(serving.url)
            told.people(serving.url)
            told.console(serving.url)
            give_up = time.monotonic() + PATIENCE
            while set(Neighbour.heard) != {"/hook", "/serv"} and time.monotonic() < give_up:
                time.sleep(0.02)
        finally:
            assert serving.end() == 0
            near.shutdown()
            thread.join()
        told.command_line()
        told.told("webhook", *Neighbour.heard["/hook"])
        told.told("slack", *Neighbour.heard["/serv"])
        told.told("log", serving.said, serving.log.read_bytes())
        told.told("traces", (told.folder / "spans").read_bytes())
        told.told("ledger", *(file.read_bytes() for file in told.folder.glob("interlock.db*")))
        yield told


CHANNELS = (
    "http", "mcp", "proxy", "people", "metrics", "slack", "console", "command line", "webhook", "log", "traces",
    "ledger",
)


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_secret_leaves_by_any_channel(story: Story, channel: str) -> None:
    found = story.out[channel]
    assert sum(map(len, found)) > 100
    for piece in found:
        for name, secret in {**SECRETS, "SLACK": SLACK_PATH}.items():
            assert secret.encode() not in piece, f"{name} in {piece[:3000]!r}"
        for whose, key in story.keys.items():
            assert key.split("_", 2)[2].encode() not in piece, f"the key of {whose} in {piece[:3000]!r}"


def test_every_channel_was_told_of(story: Story) -> None:
    assert set(story.out) == set(CHANNELS)
    for channel in ("http", "mcp", "proxy", "people", "console", "command line", "log", "ledger"):  # it was there once
        assert b"[redacted]" in b"".join(story.out[channel]), channel
