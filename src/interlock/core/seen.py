"""What the checklist of `interlock doctor` is answered from, and what an answer is.

Not the answering (`checklist.py`) and not the looking (`doctor.py`). Law: facts without opinion; whatever was not
looked at is None, and not an empty value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from interlock.core.switch import Switch


class Writing(Struct, frozen=True):
    """A tool that writes and that policy lets somebody use."""

    tool: str
    tenant: str  #: `*`: everyone
    effect: str
    unasked: bool  #: performed without a person, whatever the arguments are
    excepted: bool  #: the config names it as one that nobody need be asked about
    pattern: bool = False  #: a glob, for the tools that it matches and that nobody here knows


class Limited(Struct, frozen=True, kw_only=True):
    """What holds for every run of everybody. USD in micro-dollars, seconds in microseconds; None: no limit."""

    steps: int | None
    tool_calls: int | None
    usd: int | None
    seconds: int
    usd_windows: Mapping[str, int] = {}  #: `usd_per_day` and the like, of each tenant


class Configured(Struct, frozen=True, kw_only=True):
    """What the config says."""

    name: str  #: of its file
    grants: int  #: rules that allow something
    grants_everything: tuple[str, ...]  #: those that allow every tool, in words
    provider_tools: tuple[str, ...]  #: that may run at a model's provider, past the gateway
    ungoverned: tuple[str, ...]  #: what adapters let pass around the gateway
    client_tools: tuple[str, ...]  #: that agents perform in their own processes
    limits: Limited
    writing: tuple[Writing, ...]
    logs_calls: bool
    logs_stops: bool
    canary: str = ""  #: the runtime that has a share of the runs, to see how they come out there
    share: float = 0.0


class Went(NamedTuple):
    """How the runs of one runtime came out."""

    runs: int
    over: int  #: of them
    completed: int  #: of those that are over


class Ledger(Struct, frozen=True, kw_only=True):
    """What the ledger has of the runs that were looked at. Runs, calls and steps by name: `tenant/run/…`."""

    where: str
    tenants: int
    runs: int
    more: bool  #: there were more runs than were looked at
    calls: int = 0
    stepless: tuple[str, ...] = ()  #: runs that made calls and announced no model turn
    silent: tuple[str, ...] = ()  #: runs past their deadline that nobody has finished, and that have no stop reason
    reasonless: tuple[str, ...] = ()  #: runs that have stopped, and do not say why
    stops: Mapping[str, int] = {}  #: stop reason → runs
    steps: int = 0
    unrecorded: tuple[str, ...] = ()  #: steps that have ended, whose turn should be kept by the config, and was not
    unended: tuple[str, ...] = ()  #: steps that had not ended when their run did, and did not since
    in_flight: int = 0
    unsettled: tuple[str, ...] = ()  #: calls whose lease ran out, and that nobody has closed
    unknown: tuple[str, ...] = ()  #: calls of which nobody knows whether they happened
    policies: int = 0  #: versions of the policy that runs were opened under
    runtimes: Mapping[str, Went] = {}  #: by the name that the programs give; those without one are not among them
    switches: tuple[Switch, ...] = ()  #: all that were ever thrown, oldest first


class Baseline(Struct, frozen=True, kw_only=True):
    """The traces that a change is held against, each replayed as it is, under the config of now."""

    folder: str  #: as the config names it
    traces: int  #: that were replayed
    more: bool = False  #: there were more, which were not
    differing: tuple[str, ...] = ()  #: the replay did not reproduce them, each with the first thing that differs
    broken: tuple[str, ...] = ()  #: they could not be read, or not be replayed, each with why
    newest: int = 0  #: when the newest of their runs was opened


class Seen(Struct, frozen=True, kw_only=True):
    """All that the checklist depends on."""

    now: int  #: microseconds
    days: int  #: how far back runs were looked at
    config: Configured
    ledger: Ledger | None
    trouble: str = ""  #: why the ledger was not read
    baseline: Baseline | None = None  #: None: the config names none


# --- answers ---------------------------------------------------------------------------------------------------------


class State(StrEnum):
    """How a point stands, from the best to the worst."""

    OK = "ok"  #: seen to be so
    WARN = "warn"  #: not wrong, but somebody should look
    FAIL = "fail"  #: not so, or it could not be looked at


_ORDER = tuple(State)


class Found(NamedTuple):
    """One thing that was looked at, with numbers; and what to do about it, where there is something to do."""

    fact: str
    state: State = State.OK
    to_do: str = ""


class Check(Struct, frozen=True):
    """One point of the checklist, answered."""

    name: str
    found: tuple[Found, ...]

    @property
    def state(self) -> State:
        """The worst of what was found."""
        return max((each.state for each in self.found), key=_ORDER.index, default=State.FAIL)
