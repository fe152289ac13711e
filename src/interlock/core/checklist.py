"""Is this gateway set up, and used, as a team's own should be? One question for each point of the checklist.

Not the gathering of what is asked about (`doctor.py`). Law: pure; a point is as good as the worst that was seen of it,
and what could not be looked at is never good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from interlock.core.bounds import wilson
from interlock.core.call import MICROS
from interlock.core.seen import Check, Found, Seen, State, Went, Writing

DRILL_DAYS = 90  #: a kill switch that nobody has pulled and let go of for longer counts as not tried
BASELINE_DAYS = 90  #: a trace of an older run says little of what agents do now
CONFIDENCE = 0.95  #: that what is seen of a canary is no accident
_DAY = 86_400 * MICROS
_SHOWN = 3  #: names in one line


# --- the points: each answers one question ---------------------------------------------------------------------------


def ledger(seen: Seen) -> Iterator[Found]:
    """Can the ledger be read?"""
    if seen.ledger is None:
        yield Found(seen.trouble, State.FAIL, "put that right, then run interlock doctor again")
        return
    tenants, runs = _count(seen.ledger.tenants, "tenant"), _count(seen.ledger.runs, "run")
    which = "the newest of" if seen.ledger.more else "all of"
    yield Found(f"{seen.ledger.where}: {tenants}; {runs} looked at, {which} the last {_count(seen.days, 'day')}")


def gateway_owned(seen: Seen) -> Iterator[Found]:
    """Do the calls of the agents come through the team's own gateway?"""
    if seen.ledger is not None:
        told = f"{_count(seen.ledger.calls, 'tool call')} came through it in the last {_count(seen.days, 'day')}"
        if seen.ledger.calls:
            yield Found(told)
        else:
            yield Found(told, State.WARN, "send the agents' tool calls here: docs/embedding.md, docs/service.md")
    if seen.config.provider_tools:
        yield Found(
            f"tools that may run at the provider, past the gateway: {_some(seen.config.provider_tools)}", State.WARN,
            "take them out of serve: models: hosted_tools:, or know that nothing here governs them",
        )
    else:
        yield Found("no tool may run at a model's provider")
    if seen.config.ungoverned:
        yield Found(
            f"what agents may have beside it: {_some(seen.config.ungoverned)}", State.WARN,
            "take it out of architecture: ungoverned:, or know that nothing here governs it",
        )
    if seen.config.client_tools:
        yield Found(f"performed by agents in their own processes, on their word: {_some(seen.config.client_tools)}")
    yield Found("a tool that is called around the gateway cannot be seen from here")


def default_deny(seen: Seen) -> Iterator[Found]:
    """Is denied what nobody has allowed by name?"""
    told = f"{_count(seen.config.grants, 'grant')} in {seen.config.name}; whatever they do not name is denied"
    yield Found(told)
    for place in seen.config.grants_everything:
        yield Found(place, State.FAIL, "name the tools that are needed, under policy: allow:")


def budgets(seen: Seen) -> Iterator[Found]:
    """Is every run limited in steps, seconds, tool calls and dollars, and are its model turns counted?"""
    limits = seen.config.limits
    counts = {"max_steps": limits.steps, "max_tool_calls": limits.tool_calls}
    held = [f"{key} {limit}" for key, limit in counts.items() if limit is not None]
    held.append(f"max_seconds {limits.seconds / MICROS:g}")
    dollars = {"max_usd": limits.usd, **limits.usd_windows}
    held += [f"{key} ${limit / MICROS:.2f}" for key, limit in dollars.items() if limit is not None]
    yield Found(f"for everybody: {', '.join(held)}")
    for key, limit in counts.items():
        if limit is None:
            yield Found(f"no {key}", State.FAIL, f"budgets: {{{key}: 25}}")
    if all(limit is None for limit in dollars.values()):
        yield Found("no limit in dollars that holds for everybody", State.FAIL, "budgets: {max_usd: 1.00}")
    if seen.ledger is not None and seen.ledger.stepless:
        yield Found(
            f"{_count(len(seen.ledger.stepless), 'run')} made calls and announced no model turn, so that steps and "
            f"the model's dollars were not counted: {_some(seen.ledger.stepless)}", State.WARN,
            "run.begin_step() and run.end_step() around each model turn, an adapter, or the model proxy",
        )


