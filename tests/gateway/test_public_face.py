"""What `import interlock` gives: its names, their signatures, its errors, and what it does not load."""

import asyncio
import inspect
import re
import subprocess
import sys

import pytest

import interlock
from interlock import errors
from interlock.audit_log import AuditLog
from interlock.control import Control

NAMES = [
    "CallInfo",
    "ConfigError",
    "Credential",
    "CredentialError",
    "Denied",
    "Done",
    "Failed",
    "Gateway",
    "InterlockError",
    "KeyReused",
    "LedgerUnavailable",
    "NotDone",
    "Outcome",
    "Pending",
    "Refused",
    "Report",
    "Run",
    "RunStopped",
    "StopReason",
    "Stopped",
    "ToolError",
    "Unknown",
    "Usage",
    "connect",
    "open",
]
FOREIGN = (
    "agents",
    "langchain",
    "langchain_core",
    "langgraph",
    "pydantic_ai",
    "anthropic",
    "openai",
    "claude_agent_sdk",
    "fastapi",
    "starlette",
    "uvicorn",
    "flask",
    "opentelemetry",
    "mcp",
    "pydantic",
    "aiohttp",
    "psycopg",
    "genai_prices",
    "typer",
    "yaml",
)


def test_it_is_one_screen_of_names():
    assert sorted(interlock.__all__) == sorted(NAMES)
    assert len(interlock.__all__) <= 25
    for name in interlock.__all__:
        assert getattr(interlock, name).__doc__, name


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│ ]*)(?:[├└]── )?([A-Z]\w+)(?:\s{2,}.*)?$", line)
        if found:
            depth = 0 if "──" not in line else len(found[1]) // 4 + 1
            above[depth:] = [found[2]]
            drawn[found[2]] = above[depth - 1] if depth else "Exception"
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in classes}
    assert all(issubclass(each, errors.InterlockError) for each in classes)


def test_importing_it_loads_no_framework():
    code = f"import sys, interlock; print([name for name in {FOREIGN!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_call_in_memory_loads_no_framework_but_what_reads_configs_and_schemas():
    code = f"""
import sys, interlock
gw = interlock.open({{"ledger": "memory:", "policy": {{"allow": ["*"]}}, "telemetry": {{"traces": False}}}})
gw.tool("a.b", effect="read")(lambda: 1)
with gw, gw.run(agent="bot", tenant="acme", env="prod") as run:
    assert run.call("a.b", {{}}).value == 1
allowed = ("pydantic", "yaml")
print([name for name in {FOREIGN!r} if name in sys.modules and name not in allowed])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SIGNATURES = {
    interlock.Gateway.run: ("agent", "tenant", "env", "request", "run_id", "budgets", "labels", "runtime"),
    interlock.Gateway.tool: ("name",),
    interlock.Gateway.close: (),
    interlock.Run.call: ("tool", "args", "call_id", "idempotency_key"),
    interlock.Run.acall: ("tool", "args", "call_id", "idempotency_key"),
    interlock.Run.begin_step: ("model", "max_output_tokens"),
    interlock.Run.end_step: ("step", "usage"),
    interlock.Run.stop: ("reason",),
    interlock.Run.finish: (),
    interlock.Run.report: (),
    Control.approvals: ("tenant",),
    Control.approve: ("approval_id", "by", "note"),
    Control.reject: ("approval_id", "by", "note"),
    Control.kill: ("tenant", "agent", "tool", "run", "reason", "by", "mode"),
    Control.release: ("tenant", "agent", "tool", "run", "by", "reason"),
    Control.reconcile: ("tenant", "run_id", "call_id", "happened", "value", "by", "note"),
    Control.top_up: ("tenant", "by"),
    AuditLog.entries: ("tenant",),
    AuditLog.verify: ("tenant",),
    AuditLog.checkpoint: ("tenant",),
}


@pytest.mark.parametrize("verb", SIGNATURES, ids=lambda verb: verb.__qualname__)
def test_the_verbs_of_the_public_contract_take_what_it_says(verb):
    assert set(SIGNATURES[verb]) <= set(inspect.signature(verb).parameters)


def test_the_public_contract_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "interlock.yaml").write_text(
        """
architecture:
  tool_gateway: "owned"
  runtime: "managed_or_custom"
budgets:
  max_steps: 25
  max_tool_calls: 12
approvals:
  required_for: ["db.write", "email.send", "ticket.close"]
logging:
  tool_calls: true
  stop_reasons: true
policy:
  allow: ["ticket.create"]
"""
    )
    with interlock.open() as gw:

        @gw.tool("ticket.create", effect="write", risk="medium")
        def create_ticket(title: str, body: str) -> dict:
            """Create a ticket."""
            return {"title": title}

        @gw.tool("email.send", effect="write")
        async def send_email(to: str) -> str:
            return to

        run = gw.run(agent="support-bot", tenant="acme", env="prod")
        out = run.call("ticket.create", {"title": "…", "body": "…"}, call_id="c1")
        assert (out.kind, out.value, out.replayed, out.approval_id, out.call_id) == (
            "done",
            {"title": "…"},
            False,
            None,
            "c1",
        )
        assert out.text == '{"title":"…"}'
        assert out.decision.reasons
        step = run.begin_step(model="gpt-5-mini", max_output_tokens=2000)
        run.end_step(step, usage=interlock.Usage(input_tokens=900, output_tokens=120))
        pending = asyncio.run(run.acall("email.send", {"to": "a"}, call_id="c2"))
        assert (pending.kind, pending.approval_id) == ("pending", gw.control.approvals(tenant="acme")[0].approval_id)
        gw.control.kill(tenant="acme", reason="incident 7", by="oncall", mode="all")
        gw.control.release(tenant="acme", by="oncall", reason="over")
        run.stop("cancelled")
        assert run.stop_reason == "cancelled"
        assert run.report().status == "stopped"
        assert next(iter(gw.audit.entries(tenant="acme"))).kind == "run_opened"
        assert gw.audit.verify(tenant="acme").ok
        assert gw.audit.checkpoint(tenant="acme")
    assert (tmp_path / "interlock.db").is_file()


def test_a_gateway_takes_one_name_once(gw):
    gw.tool("a.b", effect="read")(lambda: 1)
    with pytest.raises(interlock.ToolError, match=r"a\.b"):
        gw.tool("a.b", effect="read")(lambda: 2)


def test_a_store_comes_with_its_board(house):
    store, board = house.parts()
    for parts in ({"store": store}, {"board": board}):
        with pytest.raises(interlock.ConfigError, match="board"):
            interlock.open(house.config, **parts)
    store.close()
    board.close()


def test_a_ledger_that_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(interlock.LedgerUnavailable, match="create it"):
        interlock.open({"ledger": f"sqlite:///{tmp_path / 'no' / 'such' / 'ledger.db'}"})


def test_outcomes_say_which_they_are():
    kinds = {each.__struct_config__.tag for each in interlock.Outcome.__subclasses__()}
    assert kinds == {"done", "failed", "unknown", "denied", "pending", "stopped"}


@pytest.mark.parametrize("wrong", [{"input_tokens": -1}, {"output_tokens": -1}, {"cached_input_tokens": -1}])
def test_a_usage_is_never_negative(wrong):
    with pytest.raises(ValueError, match="negative"):
        interlock.Usage(**{"input_tokens": 1, "output_tokens": 1, **wrong})
