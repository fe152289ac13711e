"""A run on a gateway that serves elsewhere, with the surface of `interlock.Run`.

Not the decision, and not the ledger: both are over there. Law: a tool that lives here is performed with a ticket alone,
while its lease lasts, and how it ended is told to the gateway, whatever that was.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec
from msgspec import Struct

from interlock.core.call import Effect, Risk, Tool
from interlock.core.outcome import Denied, Done, Failed, Outcome, Pending, Stopped, Unknown
from interlock.core.turn import Turn, Usage
from interlock.core.verdict import Decision, Reason, StopReason, Verdict
from interlock.errors import LedgerUnavailable, NotDone, Refused, RunStopped
from interlock.ports import CallInfo, Invocation
from interlock.reports import Report
from interlock.results import as_json, error_text
from interlock.tools.python import PythonTool
from interlock.turns import MOST_CALLS, NAMED

if TYPE_CHECKING:
    from interlock.client.gateway import RemoteGateway

SENT = 524_288  #: bytes of a turn that are sent, about

_OUTCOMES: dict[str, type[Outcome]] = {
    "done": Done, "failed": Failed, "unknown": Unknown, "denied": Denied, "pending": Pending, "stopped": Stopped,
}


class Step(Struct, frozen=True, kw_only=True):
    """A model turn that has begun."""

    step_id: str
    run_id: str
    model: str = ""


class _Ticket(Struct, frozen=True):
    """The right to perform one call here."""

    lease_id: str
    lease_seconds: float
    deadline: int
    seconds: float
    args: dict[str, Any]
    key: str
    attempt: int


class _Wish(Struct, frozen=True):
    """One call, as it is sent, however often."""

    call_id: str
    headers: dict[str, str]
    body: dict[str, Any]
    owner: str
    cost: list[float] = []  #: what the tool has reported, in dollars


class RemoteRun:
    """One job of an agent, on a gateway that serves elsewhere."""

    def __init__(self, gateway: RemoteGateway, run_id: str, tenant: str, agent: str, env: str) -> None:
        self._gateway = gateway
        self._path = f"/v1/runs/{quote(run_id, safe='')}"
        self._agent, self._env = agent, env
        self._step_id = ""
        self.run_id = run_id
        self.tenant = tenant

    def __repr__(self) -> str:
        return f"RemoteRun(run_id={self.run_id!r}, tenant={self.tenant!r}, agent={self._agent!r})"

    # --- the tool plane ----------------------------------------------------------------------------------------------

    def call(
        self, tool: str, args: Mapping[str, Any], *, call_id: str | None = None, idempotency_key: str | None = None
    ) -> Outcome:
        """Use a tool, or hear why not, as `interlock.Run.call` does. Raises KeyReused, LedgerUnavailable."""
        local = self._gateway.tools.get(tool)
        if local is not None and not local.is_async:
            return self._here(local, self._said(tool, args, call_id, idempotency_key))
        return self._gateway.wait(self._call(local, self._said(tool, args, call_id, idempotency_key)))

    async def acall(
        self, tool: str, args: Mapping[str, Any], *, call_id: str | None = None, idempotency_key: str | None = None
    ) -> Outcome:
        """The same, awaited. An async tool of this process runs on the event loop of the client, not of the caller."""
        local = self._gateway.tools.get(tool)
        said = self._said(tool, args, call_id, idempotency_key)
        if local is not None and not local.is_async:
            return await asyncio.to_thread(self._here, local, said)
        return await self._gateway.awaited(self._call(local, said))

    def tools(self) -> list[Tool]:
        """What a model in this run may be shown, as `interlock.Run.tools` gives it."""
        shown = self._gateway.wait(self._gateway.ask("GET", "/v1/tools"))["tools"]
        return [
            Tool(
                name=each["name"], description=each["description"], schema=each["schema"],
                effect=Effect(each["effect"]), risk=Risk(each["risk"]),
            )
            for each in shown if not each["problem"]
        ]

    def _said(self, tool: str, args: Mapping[str, Any], call_id: str | None, key: str | None) -> _Wish:
        call_id = call_id or key or f"call_{secrets.token_hex(8)}"
        body = {"tool": tool, "args": args, "call_id": call_id, "step_id": self._step_id}
        return _Wish(call_id, {"Idempotency-Key": key} if key else {}, body, secrets.token_hex(16))

    async def _call(self, local: PythonTool | None, wish: _Wish) -> Outcome:
        if local is None:
            return _outcome(await self._gateway.ask("POST", f"{self._path}/calls", wish.body, wish.headers))
        ticket = await self._admitted(wish)
        if isinstance(ticket, Outcome):
            return ticket
        task = asyncio.ensure_future(_awaited(local, self._invocation(wish, ticket)))
        beat = asyncio.ensure_future(self._beat(wish, ticket, task.cancel))
        try:
            await asyncio.wait({task}, timeout=ticket.seconds)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)
            told = _told(local, task)
        finally:
            beat.cancel()
        return await self._settled(wish, ticket, told)

    def _here(self, local: PythonTool, wish: _Wish) -> Outcome:
        """A sync tool, on the thread of its caller. It cannot be interrupted; its lease is kept alive meanwhile."""
        gateway = self._gateway
        ticket = gateway.wait(self._admitted(wish))
        if isinstance(ticket, Outcome):
            return ticket
        beat = gateway.start(self._beat(wish, ticket, bool))
        done: asyncio.Future[Any] | concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(local.perform(self._invocation(wish, ticket)))
        except BaseException as error:  # whatever a tool raises is told, not passed on
            done.set_exception(error)
        finally:
            beat.cancel()
        return gateway.wait(self._settled(wish, ticket, _told(local, done)))

    async def _admitted(self, wish: _Wish) -> _Ticket | Outcome:
        body = {**wish.body, "owner": wish.owner}
        admitted = await self._gateway.ask("POST", f"{self._path}/calls/admit", body, wish.headers)
        if admitted["ticket"] is None:
            return _outcome(admitted["outcome"])
        ticket = msgspec.convert(admitted["ticket"], _Ticket)
        if not await self._goes_on(wish, ticket):  # the last look at the kill switches
            return await self._settled(wish, ticket, {"outcome": "not_begun"})
        return ticket

    async def _beat(self, wish: _Wish, ticket: _Ticket, stop: Callable[[], object]) -> None:
        """Keep the lease alive; where the gateway says that it is over, end the effect."""
        while True:
            await asyncio.sleep(ticket.lease_seconds / 3)
            with suppress(LedgerUnavailable):
                if not await self._goes_on(wish, ticket):
                    stop()
                    return

    async def _goes_on(self, wish: _Wish, ticket: _Ticket) -> bool:
        renewed = await self._gateway.ask("POST", self._of(wish, "renew"), {"lease_id": ticket.lease_id})
        goes_on: bool = renewed["go"]
        return goes_on

    async def _settled(self, wish: _Wish, ticket: _Ticket, told: dict[str, Any]) -> Outcome:
        body = {"lease_id": ticket.lease_id, **told, "usd": wish.cost[-1] if wish.cost else None}
        return _outcome(await self._gateway.ask("POST", self._of(wish, "settle"), body))

    def _of(self, wish: _Wish, verb: str) -> str:
        return f"{self._path}/calls/{quote(wish.call_id, safe='')}/{verb}"

    def _invocation(self, wish: _Wish, ticket: _Ticket) -> Invocation:
        info = CallInfo(
            tenant=self.tenant, agent=self._agent, env=self._env, run_id=self.run_id, step_id=self._step_id,
            call_id=wish.call_id, key=ticket.key, deadline=ticket.deadline, attempt=ticket.attempt,
            report_cost=wish.cost.append,
        )
        return Invocation(args=ticket.args, info=info)

    # --- the model plane ---------------------------------------------------------------------------------------------

    def begin_step(
        self, model: str = "", *, max_output_tokens: int | None = None, input_tokens: int | None = None
    ) -> Step:
        """Before a model turn. Raises RunStopped, and nothing is begun."""
        said = {"model": model, "max_output_tokens": max_output_tokens, "input_tokens": input_tokens}
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        try:
            begun = self._gateway.wait(self._gateway.ask("POST", f"{self._path}/steps", said, headers))
        except RunStopped as error:
            report = self.report()
            raise RunStopped(report.stop_reason or error.reason, report.detail) from None
        self._step_id = begun["step_id"]
        return Step(step_id=begun["step_id"], run_id=begun["run_id"], model=begun["model"])

    def end_step(
        self, step: Step, usage: Usage | None = None, *, turn: Turn | None = None, lost: bool = False
    ) -> None:
        """After a model turn: books what it used and returns the rest. `turn`: what the model said, for replay; `lost`:
        it broke off."""
        if step.run_id != self.run_id:
            raise Refused(f"step {step.step_id!r} was begun by another run; end it there")
        usage = turn.usage if usage is None and turn is not None else usage
        used = None if usage is None else {what: n for what, n in msgspec.structs.asdict(usage).items() if n}
        path = f"{self._path}/steps/{quote(step.step_id, safe='')}/end"
        said: dict[str, Any] = {"usage": used, "lost": lost}
        if turn is not None:
            said["turn"] = _said(turn)
        self._gateway.wait(self._gateway.ask("POST", path, said))

    # --- the run -----------------------------------------------------------------------------------------------------

    def stop(self, reason: StopReason | str, detail: str = "") -> None:
        """End it, for this reason. The first reason stays."""
        said = {"reason": str(reason), "detail": detail}
        self._gateway.wait(self._gateway.ask("POST", f"{self._path}/stop", said))

    def finish(self) -> None:
        """The agent is done."""
        self._gateway.wait(self._gateway.ask("POST", f"{self._path}/finish", {}))

    def report(self) -> Report:
        """How the run stands."""
        return msgspec.convert(self._gateway.wait(self._gateway.ask("GET", f"{self._path}/report")), Report)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run has stopped, or None."""
        return self.report().stop_reason

    @property
    def status(self) -> str:
        """running, paused, completed, stopped or failed."""
        return self.report().status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, RunStopped):
            self.stop(StopReason.CANCELLED, f"left by {type(error).__name__}")
        elif self.status == "running":
            self.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


