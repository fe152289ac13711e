"""The time, the switches, the model and the people of a recorded run, for a gateway that replays it.

Not the tools (`tools/recorded.py`), and not the replay. Law: each says what it said then, when it is asked in the same
place; where the record ends, each says that it has no more.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from interlock import traces
from interlock.core.approval import Approval, Standing
from interlock.core.canonical import canonical
from interlock.core.replay import Tape
from interlock.core.switch import Switch
from interlock.core.trace import Trace, TracedApproval, TracedCall
from interlock.core.turn import Turn
from interlock.core.verdict import StopReason
from interlock.driving import NoMoreTurns, Script
from interlock.errors import Refused
from interlock.gateway import Gateway
from interlock.ports import CallKey, Clock
from interlock.runs import Run
from interlock.stores.memory import MemorySwitchBoard

#: a run that ended so was ended from outside: a replay ends it where the record does
OUTSIDE = frozenset(
    {StopReason.CANCELLED, StopReason.MODEL_ERROR, StopReason.TOOL_ERROR, StopReason.LEDGER_UNAVAILABLE}
)


class TraceClock:
    """A clock that shows the record's time: it stands where the record stands, or runs on from there."""

    def __init__(self, start: int, ticking: Clock | None) -> None:
        self._at = start
        self._ticking = ticking
        self._since = 0 if ticking is None else ticking.now()

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self._at if self._ticking is None else self._at + self._ticking.now() - self._since

    def reach(self, moment: int) -> None:
        """Something of the record came at that moment. Never goes back; a clock that runs by itself is not moved."""
        if self._ticking is None:
            self._at = max(self._at, moment)

    def jump(self, moment: int) -> None:
        """Go to that moment, whatever kind of clock it is. Never goes back."""
        self._at += max(0, moment - self.now())


class TraceBoard(MemorySwitchBoard):
    """The switches of the record, each holding when it held."""

    def __init__(self, switches: tuple[Switch, ...], time: TraceClock) -> None:
        super().__init__()
        self._time = time
        for switch in switches:
            self.put(switch)

    def active(self) -> tuple[Switch, ...]:
        """See `ports.SwitchBoard`."""
        now = self._time.now()
        known = self.history()
        return tuple([
            each for each in known if each.at <= now and (each.released_at is None or each.released_at > now)
        ])


class Record:
    """What was said and answered, in order; each moves the clock to when it came."""

    def __init__(self, trace: Trace, time: TraceClock, *, live: bool) -> None:
        self.time = time
        self.tape = Tape(trace.calls)
        self._run = trace.run
        turns = [] if live else traces.speech(trace)
        heard = [step for step in trace.steps if step.turn is not None and not step.lost]
        self._left = deque([] if live else zip(heard, turns, strict=True))
        self._count = len(self._left)

    def came(self, call: TracedCall, latest: int) -> None:
        """A tool has answered. Not beyond `latest`: an effect must not outlive its lease."""
        moment = call.settled_at or call.asked_at
        last = not self._left and not self.tape.remaining
        if last and self._run.stop_reason is StopReason.MAX_SECONDS:  # nothing else of the record moves the clock
            moment = max(moment, self._run.stopped_at or 0)
        self.time.reach(min(moment, latest))

    def script(self, run: Run) -> Script:
        """The recorded model, for the run that is driven."""
        first = self._left[0][0] if self._left else None
        return Script(
            say=partial(self._say, run), model=first.model if first else "",
            max_output_tokens=first.max_output_tokens if first else None,
        )

    def _say(self, run: Run) -> Turn:
        """The next turn. Behind the last one, a run that was ended from outside is ended again."""
        if not self._left:
            if self._run.stop_reason in OUTSIDE:
                run.stop(self._run.stop_reason, self._run.stop_detail)
            raise NoMoreTurns(f"{self._count} turns were recorded, and the agent asked for one more")
        step, turn = self._left.popleft()
        self.time.reach(step.ended_at or step.began_at)
        return turn


class Answers:
    """What people answered then, to be answered now."""

    def __init__(self, trace: Trace, gateway: Gateway, time: TraceClock) -> None:
        self._gateway = gateway
        self._time = time
        self._tenant = trace.run.tenant
        self._given: dict[tuple[str, bytes], deque[TracedApproval]] = {}
        for call in trace.calls:
            if call.approval is not None:
                self._given.setdefault((call.tool, canonical(call.args)), deque()).append(call.approval)

    def give(self) -> bool:
        """Answer what waits, as far as the record has an answer. True where anything was answered."""
        waiting = self._gateway.control.approvals(self._tenant)
        return sum(self._answered(each) for each in waiting) > 0

    def _answered(self, asked: Approval) -> bool:
        record = self._gateway.store.load(CallKey(asked.tenant, asked.run_id, asked.key))
        given = self._given.get((asked.tool, canonical(record.call.args))) if record is not None else None
        if not given:
            return False
        answer = given.popleft()
        if not answer.answers and answer.standing == Standing.EXPIRED:
            self._time.jump(asked.expires_at)
            return True
        return sum(self._says(asked, answer, place) for place in range(len(answer.answers))) > 0

    def _says(self, asked: Approval, answer: TracedApproval, place: int) -> bool:
        one, control = answer.answers[place], self._gateway.control
        self._time.jump(one.at)
        try:
            if one.yes:
                control.approve(asked.approval_id, by=one.by, note=one.note, args=answer.edited)
            else:
                control.reject(asked.approval_id, by=one.by, note=one.note)
        except Refused:  # the config that holds now lets them not answer
            return False
        return True
