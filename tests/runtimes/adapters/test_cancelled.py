"""A drive that its caller cancels in the middle of a call."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from interlock.core.turn import Call
from interlock.testing.adapter_contract import Play
from interlock.testing.adapter_contract.lines import note
from tests.runtimes.adapters.drivers import RuntimeDriver
from tests.runtimes.adapters.test_contract import IDS, PLAYED


@pytest.mark.parametrize(("driver", "stream"), PLAYED, ids=IDS)
def test_a_drive_that_is_cancelled_in_a_call_leaves_it_in_doubt_and_asks_nothing_more(
    driver: RuntimeDriver, stream: bool, tmp_path: Path
) -> None:
    play = Play(driver, tmp_path, stream, lines=([note("a"), Call("desk.hang", {"text": "b"}, "h1")], "done"))

    async def go() -> None:
        begun = asyncio.Event()

        @play.gateway.tool("desk.hang", effect="write")
        async def hang(text: str) -> None:
            play.did(f"hang {text}")
            begun.set()
            await asyncio.sleep(3600)

        driving = asyncio.create_task(play.driven())
        await begun.wait()
        driving.cancel()
        with suppress(asyncio.CancelledError):
            await driving
        assert driving.cancelled()

    asyncio.run(go())
    report = play.run().report()
    assert (report.stop_reason, report.steps.used, report.steps.held) == ("cancelled", 1, 0)
    assert (play.effects, report.calls) == (["hang b", "note a"], {"done": 1, "unknown": 1})
    play.close()
