"""Waiting for what is mostly there already."""

import asyncio

import pytest

from interlock.faces.http.receive import within


async def there():
    return 7


async def after(seconds):
    await asyncio.sleep(seconds)
    return 7


async def failing(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise KeyError("no")


def test_what_is_there_is_given_without_a_turn_of_the_loop():
    coroutine = within(0.0, there())
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value == 7


def test_what_comes_later_is_waited_for():
    async def main():
        return [await within(10, after(0)), await within(10, after(0.01))]

    assert asyncio.run(main()) == [7, 7]


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_an_exception_comes_out(turns):
    with pytest.raises(KeyError):
        asyncio.run(within(10, failing(turns)))


def test_what_does_not_come_in_time_is_cancelled():
    ended = []

    async def never():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def main():
        with pytest.raises(TimeoutError):
            await within(0.01, never())

    asyncio.run(main())
    assert ended == ["cancelled"]


def test_whoever_waits_can_be_cancelled():
    async def main():
        waiting = asyncio.ensure_future(within(10, after(10)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
