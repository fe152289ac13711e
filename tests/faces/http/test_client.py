"""`interlock.connect`: the surface of an embedded gateway, on one that serves elsewhere."""

import asyncio
import socket
import threading

import pytest
import uvicorn

import interlock
from interlock.core.call import Effect, Tool
from interlock.core.principal import Principal, Role
from interlock.core.turn import Call
from interlock.faces.http.app import App
from interlock.faces.http.service import Service
from interlock.keyrings import identity_of
from interlock.tools.cooperative import RemoteTool

CONFIG = {
    "ledger": "memory:",
    "policy": {"allow": ["ticket.*", "slow"], "rules": [{"id": "ask", "tools": ["ticket.close"], "then": "ask"}]},
    "budgets": {"max_steps": 2, "max_tool_calls": 5},
}


class Served:
    """A gateway behind a real socket."""

    def __init__(self, config):
        self.gateway = interlock.open(config)
        self.effects = []

        @self.gateway.tool("ticket.create", effect="write")
        async def create(title: str) -> dict:
            self.effects.append(title)
            return {"ticket": len(self.effects), "title": title}

        @self.gateway.tool("ticket.close", effect="write")
        def close(ticket: int) -> str:
            self.effects.append(f"close {ticket}")
            return "closed"

        @self.gateway.tool("ticket.break", effect="write")
        def broken(ticket: int) -> str:
            raise OSError("the reply was lost")

        for name, effect in (("ticket.local", Effect.WRITE), ("ticket.look", Effect.READ)):
            schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
            self.gateway.register(RemoteTool(Tool(name=name, effect=effect, schema=schema)))
        self.identity = identity_of(self.gateway)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        app = App(Service(self.gateway, self.identity))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def key(self, **who):
        bot = {"name": "bot", "roles": (Role.AGENT,), "tenant": "acme", "agent": "bot", "env": "prod"}
        return self.identity.give(Principal(**{**bot, **who}), by="test")[1]

    def close(self):
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
        self.gateway.close()


@pytest.fixture
def served():
    served = Served(CONFIG)
    yield served
    served.close()


@pytest.fixture
def gateway(served):
    with interlock.connect(served.url, served.key()) as gateway:
        yield gateway


def test_a_call_is_performed_over_there_and_its_outcome_is_the_same_value(served, gateway):
    with gateway.run(request="please") as run:
        out = run.call("ticket.create", {"title": "a"}, call_id="c1")
    assert isinstance(out, interlock.Done)
    assert (out.value, out.replayed, out.call_id) == ({"ticket": 1, "title": "a"}, False, "c1")
    assert out.decision.rule == "policy.allow[ticket.*]"
    assert run.status == "completed"
    assert served.effects == ["a"]


def test_the_same_call_is_performed_once(served, gateway):
    run = gateway.run()
    first, again = (run.call("ticket.create", {"title": "a"}, call_id="c1") for _ in range(2))
    assert (first.replayed, again.replayed, again.value) == (False, True, first.value)
    with pytest.raises(interlock.KeyReused, match="call_id of its own"):
        run.call("ticket.create", {"title": "b"}, call_id="c1")
    assert served.effects == ["a"]


def test_refusals_are_values(gateway):
    run = gateway.run()
    denied = run.call("no.such", {})
    assert isinstance(denied, interlock.Denied)
    assert "there is no tool" in denied.text
    unknown = run.call("ticket.break", {"ticket": 1})
    assert isinstance(unknown, interlock.Unknown)


def test_an_approved_call_runs_when_it_is_sent_again(served, gateway):
    run = gateway.run()
    asked = run.call("ticket.close", {"ticket": 1}, call_id="c1")
    assert isinstance(asked, interlock.Pending)
    assert run.report().pending == (asked.approval_id,)
    served.gateway.control.approve(asked.approval_id, by="ada")
    assert run.call("ticket.close", {"ticket": 1}, call_id="c1").value == "closed"


