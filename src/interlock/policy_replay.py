"""What would another policy have said? `decide`, asked again over the calls that the ledger has.

Not a run, and nothing is written. Law: a rule is weighed over the arguments as they were wished and the moment at which
they came; a guard whose facts are gone (budgets, switches, what other calls were doing) keeps what it said then; what
people answered does not count, because they would be asked anew. One run is held in memory at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from interlock.check import pinned_tools
from interlock.config import Config
from interlock.core import provenance
from interlock.core.call import Tool
from interlock.core.decide import Facts
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.replay import again, as_first_weighed
from interlock.core.run import Run
from interlock.core.verdict import Decision, Verdict
from interlock.ports import Store
from interlock.results import text_for_model

if TYPE_CHECKING:
    from interlock.ports import Definition, Pin

PAGE = 500  #: runs that are read at once
FAR = 1 << 62  #: a deadline that no call has reached

Told = Callable[[int, int], None]
"""Hears of each run: how many calls were weighed so far, and when the run was opened."""


class Line(Struct, frozen=True, kw_only=True):
    """So many calls of one tool that one policy answered so, and the other so."""

    tenant: str
    tool: str
    then: str
    now: str
    rules: tuple[str, ...]  #: that carry the new verdict; or the guards
    calls: int
    run_id: str  #: of one of them, the newest
    call_id: str

    @property
    def changed(self) -> bool:
        """True where the answer is another one."""
        return self.then != self.now


class PolicyReplay(Struct, frozen=True, kw_only=True):
    """What became of all calls."""

    policy_version: str
    since: int
    runs: int
    calls: int  #: that were weighed
    repeated: int  #: that another call's record had answered, so no policy was asked
    lines: tuple[Line, ...]
    unknown_tools: tuple[str, ...]  #: of which the ledger has no definition, so that the new config alone was asked


def policy_replay(
    store: Store, policy: Config, *, since: int, tenant: str | None = None, told: Told = lambda _calls, _at: None
) -> PolicyReplay:
    """Weigh every call of the runs that were opened since a time (microseconds) under another config's policy."""
    weighing = _Weighing(policy, store.definitions(), store.pins())
    runs = 0
    for run in _runs(store, tenant, since):
        runs += 1
        weighing.weigh(run, store.calls_of(run.tenant, run.run_id), partial(_began, store, run))
        told(weighing.calls, run.opened_at)
    return PolicyReplay(
        policy_version=policy.policy.version, since=since, runs=runs, calls=weighing.calls,
        repeated=weighing.repeated, lines=weighing.lines(), unknown_tools=tuple(sorted(weighing.unknown)),
    )


def _began(store: Store, run: Run) -> list[int]:
    """When the steps of a run began."""
    return sorted([step.began_at for step in store.steps_of(run.tenant, run.run_id)])


def _runs(store: Store, tenant: str | None, since: int) -> Iterator[Run]:
    """The newest first, a page at a time."""
    before: int | None = None
    seen: set[tuple[str, str]] = set()
    while True:
        page = store.runs(tenant, limit=PAGE, before=before)
        fresh = [run for run in page if (run.tenant, run.run_id) not in seen]
        yield from (run for run in fresh if run.opened_at >= since)
        if len(page) < PAGE or page[-1].opened_at < since:
            return
        oldest = page[-1].opened_at
        seen = {(run.tenant, run.run_id) for run in page if run.opened_at == oldest}
        before = oldest + 1 if fresh else oldest  # several runs may have been opened in the same microsecond


_Key = tuple[str, str, Verdict, Verdict, tuple[str, ...]]


class _Weighing:
    def __init__(self, config: Config, definitions: Iterable[Definition], pins: Sequence[Pin]) -> None:
        self._config = config
        self._upstreams = {pin.tool for pin in pins}
        mcp = {name for name, upstream in config.upstreams.items() if upstream.openapi is None}
        pinned = pinned_tools(config, (pin for pin in pins if pin.tool.partition(".")[0] in mcp))
        self._policy = config.policy
        self._defined = {each.name: each for each in definitions if each.tool is not None}  # the newest of each name
        self._tools: dict[str, Tool] = pinned
        self._found: dict[_Key, list[int | str]] = {}
        self._reads_run = any("run" in rule.when for rule in self._policy.rules)
        self.calls = self.repeated = 0
        self.unknown: set[str] = set()

    def weigh(self, run: Run, records: Sequence[Record], began: Callable[[], Sequence[int]]) -> None:
        """All calls of a run, oldest first. `began`: when its steps did, where that is not in their names."""
        moments: Sequence[int] | None = None
        run = replace(run, stop_reason=None, deadline=FAR)
        told: list[Record] = []
        denials = 0
        for record in records:
            recorded = as_first_weighed(record.decision)
            if recorded is None:
                self.repeated += 1
                continue
            if self._reads_run:
                steps = _step_number(record)
                if steps is None:
                    moments = began() if moments is None else moments
                    steps = bisect_right(moments, record.asked_at)
                run = replace(run, steps=steps, denials=denials)
            facts = Facts(
                now=record.asked_at, policy=self._policy, run=run, tool=self._tool(record.call.tool),
                provenance=self._provenance(record, run, told) if self._policy.reads_provenance else {},
            )
            self._count(record, recorded, again(record.call, facts, recorded))
            denials += recorded.verdict is Verdict.DENY
            if record.state is State.DONE:
                told.append(record)

    def _tool(self, name: str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            defined = self._defined.get(name)
            if defined is None or defined.tool is None:
                self.unknown.add(name)
                tool = self._config.declared(Tool(name=name), said=())
            else:  # of an upstream's tool its own word counts for nothing
                said = () if name in self._upstreams else defined.said
                tool = self._config.declared(defined.tool, said=said)
            self._tools[name] = tool
        return tool

    def _provenance(self, record: Record, run: Run, told: Iterable[Record]) -> dict[str, str]:
        results = [
            (each.call.tool, each.trusted, text_for_model(msgspec.json.decode(each.result)))
            for each in told
            if each.settled_at is not None and each.settled_at <= record.asked_at
        ]
        return provenance.trace(record.call.args, run.request, results)

    def _count(self, record: Record, then: Decision, now: Decision) -> None:
        self.calls += 1
        rules = tuple(dict.fromkeys([reason.rule or reason.guard for reason in now.leading]))
        key = (record.call.tenant, record.call.tool, then.verdict, now.verdict, rules)
        line = self._found.get(key)
        if line is None:
            self._found[key] = [1, record.call.run_id, record.call.call_id]
        else:
            line[0] += 1  # type: ignore[operator]

    def lines(self) -> tuple[Line, ...]:
        """What has changed first, and of that the most calls."""
        lines = [
            Line(
                tenant=tenant, tool=tool, then=then.word, now=now.word, rules=rules, calls=int(count),
                run_id=str(run_id), call_id=str(call_id),
            )
            for (tenant, tool, then, now, rules), (count, run_id, call_id) in self._found.items()
        ]
        return tuple(sorted(lines, key=lambda line: (not line.changed, -line.calls, line.tenant, line.tool, line.now)))


def _step_number(record: Record) -> int | None:
    """Which step of its run a call belongs to, as the name of the step says; None where it does not say it."""
    number = record.call.step_id.removeprefix("s")
    return int(number) if number.isdecimal() else None
