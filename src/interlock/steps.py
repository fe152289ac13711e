"""A model turn in the ledger: what it may cost is held before, what it came to is booked after.

Not a handle (`runs.py`), and no request to a model. Law: both are units of work that hold nothing between them but the
step itself, so that whoever ends a turn need not be who began it; a turn is begun once and ended once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from interlock import bookings
from interlock.core.audit import Entry, Kind
from interlock.core.budget import UNITS, Account, AccountKey, Amounts, Hold, Line
from interlock.core.decide import Facts, decide_step
from interlock.core.names import problem_of_words
from interlock.core.run import Asking, Run, Step
from interlock.core.turn import Turn, Usage
from interlock.core.verdict import StopReason, Verdict
from interlock.errors import ConfigError, KeyReused, Refused, RunStopped
from interlock.ports import HeadKey, RunKey, StepKey
from interlock.turns import kept
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.gateway import Gateway


class Ended(Struct, frozen=True):
    """A turn as it is in the ledger now, and its run where the end of the turn has stopped that."""

    step: Step
    stopped: Run | None = None


def begin(
    gateway: Gateway, key: RunKey, model: str, max_output_tokens: int | None, input_tokens: int | None, *,
    step_id: str = "",
) -> Unit[Step | RunStopped]:
    """Begin a turn of that run, or say why not. Raises ConfigError for a model or numbers that cannot be.

    `step_id`: what the turn is to be called; one that has begun under this name already is given as it is.
    """
    problem = problem_of_words(model, "model")
    if gateway.redactor.holds_secret([model, step_id]):
        problem = "the name of a model, or of a step, must not hold a credential"
    for what, tokens in (("max_output_tokens", max_output_tokens), ("input_tokens", input_tokens)):
        if tokens is not None and (type(tokens) is not int or tokens < 0):
            problem = problem or f"{what} must be a whole number from 0, not {tokens!r:.40}"
    if problem is not None:
        raise ConfigError(problem)
    return Unit(
        (HeadKey(key.tenant), key),
        lambda tx: _begin(gateway, tx, key, model, max_output_tokens, input_tokens, step_id),
    )


def end(
    gateway: Gateway, step: Step, usage: Usage | None, *, turn: Turn | None = None, lost: bool = False,
    asking: Asking | None = None,
) -> Unit[Ended]:
    """End a turn with what it used, and keep what was asked and said; ending it twice changes nothing.

    `turn`: what was said, or `asking`: that with what was asked. `lost`: it broke off, and nobody will hear what it
    used: all that it held is spent, and the run goes on. A turn that ended well without a usage, or at no known price,
    stops its run as `unpriced` where dollars count.
    """
    key = RunKey(step.tenant, step.run_id)
    if turn is not None:
        usage = turn.usage if usage is None else usage
        asking = kept(turn, gateway.redactor)
    if not gateway.config.recording_of(step.tenant).turns:
        asking = None
    return Unit((HeadKey(step.tenant), key), lambda tx: _end(gateway, tx, key, step, usage, lost, asking))


def _begin(
    gateway: Gateway, tx: Tx, key: RunKey, model: str, output: int | None, given: int | None, named: str
) -> Step | RunStopped:
    known = tx.get(StepKey(key.tenant, key.run_id, named)) if named else None
    if known is not None:
        if known.model != model:
            raise KeyReused(f"step {named!r} was begun for model {known.model!r}; name another turn otherwise")
        return known
    now = gateway.clock.now()
    run = read(tx, key).resumed(now)
    if run.stop_reason is not None:
        return RunStopped(run.stop_reason, run.stop_detail)
    lines = _lines(gateway, tx, run, now)
    priced = _worst_case(gateway, lines, model, output, given)
    cost = Amounts(steps=1) if priced is None else priced
    facts = Facts(
        now=now, policy=gateway.config.policy, run=run, tool=None,
        switches=tx.once(gateway.board.active), cost=cost, lines=lines,
    )
    decision = decide_step(facts)
    if decision.verdict is Verdict.STOP:
        reason = decision.stop or _STOP_OF_WINDOW.get(_short(lines, cost), StopReason.MAX_USD)
        bookings.stop(tx, run, reason, decision.text, now)
        return RunStopped(reason, decision.text)
    if priced is None:
        lacking = "no price" if output is not None else "no limit (max_output_tokens) of the output, so no price,"
        stopped = bookings.stop(tx, run, StopReason.UNPRICED, f"{lacking} for model {model or '(not named)'}", now)
        return RunStopped(StopReason.UNPRICED, stopped.stop_detail)
    hold = Hold(cost, tuple(line.key for line in lines))
    bookings.take(tx, hold)
    step = Step(
        tenant=run.tenant, run_id=run.run_id, step_id=named or f"s{run.steps + 1}", began_at=now, hold=hold,
        model=model, max_output_tokens=output, announced_input_tokens=given,
    )
    tx.put(StepKey(step.tenant, step.run_id, step.step_id), step)
    tx.put(key, replace(run, steps=run.steps + 1, open_steps=(*run.open_steps, step.step_id)))
    tx.append(_entry(run, step, Kind.STEP_BEGAN, now))
    return step


def _end(
    gateway: Gateway, tx: Tx, key: RunKey, begun: Step, usage: Usage | None, lost: bool, asking: Asking | None
) -> Ended:
    now, run = gateway.clock.now(), read(tx, key)
    step = tx.get(StepKey(begun.tenant, begun.run_id, begun.step_id))
    if step is None or (step.ended_at is not None and not step.forfeited):
        return Ended(step or begun)
    held = step.hold.amounts
    usd = None if usage is None else gateway.meter.price(step.model, usage)
    if usage is None and lost:
        usd = held.usd or None
    spent = held if usage is None else replace(held, tokens=usage.tokens)
    if usage is not None and usd is not None:
        spent = replace(spent, usd=usd)
    bookings.let_go(tx, step.hold, spent.minus(held) if step.forfeited else spent, held=not step.forfeited)
    ended = replace(
        step, ended_at=now, forfeited=False, usd=usd, lost=lost and usage is None, asking=asking, **_counted(usage),
    )
    tx.put(StepKey(begun.tenant, begun.run_id, begun.step_id), ended)
    after = replace(run, open_steps=tuple(each for each in run.open_steps if each != step.step_id)).idle(now)
    tx.put(key, after)
    tx.append(_entry(after, ended, Kind.STEP_ENDED, now))
    if usd is None and not ended.lost and _in_dollars(gateway, after):
        why = "its usage did not come back" if usage is None else "its price is not known"
        detail = f"model {step.model or '(not named)'}: {why}"
        after = bookings.stop(tx, after, StopReason.UNPRICED, detail, now)
    elif spent.usd > held.usd or spent.tokens > held.tokens:
        reason = StopReason.MAX_USD if spent.usd > held.usd else StopReason.MAX_TOKENS
        if any(line.account.short_of(_ONE_MORE[reason], line.limits) for line in _lines(gateway, tx, after, now)):
            detail = f"step {step.step_id} used more than the worst case that was held"
            after = bookings.stop(tx, after, reason, detail, now)
    return Ended(ended, after if run.stop_reason is None and after.stop_reason is not None else None)


def _counted(usage: Usage | None) -> dict[str, Any]:
    """What a step keeps of a usage."""
    return {"metered": False} if usage is None else {"metered": True, **asdict(usage)}


def _worst_case(
    gateway: Gateway, lines: tuple[Line, ...], model: str, output: int | None, given: int | None
) -> Amounts | None:
    """What to set aside for a turn; None where it cannot be priced and a budget in USD is in force."""
    meter = gateway.meter
    limited = {unit for line in lines for unit in UNITS if getattr(line.limits, unit) is not None}
    window = given if given is not None else meter.window(model) if model else None
    tokens = usd = 0
    if "usd" in limited:
        if not model or output is None:
            return None
        least = meter.price(model, Usage(input_tokens=given or 0, output_tokens=output))
        if least is None:
            return None
        whole = None if window is None else Usage(input_tokens=window, output_tokens=output)
        usd = _within("usd", lines, least, meter.price(model, whole) if whole else None)
    if "tokens" in limited:
        most = None if window is None or output is None else window + output
        tokens = _within("tokens", lines, (given or 0) + (output or 0), most)
    return Amounts(steps=1, usd=usd, tokens=tokens)


def _in_dollars(gateway: Gateway, run: Run) -> bool:
    quotas = gateway.config.quotas(run.tenant, run.agent, "")
    return run.limits.usd is not None or any(quota.limits.usd is not None for quota in quotas)


def _lines(gateway: Gateway, tx: Tx, run: Run, now: int) -> tuple[Line, ...]:
    """The accounts that a model turn is booked on: those of a call, without any tool's."""
    own = bookings.run_account(run.tenant, run.run_id)
    found = [Line(own, run.limits, tx.get(own) or Account())]
    for quota in gateway.config.quotas(run.tenant, run.agent, ""):
        key = AccountKey(run.tenant, quota.scope, quota.subject, quota.window, quota.window.start(now))
        found.append(Line(key, quota.limits, tx.get(key) or Account()))
    return tuple(found)


