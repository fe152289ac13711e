"""What a scripted model says, and what it was told: the same for every runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One tool call that the model asks for. `tool` as the gateway names it."""

    tool: str
    args: dict[str, Any]
    id: str

    @property
    def plain(self) -> str:
        """Its name without dots, as most model APIs want it."""
        return self.tool.replace(".", "_")


Turn = str | Sequence[Call]
"""One answer of the model: its last words, or calls."""


class Script:
    """The model's turns. A turn that is a function is asked when it is its turn: the world may change in between."""

    def __init__(self, *turns: Turn | Callable[[], Turn]) -> None:
        self._turns = turns
        self._next = 0
        self.offered: list[str] = []  #: the names of the tools that the model was shown last
        self.told: list[str] = []  #: what it was told of each of its calls, in the order of the conversation

    def turn(self, offered: Sequence[str], told: Sequence[str]) -> Turn:
        """The next answer, to what the model is shown: the tools, and every result so far."""
        self.offered, self.told = list(offered), list(told)
        said = self._turns[self._next]
        self._next += 1
        return said() if callable(said) else said


class Elsewhere(Exception):
    """What ended a run in another process."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind  #: the name of its class there


class Way(NamedTuple):
    """How a client reaches the gateway, and who sits at it."""

    url: str
    key: str
    run_id: str
    person: Callable[[], str] | None = None  #: is asked, and says accept, decline or cancel
    provider: Any = None  #: where a model has to be served: what takes the script
    adjust: Callable[[Any], None] = lambda _: None  #: changes what the docs advise, where a test is about that