def test_steps_are_counted_and_the_run_stops_when_none_is_left(gateway):
    run = gateway.run()
    for _ in range(2):
        run.end_step(run.begin_step("m"), interlock.Usage(input_tokens=3, output_tokens=4))
    with pytest.raises(interlock.RunStopped) as stopped:
        run.begin_step("m")
    assert stopped.value.reason == "max_steps"
    report = run.report()
    assert (report.status, report.stop_reason, report.steps.used, report.tokens.used) == ("stopped", "max_steps", 2, 14)


def test_calls_of_async_callers_share_the_budget(gateway):
    run = gateway.run()

    async def main():
        return await asyncio.gather(*(run.acall("ticket.create", {"title": str(n)}) for n in range(9)))

    kinds = [out.kind for out in asyncio.run(main())]
    assert sorted(kinds) == ["done"] * 5 + ["stopped"] * 4


def test_a_run_that_is_left_by_an_error_is_cancelled(gateway):
    with pytest.raises(ZeroDivisionError), gateway.run() as run:
        _ = 1 / 0
    assert run.stop_reason == "cancelled"


def test_whose_run_it_is_says_the_key_alone(served, gateway):
    assert gateway.run().tenant == "acme"
    with pytest.raises(interlock.InterlockError):
        gateway.run(tenant="beta")
    mine = gateway.run()
    with interlock.connect(served.url, served.key(tenant="beta")) as other:
        theirs = other.run(run_id=mine.run_id)  # of the same name, and another one
        assert theirs.tenant == "beta"
        theirs.stop("cancelled")
    assert (mine.status, mine.report().tenant) == ("running", "acme")


def test_a_key_that_is_none_is_refused(served):
    with interlock.connect(served.url, "ilk_none_of_ours") as gateway, pytest.raises(interlock.Refused, match="key"):
        gateway.run()


def test_a_gateway_that_is_not_there_is_named(served):
    url = "http://127.0.0.1:9"
    with interlock.connect(url, "k") as gateway, pytest.raises(interlock.LedgerUnavailable, match="no gateway answers"):
        gateway.run()
    with pytest.raises(interlock.ConfigError, match="named by its URL"):
        interlock.connect("localhost:8420", "k")


# --- tools that live in the client's process -------------------------------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def local(request, gateway):
    """The same tools, sync and async: what they did is in `local.seen`."""
    seen = []

    def write(text):
        seen.append(text)
        if text == "broken":
            raise OSError("the disk is gone")
        if text == "untouched":
            raise interlock.NotDone("the door was closed")
        return {"length": len(text)}

    if request.param == "sync":

        def local_tool(text: str) -> dict:
            return write(text)

    else:

        async def local_tool(text: str) -> dict:
            return write(text)

    gateway.tool("ticket.local", effect="write")(local_tool)
    gateway.tool("ticket.look", effect="read")(local_tool)
    gateway.seen = seen
    return gateway


def test_a_tool_of_the_client_is_decided_and_recorded_over_there(served, local):
    run = local.run()
    out = run.call("ticket.local", {"text": "abc"}, call_id="c1")
    assert (out.kind, out.value) == ("done", {"length": 3})
    again = run.call("ticket.local", {"text": "abc"}, call_id="c1")
    assert (again.replayed, again.value) == (True, {"length": 3})
    assert local.seen == ["abc"]
    assert run.report().tool_calls.used == 1
    kinds = [entry.kind for entry in served.gateway.audit.entries(tenant="acme") if entry.tool == "ticket.local"]
    assert kinds == ["decided", "settled"]


def test_a_tool_of_the_client_is_awaited_by_async_callers(local):
    async def main():
        run = local.run()
        return await asyncio.gather(*(run.acall("ticket.local", {"text": "x" * n}) for n in (1, 2, 3)))

    assert sorted(out.value["length"] for out in asyncio.run(main())) == [1, 2, 3]