def stop_reasons(seen: Seen) -> Iterator[Found]:
    """Does every run that is over say why?"""
    if seen.config.logs_stops:
        yield Found("each stop is logged")
    else:
        yield Found("stops are not logged", State.FAIL, "logging: {stop_reasons: true}")
    if seen.ledger is None:
        yield _UNREAD
        return
    stops = sorted(seen.ledger.stops.items(), key=lambda each: (-each[1], each[0]))
    counted = ", ".join(f"{reason} {count}" for reason, count in stops)
    yield Found(f"{_count(sum(seen.ledger.stops.values()), 'run')} ended with a reason{counted and ': ' + counted}")
    if seen.ledger.reasonless:
        names = _some(seen.ledger.reasonless)
        yield Found(f"stopped without a reason: {names}", State.FAIL, "interlock run show RUN, and ask the audit")
    if seen.ledger.silent:
        yield Found(
            f"{_count(len(seen.ledger.silent), 'run')} past the deadline and never finished, so nobody was told why: "
            f"{_some(seen.ledger.silent)}", State.WARN,
            "end each run: with gw.run(…) as run, run.finish() or run.stop(…)",
        )


def traces(seen: Seen) -> Iterator[Found]:
    """Has everything that began also been written down to its end?"""
    if not seen.config.logs_calls:
        yield Found("calls are not logged", State.WARN, "logging: {tool_calls: true}")
    if seen.ledger is None:
        yield _UNREAD
        return
    found = seen.ledger
    if not found.runs:
        yield Found(f"no run in the last {_count(seen.days, 'day')}: nothing shows it", State.WARN)
        return
    running = f", {found.in_flight} running now" if found.in_flight else ""
    told = f"{_count(found.calls, 'call')} and {_count(found.steps, 'step')} of {_count(found.runs, 'run')}"
    yield Found(told + running)
    if found.unsettled:
        yield Found(
            f"{_count(len(found.unsettled), 'call')} admitted, the lease over, and not closed: "
            f"{_some(found.unsettled)}", State.FAIL,
            "open a gateway on this ledger, which closes them; then interlock unknowns",
        )
    if found.unended:
        yield Found(
            f"{_count(len(found.unended), 'step')} begun and never ended, though the run is over: "
            f"{_some(found.unended)}", State.FAIL, "run.end_step() in a finally: what the turn used is not known",
        )
    if found.unrecorded:
        yield Found(
            f"{_count(len(found.unrecorded), 'step')} whose turn was not recorded, so that the run cannot be replayed: "
            f"{_some(found.unrecorded)}", State.FAIL,
            "run.end_step(step, turn=…), an adapter, the model proxy, or, where it is meant, recording: {turns: false}",
        )
    if found.unknown:
        yield Found(
            f"{_count(len(found.unknown), 'call')} unknown: {_some(found.unknown)}", State.WARN,
            "interlock unknowns, then interlock reconcile",
        )
    if not (found.unsettled or found.unended):
        yield Found("all of it has ended, or is known to be unknown")


def approvals(seen: Seen) -> Iterator[Found]:
    """Is a person asked, or a rule's condition met, before anything is written?"""
    known = [each for each in seen.config.writing if not each.pattern]
    free = [each for each in known if each.unasked and not each.excepted]
    patterns = [each for each in seen.config.writing if each.pattern and each.unasked and not each.excepted]
    excepted = [each for each in seen.config.writing if each.unasked and each.excepted]
    tools = {each.tool for each in known}
    held = len(tools - {each.tool for each in known if each.unasked})
    held_back = f"with a person asked, or a rule that decides: {held:,}"
    yield Found(f"tools that write and may be used: {len(tools):,}; {held_back}")
    if excepted:
        yield Found(f"nobody is asked, as doctor: unasked: says: {_some(each.tool for each in excepted)}")
    if free:
        names = _some(_whose(each) for each in free)
        first = free[0].tool
        yield Found(
            f"performed without asking anybody: {names}", State.FAIL,
            f'approvals: {{required_for: ["{first}"]}}, or a rule with a condition; where it only reads, '
            f'tools: {{"{first}": {{effect: read}}}}; where it is meant so, doctor: {{unasked: ["{first}"]}}',
        )
    if patterns:
        first = patterns[0].tool
        yield Found(
            f"granted without asking, whatever it is that bears the name: {_some(_whose(each) for each in patterns)}",
            State.WARN, f'name the tools, or declare them all: tools: {{"{first}": {{effect: read}}}}',
        )


def kill_switch(seen: Seen) -> Iterator[Found]:
    """Has somebody pulled a kill switch, and let go of it again, not long ago?"""
    if seen.ledger is None:
        yield _UNREAD
        return
    switches = seen.ledger.switches
    released = [each for each in switches if each.released_at is not None]
    last = max(released, key=lambda each: each.at, default=None)
    if last is None:
        yield Found(f"{_count(len(switches), 'kill')} on record, none of them released", State.FAIL, _DRILL)
    else:
        days = max(0, seen.now - last.at) // _DAY
        late = days > DRILL_DAYS
        yield Found(
            f"last pulled and let go of {_count(days, 'day')} ago, for {last.scope} by {last.by}"
            f"{f': longer ago than {DRILL_DAYS} days' if late else ''}",
            State.FAIL if late else State.OK, _DRILL if late else "",
        )
    for each in switches:
        if each.active:
            yield Found(
                f"in force: {each.scope} ({each.mode}) by {each.by}: {each.reason}", State.WARN,
                "interlock switches; interlock release, once it is over",
            )


