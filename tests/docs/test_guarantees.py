"""docs/guarantees.md is its own manifest: each promise has a limit and a test, and each test that it names exists."""

import re

import pytest

from tests.docs.pages import ROOT, every_test

TEXT = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
PROMISES = {
    found[1]: found[2] for found in re.finditer(r"^### ([A-Z]\d+)\. .+\n((?:(?!^##).*\n)+)", TEXT, re.MULTILINE)
}
_PROOF = re.compile(r"`([\w/]+\.py::\w+)`")


def test_there_are_promises_and_each_has_its_own_number():
    numbers = re.findall(r"^### (\S+)\. ", TEXT, re.MULTILINE)
    assert len(PROMISES) == len(numbers) > 20


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_has_a_limit_and_a_test(promise):
    text = PROMISES[promise]
    assert "**Limit.**" in text
    proofs = _PROOF.findall(text.partition("**Proof:**")[2])
    assert proofs, f"{promise} names no test"
    assert set(proofs) <= every_test(), f"{promise}: {sorted(set(proofs) - every_test())}"


def test_every_limit_and_promise_shown_on_a_gateway_is_told():
    """The other way: what tests/docs/test_promises.py shows is named by some promise."""
    shown = {each for each in every_test() if each.startswith("tests/docs/test_promises.py::")}
    told = set(_PROOF.findall(TEXT))
    assert shown <= told, f"no promise names {sorted(shown - told)}"