def _said(turn: Turn) -> dict[str, Any]:
    """A turn for the wire, whatever its runtime has put into it: it must not be in the way of its own booking."""
    calls = [
        {"name": each.name[:NAMED], "id": each.id[:NAMED], "raw": each.raw or _text(as_json(dict(each.args)))}
        for each in turn.calls[:MOST_CALLS]
    ]
    told: dict[str, Any] = as_json(
        {
            "text": turn.text, "calls": calls, "model": turn.model[:NAMED], "response_id": turn.response_id[:NAMED],
            "cut": len(turn.calls) > MOST_CALLS,
        }
    )
    if len(_text(told)) > SENT:
        told |= {"text": (told["text"] or "")[: SENT // 8], "calls": [], "cut": True}
    return told


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _awaited(local: PythonTool, invocation: Invocation) -> Any:
    return await local.perform(invocation)


def _told(local: PythonTool, ended: asyncio.Future[Any] | concurrent.futures.Future[Any]) -> dict[str, Any]:
    """How it ended, as the gateway hears it: a write that raised, or that was cancelled, is in doubt."""
    doubt = "unknown" if local.tool.effect.writes and not local.tool.errors_mean_failed else "failed"
    if not ended.done() or ended.cancelled():
        return {"outcome": "unknown" if local.tool.effect.writes else "failed", "error": "it was ended before its end"}
    error = ended.exception()
    if error is None:
        return {"outcome": "done", "value": as_json(ended.result())}
    return {"outcome": "failed" if isinstance(error, NotDone) else doubt, "error": error_text(error)}


def _outcome(said: Mapping[str, Any]) -> Outcome:
    """As the embedded gateway would give it."""
    weighed = said["decision"]
    reasons = tuple(
        Reason(each["guard"], Verdict[each["verdict"].upper()], each["text"], each["rule"], _stop(each["stop"]))
        for each in weighed["reasons"]
    )
    return _OUTCOMES[said["kind"]](
        call_id=said["call_id"], text=said["text"], value=said["value"], replayed=said["replayed"],
        approval_id=said["approval_id"], stop_reason=_stop(said["stop_reason"]),
        decision=Decision(Verdict[weighed["verdict"].upper()], reasons, weighed["policy_version"]),
    )


def _stop(said: str | None) -> StopReason | None:
    return None if said is None else StopReason(said)
