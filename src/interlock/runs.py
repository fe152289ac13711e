"""A run as the program that drives an agent holds it.

Not the run in the ledger (`core/run.py`): this is a handle, and holds nothing that could be lost. Law: whatever it says
of the run, it has just read; whatever it does goes through the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from interlock import bookings, steps
from interlock.core import run as core
from interlock.core.audit import Entry, Kind
from interlock.core.call import MICROS, Tool, ToolCall
from interlock.core.names import problem_of_name, problem_of_words
from interlock.core.outcome import Outcome
from interlock.core.turn import Turn, Usage
from interlock.core.verdict import StopReason
from interlock.errors import ConfigError, LedgerUnavailable, Refused, RunStopped
from interlock.ports import HeadKey, RunKey
from interlock.reports import Report, report_of
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.gateway import Gateway


class Run:
    """One job of an agent. A sync and async context manager: leaving it finishes it, unless it waits for people."""

    def __init__(self, gateway: Gateway, opened: core.Run) -> None:
        self._gateway = gateway
        self._agent, self._env, self._runtime = opened.agent, opened.env, opened.runtime
        self._span = gateway.telemetry.run_opened(opened)
        self._turns: dict[str, Any] = {}  # spans of the model turns that are open
        self._told = False  # of the stop
        self._step_id = ""
        self.tenant = opened.tenant
        self.run_id = opened.run_id

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, tenant={self.tenant!r}, agent={self._agent!r})"

    # --- the tool plane ----------------------------------------------------------------------------------------------

    def call(
        self, tool: str, args: Mapping[str, Any], *, call_id: str | None = None, idempotency_key: str | None = None
    ) -> Outcome:
        """Use a tool, or hear why not. Waits for it.

        The same `call_id` (or `idempotency_key`, which goes before it) is the same call: it is performed once and
        answered from the record after that. Raises KeyReused where it comes with another tool or other arguments,
        ConfigError for an `idempotency_key` that cannot be, and LedgerUnavailable; a refusal is an `Outcome`, not an
        exception. A name or a `call_id` that cannot be is refused: models make them up.
        """
        return self._heard(self._gateway.call(self._toolcall(tool, args, call_id, idempotency_key), self._span))

    async def acall(
        self, tool: str, args: Mapping[str, Any], *, call_id: str | None = None, idempotency_key: str | None = None
    ) -> Outcome:
        """The same, awaited."""
        return self._heard(await self._gateway.acall(self._toolcall(tool, args, call_id, idempotency_key), self._span))

    def tools(self) -> list[Tool]:
        """What a model in this run may be shown: all registered tools, by name, but those that policy surely denies it.
        That a tool is shown grants nothing: each call is weighed."""
        from interlock.check import surely_denied

        anything, policy = self._toolcall("", {}, "", None), self._gateway.config.policy
        found = sorted(self._gateway.tools.items())
        return [each.tool for _, each in found if not each.problem and not surely_denied(policy, each.tool, anything)]

    def _heard(self, outcome: Outcome) -> Outcome:
        if outcome.stop_reason is not None and not self._told:
            with suppress(LedgerUnavailable):  # the outcome matters more than who else is told
                self._tell_stop(self._load())
        return outcome

    def _tell_stop(self, run: core.Run) -> None:
        """Logs and traces hear of a stop once from each handle, whatever threw the latch."""
        if run.stop_reason is not None and not self._told:
            self._told = True
            self._gateway.telemetry.run_stopped(self._span, run)

    def _toolcall(self, tool: str, args: Mapping[str, Any], call_id: str | None, key: str | None) -> ToolCall:
        problem = None if key is None else self._gateway.redactor.problem_of_id(key, "idempotency_key")
        if problem is not None:
            raise ConfigError(problem)
        if call_id is None:
            call_id = f"call_{secrets.token_hex(8)}"
        return ToolCall(
            tenant=self.tenant, agent=self._agent, env=self._env, run_id=self.run_id,
            tool=tool, args=args, call_id=call_id, key=key or call_id, runtime=self._runtime, step_id=self._step_id,
        )

    # --- the model plane ---------------------------------------------------------------------------------------------

    def begin_step(
        self, model: str = "", *, max_output_tokens: int | None = None, input_tokens: int | None = None
    ) -> core.Step:
        """Before a model turn: counts it, and sets aside its worst case. Raises RunStopped, and nothing is begun; or
        ConfigError for numbers that cannot be.

        Where a budget in USD is in force, `model` and `max_output_tokens` are needed, else the run stops as `unpriced`.
        Without `input_tokens` the worst case is the model's whole context window, or all that is left where that is
        less: a hard limit, which lets fewer turns run side by side than one that knows the size of its input.
        """
        begin = steps.begin(self._gateway, self._key, model, max_output_tokens, input_tokens)
        step: core.Step | RunStopped = self._gateway.committer.run(begin)
        if isinstance(step, RunStopped):
            self._tell_stop(self._load())
            raise step
        self._step_id = step.step_id
        self._turns[step.step_id] = self._gateway.telemetry.step_began(step, self._span)
        return step

    def end_step(
        self, step: core.Step, usage: Usage | None = None, *, turn: Turn | None = None, lost: bool = False
    ) -> None:
        """After a model turn: books what it used and returns the rest. Never raises for governance.

        Where a budget in USD is in force, a missing usage or an unknown price stops the run as `unpriced`, and what was
        held is spent. Ending a step twice changes nothing. `turn`: what the model said; it is kept for replay unless
        `recording: turns:` says no, and its usage counts where `usage` is left out. `lost`: it broke off, and nobody
        will hear what it used: what was held is spent, and the run goes on.
        """
        if (step.tenant, step.run_id) != (self.tenant, self.run_id):
            raise Refused(f"step {step.step_id!r} was begun by another run; end it there")
        ended = self._gateway.committer.run(steps.end(self._gateway, step, usage, turn=turn, lost=lost))
        self._gateway.telemetry.step_ended(ended.step, self._turns.pop(step.step_id, None))

    # --- the end -----------------------------------------------------------------------------------------------------

    def stop(self, reason: StopReason | str, detail: str = "", *, by: str = "") -> None:
        """Throw the latch: nothing of the run is performed any more. The first reason stays. Raises ConfigError."""
        try:
            reason = StopReason(reason)
        except ValueError:
            raise ConfigError(f"{reason!r} is no stop reason; one of: {', '.join(StopReason)}") from None
        problem = (problem_of_name(by, "by") if by != "" else None) or problem_of_words(detail, "detail")
        if problem is not None:
            raise ConfigError(problem)
        detail = self._gateway.redactor.redact_text(detail)  # a program may hand on an error's words
        now = self._gateway.clock.now
        stopped = self._commit(lambda tx: bookings.stop(tx, steps.read(tx, self._key), reason, detail, now(), by))
        self._tell_stop(stopped)

    def finish(self) -> None:
        """The agent is done: `completed`, unless the run has stopped for another reason before."""
        self.stop(StopReason.COMPLETED)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run has stopped, or None."""
        return self._load().stop_reason

    @property
    def status(self) -> str:
        """running, paused, completed, stopped or failed."""
        return self._load().status

    def report(self) -> Report:
        """How the run stands: status, stop reason with its three texts, what is used and left, calls by state."""
        return report_of(self._gateway, self._load())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, RunStopped):
            self.stop(StopReason.CANCELLED, f"left by {type(error).__name__}")
        elif self.status == "running":
            self.finish()
        left = self._load()
        self._tell_stop(left)
        if not self._told:
            self._gateway.telemetry.run_left(self._span, left)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # --- the ledger --------------------------------------------------------------------------------------------------

    @property
    def _key(self) -> RunKey:
        return RunKey(self.tenant, self.run_id)

    def _load(self) -> core.Run:
        found: core.Run | None = self._gateway.store.load(self._key)
        if found is None:
            raise Refused(f"there is no run {self.run_id!r} of tenant {self.tenant!r}")
        return found

    def _commit(self, fn: Any) -> Any:
        return self._gateway.committer.run(Unit((HeadKey(self.tenant), self._key), fn))


