"""What `interlock doctor` looks at: a config, and the ledger that belongs to it.

Not the answers (`core/checklist.py`). Law: it reads, and nothing else; what it could not see it does not make up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

from interlock.check import EVERYONE, example_of, known_tools, weighed
from interlock.check_warnings import grants_everything
from interlock.config import Config
from interlock.core.audit import SYSTEM
from interlock.core.call import MICROS, Effect, Tool
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.core.seen import Baseline, Configured, Ledger, Limited, Seen, Went, Writing
from interlock.core.verdict import StopReason, Verdict
from interlock.errors import ConfigError
from interlock.ports import Clock, Pin, Store
from interlock.replays import How, baseline_runtime, compared
from interlock.traces import read

if TYPE_CHECKING:
    from interlock.gateway import Gateway

MOST = 1000  #: runs that are looked at, the newest
MOST_TRACES = 100  #: that are replayed
DAY = 86_400 * MICROS
GRACE = 600 * MICROS  #: after a run's stop, for what was under way


def see(config: Config, gateway: Gateway | None, *, days: int, clock: Clock, trouble: str = "") -> Seen:
    """Look at everything. `gateway`: one that looks at the config's ledger; None, with the `trouble`, where that cannot
    be read. Raises LedgerUnavailable where it cannot be read after all."""
    now, baseline = clock.now(), _baseline(config, clock)
    if gateway is None:
        blind = _configured(config, {}, ())
        return Seen(now=now, days=days, config=blind, ledger=None, trouble=trouble, baseline=baseline)
    lately = [run for run in gateway.store.runs(limit=MOST + 1) if run.opened_at >= now - days * DAY]
    runs = [_Looked.at(gateway.store, run) for run in lately[:MOST]]
    return Seen(
        now=now, days=days, config=_configured(config, _used(config, gateway.store, runs), gateway.store.pins()),
        ledger=_ledger(gateway, runs, now, more=len(lately) > MOST), baseline=baseline,
    )


class _Looked(NamedTuple):
    """A run, and what the ledger has of it."""

    run: Run
    calls: Sequence[Record]
    steps: Sequence[Step]

    @classmethod
    def at(cls, store: Store, run: Run) -> Self:
        return cls(run, store.calls_of(run.tenant, run.run_id), store.steps_of(run.tenant, run.run_id))

    @property
    def name(self) -> str:
        return f"{self.run.tenant}/{self.run.run_id}"

    def over(self, now: int) -> bool:
        """True once nothing of it can be under way any more."""
        return self.run.stopped_at is not None and self.run.stopped_at < now - GRACE


# --- the config ------------------------------------------------------------------------------------------------------


def _configured(config: Config, used: Mapping[str, Tool], pins: Sequence[Pin]) -> Configured:
    run, windows = config.run_budget("", ""), config.caps.windows
    models, canary = config.serve.models, config.architecture.canary
    return Configured(
        name=config.name,
        grants=sum(rule.then is Verdict.ALLOW for rule in config.policy.rules),
        grants_everything=tuple(grants_everything(config)),
        provider_tools=tuple(models.hosted_tools) if models.openai or models.anthropic else (),
        ungoverned=config.architecture.ungoverned,
        client_tools=tuple(config.serve.cooperative),
        limits=Limited(
            steps=run.limits.steps, tool_calls=run.limits.tool_calls, usd=run.limits.usd, seconds=run.max_seconds,
            usd_windows={f"usd_per_{each}": usd for each, limits in windows.items() if (usd := limits.usd) is not None},
        ),
        writing=tuple(_writing(config, used, pins)),
        logs_calls=config.logging.tool_calls, logs_stops=config.logging.stop_reasons,
        canary=canary.runtime if canary else "", share=canary.share if canary else 0.0,
    )


def _writing(config: Config, used: Mapping[str, Tool], pins: Sequence[Pin]) -> Iterator[Writing]:
    """Of the tools that the config names, that are pinned, or that runs have called; and of the globs that grant."""
    known, _ = known_tools(config, pins, used)
    for name in sorted(known):
        yield from _lines(config, known[name], pattern=False)
    granted = {glob for rule in config.policy.rules if rule.then is Verdict.ALLOW for glob in rule.tools}
    for glob in sorted(granted - set(known)):
        yield from _lines(config, config.declared(Tool(name=example_of(glob)), said=()), pattern=True)


def _lines(config: Config, tool: Tool, *, pattern: bool) -> Iterator[Writing]:
    """One for everyone, where they may use it, and one for each tenant with whom it stands otherwise."""
    if not tool.effect.writes:
        return
    excepted = any(fnmatchcase(tool.name, glob) for glob in config.doctor.unasked)
    general = _stands(config, tool, None)
    for tenant in (None, *config.tenants):
        granted, unasked = _stands(config, tool, tenant)
        if granted and (tenant is None or (granted, unasked) != general):
            yield Writing(tool.name, tenant or EVERYONE, str(tool.effect), unasked, excepted, pattern)


def _stands(config: Config, tool: Tool, tenant: str | None) -> tuple[bool, bool]:
    """Whether a tool may be used at all, and whether it may whatever the arguments are and without a person."""
    fixed, depending = weighed(config, tool, tenant)
    rules = [*fixed, *(rule for rule, _ in depending)]
    grants = [rule for rule in rules if rule.then is Verdict.ALLOW]
    granted = bool(grants) and not any(rule.then >= Verdict.DENY for rule in fixed)
    return granted, granted and len(grants) == len(rules) and not all(rule.when for rule in grants)


def _used(config: Config, store: Store, runs: Sequence[_Looked]) -> dict[str, Tool]:
    """The tools that programs have registered, as their code last said; and, where the ledger has not kept that, those
    that runs have called, as their newest call says whether they write."""
    calls = [record for each in runs for record in each.calls]
    newest = {record.call.tool: record for record in sorted(calls, key=lambda each: each.asked_at)}
    found = {
        name: config.declared(Tool(name=name, effect=Effect.WRITE if each.writes else Effect.READ), said=("effect",))
        for name, each in newest.items()
    }
    kept = {each.name: each for each in sorted(store.definitions(), key=lambda each: each.at)}
    return found | {name: config.declared(each.tool, each.said) for name, each in kept.items() if each.tool is not None}


# --- the ledger ------------------------------------------------------------------------------------------------------


def _ledger(gateway: Gateway, runs: Sequence[_Looked], now: int, *, more: bool) -> Ledger:
    config, calls = gateway.config, [record for each in runs for record in each.calls]
    leased = [record for record in calls if record.state is State.LEASED]
    late = [record for record in leased if record.lease is None or record.lease.until < now]
    steps = [(f"{each.name}/{step.step_id}", step, each) for each in runs for step in each.steps]
    return Ledger(
        where=_where(config.ledger),
        tenants=sum(tenant != SYSTEM for tenant in gateway.store.tenants()),
        runs=len(runs), more=more, calls=len(calls),
        stepless=tuple(each.name for each in runs if each.calls and not each.steps),
        silent=tuple(each.name for each in runs if each.run.status == "running" and each.run.deadline < now),
        reasonless=tuple(each.name for each in runs if each.run.stopped_at is not None and not each.run.stop_reason),
        stops=Counter(str(each.run.stop_reason) for each in runs if each.run.stop_reason is not None),
        steps=len(steps),
        unended=tuple(
            name for name, step, of in steps if of.over(now) and (step.ended_at is None or step.forfeited)
        ),
        unrecorded=tuple(
            name for name, step, of in steps if _silent(step) and config.recording_of(of.run.tenant).turns
        ),
        in_flight=len(leased) - len(late),
        unsettled=tuple(_call_name(record) for record in late),
        unknown=tuple(_call_name(record) for record in calls if record.state is State.UNKNOWN),
        policies=len({each.run.policy_version for each in runs}),
        runtimes={name: _went(each.run for each in runs if each.run.runtime == name) for name in _runtimes(runs)},
        switches=gateway.board.history(),
    )


def _runtimes(runs: Sequence[_Looked]) -> list[str]:
    return sorted({each.run.runtime for each in runs if each.run.runtime})


def _went(runs: Iterable[Run]) -> Went:
    reasons = [run.stop_reason for run in runs]
    return Went(len(reasons), len(reasons) - reasons.count(None), reasons.count(StopReason.COMPLETED))


def _silent(step: Step) -> bool:
    """True where the model was heard, and nobody wrote down what it said."""
    heard = step.ended_at is not None and not step.lost and not step.forfeited
    return heard and step.asking is None and not step.forgotten


def _where(url: str) -> str:
    """The ledger's address without a secret."""
    if not url.startswith("postgresql://"):
        return url
    parts = urlsplit(url)
    return f"postgresql://{parts.hostname or ''}{parts.path}"


