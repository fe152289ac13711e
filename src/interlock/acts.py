"""What every act of a person needs: words that may be kept, and a transaction that the audit is told of.

Not the acts (`control.py`, `kill_switches.py`). Law: nothing that a person says is kept before it was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from interlock.core.names import problem_of_name, problem_of_words
from interlock.errors import Refused
from interlock.ports import Key
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.gateway import Gateway

T = TypeVar("T")


def words(gateway: Gateway, by: str, said: str, what: str = "note") -> str:
    """What a person says, without secrets. Raises Refused where that, or their name, cannot be kept."""
    problem = (problem_of_name(by, "by") if by else None) or problem_of_words(said, what)
    if problem is not None:
        raise Refused(problem)
    return gateway.redactor.redact_text(said)


def commit(gateway: Gateway, keys: Sequence[Key], fn: Callable[[Tx], T]) -> T:
    """Do it in one transaction on these rows, the first of which says whose audit it is told in."""
    value = gateway.committer.run(Unit(keys, fn))
    gateway.noticed(keys[0].tenant)
    return value