@pytest.mark.parametrize(
    ("tool", "text", "kind"),
    [
        ("ticket.local", "broken", "unknown"),
        ("ticket.look", "broken", "failed"),
        ("ticket.local", "untouched", "failed"),
    ],
)
def test_what_an_exception_leaves_behind_is_told_as_it_is(local, tool, text, kind):
    out = local.run().call(tool, {"text": text})
    assert out.kind == kind
    assert ("the disk is gone" if text == "broken" else "the door was closed") in out.text


def test_a_tool_of_the_client_that_is_not_allowed_is_not_performed(served, local):
    run = local.run()
    served.gateway.control.kill(tool="ticket.local", reason="incident", by="ada")
    assert run.call("ticket.local", {"text": "abc"}).kind == "denied"
    assert run.call("ticket.local", {"text": 3}).kind == "denied"
    assert local.seen == []


def test_a_kill_between_ticket_and_effect_is_seen(served, local):
    run = local.run()
    ask = local.ask

    async def killed_after_admission(method, path, body=None, more=None):
        answer = await ask(method, path, body, more)
        if path.endswith("/admit"):
            await asyncio.to_thread(served.gateway.control.kill, tool="ticket.local", reason="incident", by="ada")
        return answer

    local.ask = killed_after_admission
    out = run.call("ticket.local", {"text": "abc"}, call_id="c1")
    assert out.kind == "denied"
    assert local.seen == []
    assert run.report().tool_calls.held == 0


# --- what the model said ---------------------------------------------------------------------------------------------


def kept(served, run):
    (step,) = served.gateway.store.steps_of("acme", run.run_id)
    return step


def test_what_the_model_said_is_kept_over_there(served, gateway):
    run = gateway.run()
    calls = (Call("ticket.create", {"title": "é", "deep": [{"x": None}]}, "c1"), Call("look", {}, "c2", '{"broken'))
    usage = interlock.Usage(input_tokens=3, output_tokens=4, cache_write_tokens=1)
    turn = interlock.Turn("I look.", calls, usage, "m-1", "resp_1")
    run.end_step(run.begin_step("m"), turn=turn)
    step = kept(served, run)
    assert step.asking.turn == interlock.Turn("I look.", calls, model="m-1", response_id="resp_1")
    assert step.usage == usage


def test_a_turn_that_is_too_large_to_be_sent_is_booked_and_cut(served, gateway):
    run = gateway.run()
    turn = interlock.Turn("é" * 2_000_000, usage=interlock.Usage(input_tokens=3, output_tokens=4))
    run.end_step(run.begin_step("m"), turn=turn)
    step = kept(served, run)
    assert (step.asking.cut, len(step.asking.text) > 10_000, step.usage) == (True, True, turn.usage)


def test_a_turn_with_more_calls_than_are_kept_is_cut(served, gateway):
    run = gateway.run()
    calls = tuple(Call("t", {"n": n}, f"c{n}") for n in range(300))
    run.end_step(run.begin_step("m"), turn=interlock.Turn(calls=calls))
    step = kept(served, run)
    assert (step.asking.cut, len(step.asking.calls)) == (True, 128)


@pytest.mark.parametrize("odd", [float("nan"), "\ud800", b"\xff", {1: 2}], ids="abcd")
def test_whatever_a_turn_holds_it_is_booked(served, gateway, odd):
    run = gateway.run()
    deep = odd
    for _ in range(60):
        deep = [deep]
    turn = interlock.Turn("x" * 3 + "\ud800", (Call("n" * 900, {"x": odd, "deep": deep}, "i" * 900),), model="m" * 900)
    run.end_step(run.begin_step("m"), interlock.Usage(input_tokens=3, output_tokens=4), turn=turn)
    step = kept(served, run)
    assert (step.usage.tokens, step.asking.calls[0].tool) == (7, "n" * 200)
