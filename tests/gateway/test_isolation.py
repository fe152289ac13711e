"""Two tenants: no verb of the public face gives one anything of the other's."""

import asyncio
import inspect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import interlock
from interlock.control import Control
from interlock.core.call import ToolCall
from interlock.core.lifecycle import Event
from interlock.ports import CallKey
from interlock.runs import Run
from interlock.settlement import Performed
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.traces import export

ASK = {"approvals": {"required_for": ["mail.ask"]}}
MARK = "belongs-to-acme"


def tools(gw):
    did = []

    @gw.tool("mail.send", effect="write", dedupe="1h", cost={"usd": 0.5})
    def send(body: str = "") -> str:
        did.append(body)
        return f"sent {body}"

    @gw.tool("mail.ask", effect="write")
    def ask(body: str = "") -> str:
        did.append(body)
        return f"sent {body}"

    @gw.tool("mail.lose", effect="write", cost={"usd": 0.5})
    def lose(body: str = "") -> None:
        did.append(body)
        raise ConnectionError(body)

    return did


def begun(run):
    return run.begin_step("m", input_tokens=0, max_output_tokens=10)


@pytest.fixture
def gw(house):
    return house.open({**ASK, "budgets": {"usd_per_day": 5}, "prices": {"m": {"input": 1, "output": 1}}})


@pytest.fixture
def acme(gw, start):
    """A run of acme with something of everything in it."""
    tools(gw)
    run = start(gw, run_id="r1", tenant="acme", request=MARK, labels={"l": MARK})
    turn = interlock.Turn(MARK)
    run.end_step(begun(run), interlock.Usage(input_tokens=0, output_tokens=0), turn=turn)
    run.call("mail.send", {"body": MARK}, call_id="c1")
    run.call("mail.ask", {"body": MARK}, call_id="c2")
    run.call("mail.lose", {"body": MARK}, call_id="c3")
    return run


VERBS = {
    Control: {
        "approvals",
        "approve",
        "reject",
        "kill",
        "release",
        "switches",
        "reconcile",
        "top_up",
        "pins",
        "accept",
        "record_switch",
    },
    Run: {
        "call",
        "acall",
        "begin_step",
        "end_step",
        "stop",
        "finish",
        "stop_reason",
        "status",
        "report",
        "tools",
        "run_id",
        "tenant",
    },
    interlock.Gateway: {"run", "tool", "register", "judged", "call", "acall", "aadmit", "asettle", "close"},
    interlock.audit_log.AuditLog: {"tenants", "entries", "verify", "checkpoint", "checkpoints", "export"},
}


@pytest.mark.parametrize("face", VERBS)
def test_each_verb_of_the_public_face_is_looked_at_here(face):
    public = {name for name in dir(face) if not name.startswith("_")}
    assert public - {"run_id", "tenant"} == VERBS[face] - {"run_id", "tenant"}  # set by __init__


def seen_by(gw, tenant):
    """All that the reading verbs give to a tenant."""
    run = gw.run(agent="bot", tenant=tenant, env="prod", run_id="r1")
    return repr(
        [
            run.report(),
            run.tools(),
            run.stop_reason,
            run.status,
            gw.control.approvals(tenant),
            gw.control.approvals(tenant, waiting=False),
            list(gw.audit.entries(tenant=tenant)),
            list(gw.audit.export(tenant=tenant)),
            gw.audit.checkpoints(tenant, 100),
            gw.audit.verify(tenant=tenant),
            gw.store.runs(tenant),
            gw.store.calls_of(tenant, "r1"),
            gw.store.steps_of(tenant, "r1"),
            export(gw, tenant, "r1"),
            list(gw.store.accounts(tenant)),
        ]
    )


def test_the_reading_verbs_show_a_tenant_nothing_of_another(gw, acme):
    assert MARK in seen_by(gw, "acme")
    shown = seen_by(gw, "other")
    assert MARK not in shown
    assert "acme" not in shown
    assert gw.run(agent="bot", tenant="other", env="prod", run_id="r1").report().calls == {}


@pytest.mark.parametrize("call_id", ["c1", "c2", "c3"])
def test_the_same_run_call_and_key_of_two_tenants_do_not_meet(gw, acme, start, call_id):
    other = start(gw, run_id="r1", tenant="other")
    tool = {"c1": "mail.send", "c2": "mail.ask", "c3": "mail.lose"}[call_id]
    out = other.call(tool, {"body": MARK}, call_id=call_id)
    assert out.replayed is False
    if call_id == "c2":
        assert out.approval_id not in {each.approval_id for each in gw.control.approvals("acme")}
    assert other.call("mail.send", {"body": "mine"}, call_id="c9").value == "sent mine"
    assert acme.report().calls == {"done": 1, "waiting": 1, "unknown": 1}


def test_a_ticket_of_one_tenant_is_no_ticket_of_another(gw, acme):
    def call(tenant):
        return ToolCall(
            tenant=tenant, agent="bot", env="prod", run_id="r1", tool="mail.send", args={"body": "other words"},
            call_id="c7", key="c7",
        )

    async def both():
        gw.run(agent="bot", tenant="other", env="prod", run_id="r1")
        mine = await gw.aadmit(call("acme"), owner="one and the same owner")
        theirs = await gw.aadmit(call("other"), owner="one and the same owner")
        await gw.asettle(theirs, Performed(event=Event.SUCCEED, result=b"1"))
        return mine, theirs

    mine, theirs = asyncio.run(both())
    assert (mine.record.call.tenant, theirs.record.call.tenant) == ("acme", "other")
    assert gw.store.load(CallKey("acme", "r1", "c7")).state == "leased"
    assert gw.store.load(CallKey("other", "r1", "c7")).state == "done"


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_an_approval_is_not_another_tenants_to_answer(gw, acme, act):
    (approval,) = gw.control.approvals("acme")
    with pytest.raises(interlock.Refused, match="no approval") as refused:
        getattr(gw.control, act)(approval.approval_id, by="eve", tenant="other")
    assert MARK not in str(refused.value)
    assert gw.control.approvals("acme") == [approval]
    getattr(gw.control, act)(approval.approval_id, by="ann", tenant="acme")