def open_run(
    gateway: Gateway, *, agent: str, tenant: str, env: str, request: str, run_id: str | None,
    budgets: Mapping[str, Any], labels: Mapping[str, str], runtime: str, requested_by: str,
) -> Run:
    """Open a run, or take an existing one up again."""
    from interlock.gateway import fresh_id

    named: dict[str, str | None] = {"agent": agent, "tenant": tenant, "env": env}
    optional = {"run_id": (run_id, None), "runtime": (runtime, ""), "requested_by": (requested_by, "")}
    named |= {what: name for what, (name, left_out) in optional.items() if name != left_out}
    problems = [gateway.redactor.problem_of_id(name, what) for what, name in named.items()]
    problems += [problem_of_words(request, "request")]
    problems += [problem_of_words(word, "a label") for label in dict(labels).items() for word in label]
    if any(problems):
        raise ConfigError("; ".join(problem for problem in problems if problem))
    budget = gateway.config.run_budget(tenant, agent, budgets)
    for prepare in gateway.opening:
        prepare(tenant, env)
    now = gateway.clock.now()
    wanted = core.Run(
        tenant=tenant, run_id=run_id or fresh_id("run", now), agent=agent, env=env, opened_at=now,
        deadline=now + budget.max_seconds, max_seconds=budget.max_seconds, limits=budget.limits,
        max_denials=budget.max_denials, max_repeats=budget.max_repeats,
        policy_version=gateway.config.policy.version, runtime=runtime, requested_by=requested_by,
        request=gateway.redactor.redact_text(request), labels=gateway.redactor.redact(dict(labels)),
    )
    key = RunKey(tenant, wanted.run_id)

    def take_up(tx: Tx) -> core.Run:
        known = tx.get(key)
        if known is not None:
            if (known.agent, known.env) != (agent, env):
                owner = f"agent {known.agent!r} in {known.env!r}"
                raise Refused(f"run {known.run_id!r} is {owner}, not {agent!r} in {env!r}")
            return known
        tx.put(key, wanted)
        tx.append(
            Entry(
                tenant=tenant, at=now, kind=Kind.RUN_OPENED, run_id=wanted.run_id,
                agent=agent, env=env, runtime=runtime, policy_version=wanted.policy_version, by=requested_by,
                detail={"budget": msgspec.to_builtins(wanted.limits), "max_seconds": budget.max_seconds // MICROS},
            )
        )
        return wanted

    return Run(gateway, gateway.committer.run(Unit((HeadKey(tenant), key), take_up)))