def canary(seen: Seen) -> Iterator[Found]:
    """Does another runtime meet a share of the runs before it meets all of them, and do they come out alike?"""
    if seen.ledger is not None:
        on = f" on {_some(seen.ledger.runtimes)}" if seen.ledger.runtimes else ""
        yield Found(f"runs were opened under {_count(seen.ledger.policies, 'version')} of the policy{on}")
    name, share = seen.config.canary, seen.config.share
    if not share:
        yield Found("no share of the runs goes to another runtime", State.WARN, _CANARY)
        return
    if seen.ledger is None:
        yield _UNREAD
        return
    others = [went for each, went in seen.ledger.runtimes.items() if each != name]
    there, here = seen.ledger.runtimes.get(name, _NONE), Went(*map(sum, zip(_NONE, *others, strict=True)))
    runs = there.runs + here.runs
    told = f"on {name}: {there.runs:,} of the {_count(runs, 'run')} that name a runtime; its share is {share:g}"
    if there.runs:
        yield Found(told)
    elif (1 - share) ** runs < 1 - CONFIDENCE:  # so seldom would it be chance
        yield Found(told, State.FAIL, _CHOSEN)
    else:
        yield Found(told, State.WARN, "wait for more runs")
    ran, held = (wilson(went.completed, went.over, CONFIDENCE) for went in (there, here))
    alike = f"completed, of those that are over: on {name} {ran}; elsewhere {held}"
    if ran.high < held.low:
        yield Found(alike, State.FAIL, f"architecture: {{canary: {{runtime: {name}, share: 0}}}}; interlock parity")
    elif there.over:
        yield Found(alike)


def replay_baseline(seen: Seen) -> Iterator[Found]:
    """Are there recorded runs to hold a change against, young enough, and do they still come out as they did?"""
    found = seen.baseline
    if found is None:
        yield Found("the config names no folder of traces", State.FAIL, _EXPORT)
        return
    if not (found.traces or found.broken):
        yield Found(f"{found.folder} holds no traces", State.FAIL, _EXPORT)
        return
    same = found.traces - len(found.differing)
    more = " (there are more)" if found.more else ""
    yield Found(f"{found.folder}: {_count(found.traces, 'trace')} replayed{more}, {same} of them as recorded")
    for told in found.broken:
        yield Found(told, State.FAIL, _EXPORT)
    for told in found.differing:
        yield Found(told, State.FAIL, f"interlock replay {found.folder}; put the change right, or record anew")
    days = max(0, seen.now - found.newest) // _DAY
    if found.traces and days > BASELINE_DAYS:
        yield Found(f"the newest is of a run {_count(days, 'day')} ago", State.WARN, _EXPORT)
    elif found.traces:
        yield Found(f"the newest is of a run {_count(days, 'day')} ago")


Point = Callable[[Seen], Iterable[Found]]
POINTS: tuple[Point, ...] = (
    ledger,
    gateway_owned,
    default_deny,
    budgets,
    stop_reasons,
    traces,
    approvals,
    kill_switch,
    canary,
    replay_baseline,
)


def answered(seen: Seen) -> tuple[Check, ...]:
    """The whole checklist, in its order."""
    return tuple(Check(point.__name__, tuple(point(seen))) for point in POINTS)


# --- words -----------------------------------------------------------------------------------------------------------

_UNREAD = Found("the ledger was not read", State.FAIL)
_NONE = Went(0, 0, 0)
_CANARY = (
    "before the runtime is changed: architecture: {canary: {runtime: NAME, share: 0.05}}; before the policy is: "
    "interlock policy replay --policy NEW"
)
_CHOSEN = "open each run on the runtime that architecture.chosen(RUN_ID) names, with runtime= that name"
_EXPORT = "interlock run export RUN --out traces/RUN.json, and doctor: {baseline: traces}"
_DRILL = (
    "try it on a tool that nobody needs: interlock kill --tool drill.nothing --reason drill --by NAME, "
    "then interlock release --tool drill.nothing --reason drill --by NAME"
)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    every = tuple(names)
    more = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _whose(each: Writing) -> str:
    return f"{each.tool} ({each.effect}{'' if each.tenant == '*' else f', for {each.tenant}'})"