def test_an_unknown_is_not_another_tenants_to_reconcile(gw, acme, start):
    start(gw, run_id="r1", tenant="other")
    with pytest.raises(interlock.Refused, match="no call"):
        gw.control.reconcile(tenant="other", run_id="r1", call_id="c3", happened=True, by="eve")
    assert acme.report().calls["unknown"] == 1


def test_a_kill_a_release_and_a_stop_reach_their_own_tenant_alone(gw, acme, start):
    other = start(gw, run_id="r1", tenant="other")
    gw.control.kill(tenant="other", run="r1", by="eve", reason="x")
    assert acme.call("mail.send", {"body": "2"}).kind == "done"
    with pytest.raises(interlock.Refused):
        gw.control.release(tenant="acme", run="r1", by="eve")
    other.stop("cancelled")
    assert acme.stop_reason is None
    assert not any(entry.kind == "killed" for entry in gw.audit.entries(tenant="acme"))


def test_budgets_and_top_ups_are_each_tenants_own(gw, acme, start):
    other = start(gw, run_id="r1", tenant="other")
    gw.control.top_up(tenant="other", run_id="r1", tool_calls=5, by="eve")
    gw.control.top_up(tenant="other", window="day", usd=5, by="eve")
    assert (acme.report().tool_calls.limit, other.report().tool_calls.limit) == (12, 17)
    assert other.report().tool_calls.used == 0
    for n in range(8):
        acme.call("mail.send", {"body": str(n)})
    assert acme.call("mail.send", {"body": "x"}).kind == "denied"  # of the day: 5 dollars, one of them held
    assert other.call("mail.send", {"body": "x"}).kind == "done"


def test_a_step_is_not_another_tenants_to_end(gw, acme, start):
    other = start(gw, run_id="r1", tenant="other")
    step = begun(acme)
    with pytest.raises(interlock.Refused, match="another run"):
        other.end_step(step)
    assert (acme.report().steps.held, acme.report().steps.used) == (1, 1)
    acme.end_step(step, interlock.Usage(input_tokens=0, output_tokens=0))
    assert (acme.report().steps.used, acme.report().steps.held, other.report().steps.used) == (2, 0, 0)


def test_what_a_kill_may_name_is_what_may_be_a_name(gw):
    for wrong in ({"tenant": "*"}, {"tenant": "a\nb"}, {"agent": " "}, {"run": "\u202e"}):
        with pytest.raises(interlock.InterlockError):
            gw.control.kill(by="ann", reason="x", **wrong)
    assert gw.control.switches() == ()


# --- names that try to break the separation --------------------------------------------------------------------------

PARTS = [
    "a",
    "b",
    ":",
    "/",
    "|",
    "\\",
    "'",
    '"',
    "%",
    "_",
    "*",
    "?",
    "[a]",
    ".",
    "..",
    "é",
    "e\u0301",
    "A",
    "ﬁ",
    "fi",
    "0",
]
PARTS += ["{}", "$1", "--"]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join).filter(lambda name: name != "*")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.tuples(NAMES, NAMES, NAMES), second=st.tuples(NAMES, NAMES, NAMES), sqlite=st.booleans())
def test_no_names_make_two_calls_of_different_tenants_meet(first, second, sqlite, tmp_path_factory, clock):
    config = {"policy": {"allow": ["*"]}, "ledger": "memory:"}
    parts = {"store": MemoryStore(), "board": MemorySwitchBoard()}
    if sqlite:
        path = tmp_path_factory.mktemp("isolation") / "ledger.db"
        config["ledger"], parts = {"url": f"sqlite:///{path}", "synchronous": "off"}, {}
    with interlock.open(config, clock=clock, **parts) as gw:
        did = []

        @gw.tool("mail.send", effect="write", dedupe="1h")
        def send(body: str) -> int:
            did.append(body)
            return len(did)

        outs = []
        for tenant, run_id, key in (first, second):
            run = gw.run(agent="bot", tenant=tenant, env="prod", run_id=run_id)
            outs.append(run.call("mail.send", {"body": "same"}, call_id=key))
        same_tenant = first[0] == second[0]
        assert outs[1].replayed is same_tenant
        assert len(did) == (1 if same_tenant else 2)
        gw.control.kill(tenant=first[0], by="ann", reason="x")
        third = gw.run(agent="bot", tenant=second[0], env="prod", run_id=second[1])
        assert third.call("mail.send", {"body": "more"}, call_id=f"{second[2]}x").kind == (
            "stopped" if same_tenant else "done"
        )
        for tenant in {first[0], second[0]}:
            assert gw.audit.verify(tenant=tenant).ok
            assert {entry.tenant for entry in gw.audit.entries(tenant=tenant)} == {tenant}
            assert {run.tenant for run in gw.store.runs(tenant)} == {tenant}


def test_every_verb_of_control_that_acts_on_a_tenants_things_can_be_told_whose():
    for verb in ("approve", "reject", "reconcile", "top_up", "kill", "release", "approvals"):
        assert "tenant" in inspect.signature(getattr(Control, verb)).parameters
