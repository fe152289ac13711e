"""Model usage in micro-dollars.

Not a budget. Law: an unknown price is None, never zero. Prices of the config come first, then those that genai-prices
brings with it (offline), then the config's `default`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from math import ceil
from typing import Any

from msgspec import Struct

from interlock.core.call import MICROS


class Usage(Struct, frozen=True, kw_only=True):
    """What a model turn used. `input_tokens` holds the cached ones too, as providers report it."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            tokens = getattr(self, name)
            if type(tokens) is not int or tokens < 0:  # a ledger that took it could not be read again
                raise ValueError(f"{name} must be a whole number of tokens, not negative; it is {tokens!r:.40}")

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input_tokens + self.output_tokens


class Price(Struct, frozen=True):
    """What a model costs, in micro-dollars for a million tokens."""

    input: int
    output: int
    cached: int | None = None  #: cached input; None: as input

    def of(self, usage: Usage) -> int:
        """Micro-dollars, rounded up."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached is None else self.cached
        total = (usage.input_tokens - cached) * self.input + cached * cached_price + usage.output_tokens * self.output
        return -(-total // MICROS)


class Meter:
    """Prices by model name."""

    def __init__(self, prices: Mapping[str, Any]) -> None:
        self._prices = {name: Price(price.input, price.output, price.cached) for name, price in prices.items()}

    def price(self, model: str, usage: Usage) -> int | None:
        """What a turn cost, in micro-dollars; None where nobody knows."""
        own = self._prices.get(model)
        if own is None:
            known = _known_price(model, usage)
            if known is not None:
                return known
            own = self._prices.get("default")
        return None if own is None else own.of(usage)

    def window(self, model: str) -> int | None:
        """The most tokens that the model takes in, where that is known."""
        return _known_window(model)


@lru_cache(maxsize=4096)
def _known_price(model: str, usage: Usage) -> int | None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    used = Used(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_input_tokens
    )
    try:
        return ceil(Decimal(calc_price(used, model_ref=model).total_price) * MICROS)
    except LookupError:
        return None


@lru_cache(maxsize=256)
def _known_window(model: str) -> int | None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    try:
        return calc_price(Used(input_tokens=1, output_tokens=1), model_ref=model).model.context_window
    except LookupError:
        return None
