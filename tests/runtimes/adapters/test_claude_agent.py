"""What is particular to Claude Code: what would go around the gateway, its process, its door, its provider."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from claude_agent_sdk import AgentDefinition, AssistantMessage, ClaudeAgentOptions, HookMatcher, StreamEvent

from interlock import ConfigError, Gateway, Run
from interlock.adapters.claude_agent import Agent, Session, bind, drive, speaking
from interlock.codecs.claude_agent import api, started
from interlock.codecs.door import Refused
from interlock.codecs.messages import events, native, sse, streamed
from interlock.core.turn import Call, Turn
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK, USAGE

Says = Callable[..., Script]
NOBODY = {"HTTPS_PROXY": "http://127.0.0.1:9", "CLAUDE_CODE_MAX_RETRIES": "0"}


async def asked(*_args: Any) -> Any:
    return {}


def agent(**options: Any) -> Agent:
    return Agent(ClaudeAgentOptions(**{"env": NOBODY, **options}))


@pytest.mark.parametrize(
    ("options", "leak"),
    [
        ({"tools": ["Bash"]}, "Bash"),
        ({"tools": {"type": "preset", "preset": "claude_code"}}, "tools"),
        ({"mcp_servers": {"files": {"command": "true"}}}, "files"),
        ({"mcp_servers": "servers.json"}, "servers.json"),
        ({"agents": {"helper": AgentDefinition(description="d", prompt="p")}}, "agent helper"),
        ({"plugins": [{"type": "local", "path": "p"}]}, "plugin p"),
        ({"extra_args": {"mcp-config": "x"}}, "--mcp-config"),
        ({"settings": "settings.json"}, "settings"),
        ({"setting_sources": ["project"]}, "setting_sources"),
        ({"skills": "all"}, "skills"),
        ({"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}, "CLAUDE_CODE_USE_BEDROCK"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(
    run: Run, let_pass: Callable[..., Run], options: dict[str, Any], leak: str
) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        bind(run, agent(**options))
    assert bind(let_pass(leak), agent(**options)).governed.ungoverned == {leak}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"can_use_tool": asked}, "can_use_tool would be asked when the gateway has performed already"),
        ({"hooks": {"PreToolUse": [HookMatcher(hooks=[asked])]}}, "hook PreToolUse would be asked when"),
        ({"resume": "s1"}, "resume and continue_conversation know nothing of the run"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_come_too_late_is_refused(run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bind(run, agent(**options))


def test_an_agent_is_bound_to_one_run(gateway: Gateway, run: Run) -> None:
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match=r"bound to .* already"):
        asyncio.run(drive(run, bind(other, agent()), "go"))


def test_a_tool_of_the_program_that_is_let_pass_runs_beside_the_gateway(
    run: Run, let_pass: Callable[..., Run], says: Says, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("the word is plum")
    told: dict[str, str] = {}
    said = says([Call("Read", {"file_path": str(tmp_path / "note.txt")}, "r1"), LOOK], "done")
    script = Script(say=said.say, hear=told.update, model="m", max_output_tokens=100)
    reading = agent(tools=["Read"], allowed_tools=["Read"], cwd=tmp_path)
    with pytest.raises(ConfigError, match="around the gateway: Read;"):
        bind(run, reading)
    run = let_pass("Read")
    result = asyncio.run(drive(run, bind(run, speaking(reading, script)), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)
    assert "plum" in told["r1"]
    assert told["c1"] == "seen 1"


def test_the_program_is_shown_the_gateways_tools_and_no_key_of_the_providers(run: Run, says: Says) -> None:
    seen: list[tuple[Mapping[str, Any], Mapping[str, str]]] = []
    said = speaking(agent(env={**NOBODY, "ANTHROPIC_API_KEY": "the-providers-own"}), says("done"))

    async def noting(body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        seen.append((body, headers))
        assert said.provider is not None
        async for part in said.provider(body, headers):
            yield part

    bound = bind(run, Agent(said.options, noting), tools=["desk.note"])
    assert asyncio.run(drive(run, bound, "look at @/etc/hostname")).output == "done"
    ((body, headers),) = seen
    assert [tool["name"] for tool in body["tools"]] == ["mcp__interlock__desk_note"]
    assert "look at @/etc/hostname" in json.dumps(body["messages"])
    assert Path("/etc/hostname").read_text().strip() not in json.dumps(body["messages"])
    assert not {"x-api-key", "authorization"} & set(headers)


def test_a_key_of_the_environment_does_not_reach_the_program() -> None:
    own = agent(env={"ANTHROPIC_API_KEY": "secret", "NO_PROXY": "x"}).options
    env = started(own, None, "http://127.0.0.1:1", "the door's", "/nowhere").env
    assert env["ANTHROPIC_API_KEY"] == "the door's"
    assert (env["ANTHROPIC_BASE_URL"], env["NO_PROXY"]) == ("http://127.0.0.1:1", "x,127.0.0.1")
    assert env["CLAUDE_CODE_USE_BEDROCK"] == env["CLAUDE_CODE_OAUTH_TOKEN"] == env["ANTHROPIC_AUTH_TOKEN"] == ""


def test_the_door_is_open_to_the_program_alone(run: Run) -> None:
    async def go() -> int:
        session = Session(bind(run, agent()), "go", [], {}, None)
        guessed = {"x-api-key": "guessed"}
        async with session.door.open() as url, ClientSession(headers=guessed) as client:
            return (await client.post(f"{url}/v1/messages", json={})).status

    assert asyncio.run(go()) == 401
    assert run.report().steps.used == 0


@pytest.mark.parametrize(("call_id", "done"), [("c", {"done": 1}), ("", {})], ids=["one", "none"])
def test_of_calls_that_share_an_id_one_is_made_and_without_one_none(
    run: Run, says: Says, call_id: str, done: dict[str, int]
) -> None:
    """As the program tells its model."""
    told: dict[str, str] = {}
    said = says([Call("desk.note", {"text": text}, call_id) for text in "ab"], "done")
    script = Script(say=said.say, hear=told.update, model="m", max_output_tokens=100)
    result = asyncio.run(drive(run, speaking(agent(), script), "go"))
    assert (result.output, result.report.calls) == ("done", done)
    assert told[call_id] == "noted a" if done else "did not run" in told[call_id]


def test_what_is_said_comes_as_it_is_said(run: Run, says: Says) -> None:
    heard: list[Any] = []
    result = asyncio.run(drive(run, speaking(agent(), says([LOOK], "done")), "go", on_event=heard.append))
    assert result.output == "done"
    assert {AssistantMessage, StreamEvent} <= {type(each) for each in heard}


def test_the_program_is_gone_when_the_drive_is(run: Run, says: Says) -> None:
    script = says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))
    result = asyncio.run(drive(run, speaking(agent(), script), "go"))
    assert (result.status, result.stop_reason, result.error) == ("stopped", "max_steps", None)
    running = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in running if "claude" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.parametrize("place", ["in a turn", "in a call"])
def test_a_drive_that_is_cancelled_ends_at_once_and_asks_nothing_more(
    gateway: Gateway, run: Run, says: Says, place: str
) -> None:
    begun = asyncio.Event()

    async def hang() -> str:
        begun.set()
        return str(await asyncio.sleep(3600))

    gateway.tool("desk.hang", effect="write")(hang)
    said = speaking(agent(), says([Call("desk.hang", {}, "h1")], "done"))

    async def silent(_body: Mapping[str, Any], _headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        await hang()
        yield b""

    async def go() -> None:
        driving = asyncio.create_task(
            drive(run, Agent(said.options, silent) if place == "in a turn" else said, "go")
        )
        await begun.wait()
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving

    asyncio.run(go())
    report = run.report()
    assert (report.stop_reason, report.steps.used, report.steps.held) == ("cancelled", 1, 0)
    assert report.calls == ({} if place == "in a turn" else {"unknown": 1})


# --- the provider ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/base/v1/messages", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/base"
    finally:
        await runner.cleanup()


async def _said(url: str, **env: str) -> Mapping[str, Any]:
    parts = [part async for part in api({"ANTHROPIC_BASE_URL": url, **env})({"model": "m"}, {"anthropic-version": "1"})]
    return streamed(b"".join(parts).decode())


def test_the_provider_is_asked_with_the_key_of_the_environment() -> None:
    seen: list[Mapping[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers)
        message = native(Turn("so", (LOOK,), USAGE), "m")
        return web.Response(body=b"".join(sse(event) for event in events(message)))

    async def go() -> None:
        async with served(answer) as url:
            assert (await _said(url, ANTHROPIC_API_KEY="k"))["content"][1]["input"] == {"at": 1}
            await _said(url, ANTHROPIC_AUTH_TOKEN="t")

    asyncio.run(go())
    assert (seen[0]["x-api-key"], seen[0]["anthropic-version"], seen[1]["authorization"]) == ("k", "1", "Bearer t")


def test_what_the_provider_refuses_is_passed_on_and_what_breaks_off_is_no_answer() -> None:
    ways: dict[str, Any] = {
        "refuses": lambda _request: web.Response(status=529, text="busy", headers={"retry-after": "3"}),
        "sends away": lambda _request: web.Response(status=302, headers={"location": "http://127.0.0.1:9"}),
        "breaks off": lambda _request: web.Response(body=sse({"type": "message_start", "message": {}})),
        "errs": lambda _request: web.Response(body=sse({"type": "error", "error": {"type": "overloaded_error"}})),
    }

    async def go(way: str) -> Mapping[str, Any]:
        async def answer(request: web.Request) -> Any:
            return ways[way](request)

        async with served(answer) as url:
            return await _said(url)

    with pytest.raises(Refused) as refused:
        asyncio.run(go("refuses"))
    assert (refused.value.status_code, refused.value.said, refused.value.headers["retry-after"]) == (529, b"busy", "3")
    with pytest.raises(Refused, match="answers 502"):
        asyncio.run(go("sends away"))
    with pytest.raises(Refused, match="cannot be reached"):
        asyncio.run(_said("http://127.0.0.1:9"))
    for way in ("breaks off", "errs"):
        with pytest.raises(ValueError, match="broken off"):
            asyncio.run(go(way))
