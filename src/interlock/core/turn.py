"""One answer of a model, as every runtime has it in the end: text, calls, usage.

Not a step, which is the ledger's, and not the provider's wire form. Law: with what the tools answered beside it, this
is enough to run an agent again anywhere, so whatever a runtime wraps around it stays out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model turn used. `input_tokens` holds all input, `output_tokens` all output; the others are parts."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0  #: read from the provider's cache
    cache_write_tokens: int = 0  #: written into it, for however long
    cache_write_1h_tokens: int = 0  #: those of them that are kept for an hour
    reasoning_tokens: int = 0  #: of the output
    web_searches: int = 0  #: made by the provider

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            tokens = getattr(self, name)
            if type(tokens) is not int or tokens < 0:  # a ledger that took it could not be read again
                raise ValueError(f"{name} must be a whole number of tokens, not negative; it is {tokens!r:.40}")

    @property
    def whole(self) -> bool:
        """False where its parts are more than the whole: such a usage has no price."""
        read_or_written = self.cached_input_tokens + self.cache_write_tokens
        return (
            read_or_written <= self.input_tokens
            and self.cache_write_1h_tokens <= self.cache_write_tokens
            and self.reasoning_tokens <= self.output_tokens
        )

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input_tokens + self.output_tokens


class Call(Struct, frozen=True, omit_defaults=True):
    """One wish of the model to use one tool. `id` ties the answer to it."""

    name: str
    args: Mapping[str, Any] = {}
    id: str = ""
    raw: str = ""  #: the arguments as the model wrote them, where that is no JSON object; `args` is empty then


class Turn(Struct, frozen=True, omit_defaults=True):
    """One answer of the model. Without calls it is the last one, and its text is what the run gives."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    usage: Usage | None = None
    model: str = ""  #: as the answer names it
    response_id: str = ""
