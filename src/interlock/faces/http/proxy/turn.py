"""One model turn of a run, from the hold to the bill.

Not the request (`exchange.py`), and not the booking (`interlock/steps.py`). Law: a turn that was begun is ended, once,
whatever becomes of the client, the provider or this task; until it is, what it holds counts as spent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from interlock import steps
from interlock.core.run import Asking, Run, Step
from interlock.core.turn import Usage
from interlock.errors import LedgerUnavailable, RunStopped
from interlock.faces.http.proxy.asked import Asked
from interlock.faces.http.proxy.errors import RunIsOver
from interlock.ports import RunKey

if TYPE_CHECKING:
    from interlock.faces.http.service import Service

NOTHING = Usage(input_tokens=0, output_tokens=0)
TRIES = 4


class Turn:
    """Made by `Turn.begun`."""

    def __init__(self, service: Service, step: Step, cap: int | None) -> None:
        self._service = service
        self._step = step
        self._ended = False
        self.cap = cap  #: what the provider has to be told, for the hold to be the worst case

    @classmethod
    async def begun(cls, service: Service, run: Run, asked: Asked) -> Turn:
        """Raises RunIsOver, and nothing is begun; LedgerUnavailable."""
        gateway = service.gateway
        output = asked.output or gateway.config.serve.models.max_output_tokens
        key = RunKey(run.tenant, run.run_id)
        unit = steps.begin(gateway, key, asked.model, output * asked.answers, asked.input)
        before = gateway.clock.now()
        step, cancelled = await service.commit(unit)
        if isinstance(step, RunStopped):
            stopped: Any = await service.blocking(gateway.store.load, key)
            if stopped is not None and stopped.stopped_at >= before:  # this has stopped it: somebody should hear of it
                gateway.telemetry.run_stopped(None, stopped)
            raise RunIsOver(run.run_id, step.reason)
        held = step.hold.amounts
        turn = cls(service, step, None if asked.output or not (held.usd or held.tokens) else output)
        if cancelled:
            await turn.end(NOTHING)
            raise asyncio.CancelledError
        return turn

    async def end(self, usage: Usage | None, *, lost: bool = False, asking: Asking | None = None) -> None:
        """Book it. Ending it again changes nothing. A ledger that cannot be written is tried again a few times; after
        that the hold stays, which is as good as spent, and the client gets its answer all the same."""
        if self._ended:
            return
        self._ended = True
        gateway = self._service.gateway
        for attempt in range(TRIES):
            try:
                ended, _ = await self._service.commit(
                    steps.end(gateway, self._step, usage, lost=lost, asking=asking)
                )
            except LedgerUnavailable as error:
                if attempt + 1 == TRIES:
                    gateway.telemetry.trouble("what a model turn used could not be booked", error)
                else:
                    await asyncio.sleep(0.05 * 4**attempt)
            else:
                if ended.stopped is not None:
                    gateway.telemetry.run_stopped(None, ended.stopped)
                return

    async def broke(self) -> None:
        """Nobody will hear what it used."""
        await self.end(None, lost=True)
