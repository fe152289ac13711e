"""What is going on when the process dies: an act is prepared, begun, and begun again by whoever comes after."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from interlock import Gateway, Refused, Run, RunStopped
from interlock.core.audit import Kind
from interlock.core.lifecycle import State
from interlock.core.run import Step
from interlock.ports import RunKey, StepKey
from tests.crash.world import TENANT, WHO, entries, records

RUN_ID, CALL_ID = "r1", "c1"


def open_run(gateway: Gateway) -> Run:
    """The run that everything here is about: opened, or taken up again."""
    return gateway.run(**WHO, run_id=RUN_ID)


def the_run(gateway: Gateway) -> Run:
    """The same, without a transaction where it is open already: so the first one is the act's own."""
    known = gateway.store.load(RunKey(TENANT, RUN_ID))
    return open_run(gateway) if known is None else Run(gateway, known)


def call(gateway: Gateway, tool: str) -> Any:
    """The call that everything here is about."""
    return the_run(gateway).call(tool, {"n": 1}, call_id=CALL_ID)


class Act(Struct, frozen=True):
    """What is done before the point is armed, what is done then, and what must be so after it was done again."""

    prepare: Callable[[Gateway], object]
    act: Callable[[Gateway], object]
    check: Callable[[Gateway], object]


def nothing(gateway: Gateway) -> None:
    """No more."""


def the_approval(gateway: Gateway) -> str:
    (approval,) = gateway.control.approvals(TENANT, waiting=False)
    return approval.approval_id


def approve(gateway: Gateway) -> None:
    with suppress(Refused):  # it is approved already
        gateway.control.approve(the_approval(gateway), by="ann")


def reject(gateway: Gateway) -> None:
    with suppress(Refused):
        gateway.control.reject(the_approval(gateway), by="ann")


def ask_and_approve(gateway: Gateway) -> None:
    call(gateway, "sign")
    approve(gateway)


def performed_once(gateway: Gateway) -> None:
    assert call(gateway, "sign").kind == "done"
    (approval,) = gateway.control.approvals(TENANT, waiting=False)
    assert approval.standing == "consumed"
    assert len(entries(gateway, Kind.APPROVED)) == 1


def approved_and_performed_once(gateway: Gateway) -> None:
    approve(gateway)
    performed_once(gateway)


def refused_for_good(gateway: Gateway) -> None:
    assert call(gateway, "sign").kind == "denied"
    assert len(entries(gateway, Kind.REJECTED)) == 1


def lose(gateway: Gateway) -> None:
    @gateway.tool("vanish", effect="write")
    def vanish(n: int) -> None:
        raise ConnectionError(n)

    assert call(gateway, "vanish").kind == "unknown"


def reconcile(gateway: Gateway) -> None:
    with suppress(Refused):
        gateway.control.reconcile(tenant=TENANT, run_id=RUN_ID, call_id=CALL_ID, happened=False, by="ann")


def ended_once(gateway: Gateway) -> None:
    (record,) = records(gateway)
    assert record.state is State.FAILED
    assert len(entries(gateway, Kind.RECONCILED)) == 1
    assert the_run(gateway).report().tool_calls.held == 0


def top_up(gateway: Gateway) -> None:
    gateway.control.top_up(tenant=TENANT, run_id=RUN_ID, tool_calls=5, by="ann")


def raised_as_told(gateway: Gateway) -> None:
    told = len(entries(gateway, Kind.TOPPED_UP))
    assert 1 <= told <= 2
    assert the_run(gateway).report().tool_calls.limit == 10_000 + 5 * told


def begin_step(gateway: Gateway) -> Step:
    return the_run(gateway).begin_step("m")


def steps_as_told(gateway: Gateway) -> None:
    run = the_run(gateway)
    told = len(entries(gateway, Kind.STEP_BEGAN))
    assert (run.report().steps.held, run.report().steps.used) == (told, 0)
    run.stop("cancelled")
    assert (run.report().steps.held, run.report().steps.used) == (0, told)


def end_step(gateway: Gateway) -> None:
    step = gateway.store.load(StepKey(TENANT, RUN_ID, "s1"))
    the_run(gateway).end_step(step)


def step_ended_once(gateway: Gateway) -> None:
    assert len(entries(gateway, Kind.STEP_ENDED)) == 1
    report = the_run(gateway).report()
    assert (report.steps.held, report.steps.used) == (0, 1)


def kill(gateway: Gateway) -> None:
    gateway.control.kill(tenant=TENANT, reason="incident", by="ann")


def killed(gateway: Gateway) -> None:
    assert len(gateway.control.switches()) == 1
    assert call(gateway, "pay").kind == "stopped"
    assert entries(gateway, Kind.KILLED)
    release(gateway)
    assert gateway.run(**WHO, run_id="r2").call("look", {"n": 2}).kind == "done"


def release(gateway: Gateway) -> None:
    with suppress(Refused):
        gateway.control.release(tenant=TENANT, reason="over", by="ann")


def released(gateway: Gateway) -> None:
    assert not gateway.control.switches()
    assert call(gateway, "look").kind == "done"


def opened_once(gateway: Gateway) -> None:
    assert len(entries(gateway, Kind.RUN_OPENED)) == 1


def stop(gateway: Gateway) -> None:
    the_run(gateway).stop("cancelled", by="ann")


def stopped_once(gateway: Gateway) -> None:
    assert len(entries(gateway, Kind.RUN_STOPPED)) == 1
    assert call(gateway, "pay").kind == "stopped"
    with suppress(RunStopped):
        the_run(gateway).begin_step()
        raise AssertionError("a run that has stopped has begun a step")


def deny(gateway: Gateway) -> None:
    call(gateway, "nobody.has.this")


ACTS: dict[str, Act] = {
    "pay": Act(the_run, lambda gateway: call(gateway, "pay"), nothing),
    "upsert": Act(the_run, lambda gateway: call(gateway, "upsert"), nothing),
    "look": Act(the_run, lambda gateway: call(gateway, "look"), nothing),
    "consume": Act(ask_and_approve, lambda gateway: call(gateway, "sign"), nothing),
    "ask": Act(the_run, lambda gateway: call(gateway, "sign"), approved_and_performed_once),
    "deny": Act(the_run, deny, the_run),
    "approve": Act(lambda gateway: call(gateway, "sign"), approve, performed_once),
    "reject": Act(lambda gateway: call(gateway, "sign"), reject, refused_for_good),
    "reconcile": Act(lose, reconcile, ended_once),
    "top_up": Act(the_run, top_up, raised_as_told),
    "begin_step": Act(the_run, begin_step, steps_as_told),
    "end_step": Act(begin_step, end_step, step_ended_once),
    "kill": Act(the_run, kill, killed),
    "release": Act(lambda gateway: (the_run(gateway), kill(gateway)), release, released),
    "open": Act(nothing, open_run, opened_once),
    "stop": Act(the_run, stop, stopped_once),
}
