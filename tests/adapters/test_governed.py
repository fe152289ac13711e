"""What every adapter is made of: the names that a model is shown, and what a drive comes to."""

import asyncio
from collections.abc import Iterator

import pytest

import interlock
from interlock import ConfigError, Gateway, LedgerUnavailable, Run
from interlock.governed import Ended, Governed, Result, driven


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    config = {"ledger": "memory:", "policy": {"allow": ["*"]}, "architecture": {"ungoverned": ["files"]}}
    with interlock.open(config) as opened:
        yield opened


@pytest.fixture
def run(gateway: Gateway) -> Run:
    return gateway.run(agent="bot", tenant="acme", env="test")


def drive(governed: Governed, *, raises: Exception | None = None) -> Result:
    async def go() -> Ended:
        if raises is not None:
            raise raises
        return Ended("done")

    return asyncio.run(driven(governed, go()))


def test_a_tools_own_name_goes_before_how_another_is_spelled(gateway: Gateway, run: Run) -> None:
    """What a model calls `a_b` is the tool `a_b`, whatever else is registered."""
    for name in ("a.b", "a_b", "c.d"):
        gateway.tool(name, effect="read")(lambda: "")
    governed = Governed(run, "mine")
    assert [governed.named(said) for said in governed.offers] == ["a_b", "a.b", "c.d"]
    assert (governed.named("a_b"), governed.named("c_d")) == ("a_b", "c.d")


def test_what_would_be_shown_beside_the_gateways_tools_is_refused_unless_it_was_let_pass(
    gateway: Gateway, run: Run
) -> None:
    gateway.tool("look", effect="read")(lambda: "")
    governed = Governed(run, "mine")
    governed.showing(["look", "files"], ["files"])
    for functions, others in (["look", "erase"], []), (["look"], ["look"]):
        with pytest.raises(ConfigError, match=r"around the gateway: (erase|look);"):
            governed.showing(functions, others)


def test_a_refusal_that_the_runtime_swallows_comes_out_of_the_drive(run: Run) -> None:
    governed = Governed(run, "mine")

    async def go() -> Ended:
        with pytest.raises(ConfigError):
            governed.showing(["erase"])
        return Ended("I could not ask my model.")

    with pytest.raises(ConfigError, match="around the gateway: erase;"):
        asyncio.run(driven(governed, go()))
    assert run.stop_reason is None


def test_what_went_wrong_in_one_drive_is_over_in_the_next(run: Run) -> None:
    governed = Governed(run, "mine")
    failed = drive(governed, raises=LedgerUnavailable("the disk is full"))
    assert (failed.status, failed.report, failed.trouble) == ("failed", None, "the disk is full")
    assert (drive(governed).status, run.stop_reason) == ("completed", "completed")