def _call_name(record: Record) -> str:
    return f"{record.call.tenant}/{record.call.run_id}/{record.call.key}"


# --- the baseline ----------------------------------------------------------------------------------------------------


def _baseline(config: Config, clock: Clock) -> Baseline | None:
    """Each trace of the folder, replayed as it was recorded; replays that lie beside them are passed over."""
    named = config.doctor.baseline
    if named is None:
        return None
    newest, replayed, differing, broken = 0, 0, [], []
    files = sorted(each for each in (config.base / named).glob("*.json") if each.is_file())
    for file in files[:MOST_TRACES]:
        try:
            trace = read(file)
            if trace.replay is not None:
                continue
            how = How(runtime=baseline_runtime(trace))
            compared_with_itself = next(iter(compared(trace, config, None, how, clock)))
        except ConfigError as error:
            broken.append(f"{file.name}: {error}")
            continue
        replayed, newest = replayed + 1, max(newest, trace.run.opened_at)
        if not compared_with_itself.passed:
            first = compared_with_itself.divergences[0].text
            differing.append(f"{file.name} comes out otherwise: {first}")
    return Baseline(
        folder=named, traces=replayed, more=len(files) > MOST_TRACES, differing=tuple(differing), broken=tuple(broken),
        newest=newest,
    )