def read(tx: Tx, key: RunKey) -> Run:
    """A run that has to be there. Raises Refused."""
    run = tx.get(key)
    if run is None:
        raise Refused(f"there is no run {key.run_id!r} of tenant {key.tenant!r}")
    return run


def _within(unit: str, lines: tuple[Line, ...], least: int, most: int | None) -> int:
    """The worst case (None: nobody knows), or all that is left where that is less; but at least what is sure."""
    left: list[int] = [room for line in lines if (room := getattr(line.account.left(line.limits), unit)) is not None]
    return max(least, min(left) if most is None else min(most, *left))


def _short(lines: tuple[Line, ...], cost: Amounts) -> str:
    return next((unit for line in lines if (unit := line.account.short_of(cost, line.limits))), "")


def _entry(run: Run, step: Step, kind: Kind, now: int) -> Entry:
    detail: dict[str, Any] = {"model": step.model, "held_usd": step.hold.amounts.usd}
    if kind is Kind.STEP_ENDED:
        detail |= {"input_tokens": step.input_tokens, "output_tokens": step.output_tokens}
        more = {"cached_input_tokens": step.cached_input_tokens, "reasoning_tokens": step.reasoning_tokens}
        detail |= {what: tokens for what, tokens in more.items() if tokens}
        detail["priced"] = step.usd is not None and not step.lost
        if step.lost:
            detail["lost"] = True
    return Entry(
        tenant=run.tenant, at=now, kind=kind, run_id=run.run_id, step_id=step.step_id, agent=run.agent, env=run.env,
        runtime=run.runtime, usd=step.usd or 0, tokens=step.input_tokens + step.output_tokens, detail=detail,
    )


_STOP_OF_WINDOW = {
    "steps": StopReason.MAX_STEPS,
    "usd": StopReason.MAX_USD,
    "tokens": StopReason.MAX_TOKENS,
    "tool_calls": StopReason.MAX_TOOL_CALLS,
}
_ONE_MORE = {StopReason.MAX_USD: Amounts(usd=1), StopReason.MAX_TOKENS: Amounts(tokens=1)}
