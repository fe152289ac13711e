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
from interlock.core.turn import Usage


class Price(Struct, frozen=True):
    """What a model costs, in micro-dollars for a million tokens."""

    input: int
    output: int
    cached: int | None = None  #: cached input; None: as input
    cache_write: int | None = None  #: input that goes into the provider's cache; None: as input

    def of(self, usage: Usage) -> int | None:
        """Micro-dollars, rounded up. None for what is not paid by the token."""
        if usage.web_searches:
            return None
        cached, written = usage.cached_input_tokens, usage.cache_write_tokens
        total = (usage.input_tokens - cached - written) * self.input + usage.output_tokens * self.output
        total += cached * (self.input if self.cached is None else self.cached)
        total += written * (self.input if self.cache_write is None else self.cache_write)
        return -(-total // MICROS)


class Meter:
    """Prices by model name."""

    def __init__(self, prices: Mapping[str, Any]) -> None:
        self._prices = {
            name: Price(price.input, price.output, price.cached, price.cache_write) for name, price in prices.items()
        }

    def price(self, model: str, usage: Usage) -> int | None:
        """What a turn cost, in micro-dollars; None where nobody knows."""
        if not usage.whole:
            return None
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

    counts = {theirs: tokens for ours, theirs in _THEIR_NAMES.items() if (tokens := getattr(usage, ours))}
    used = Used(**{"input_tokens": 0, "output_tokens": 0} | counts)
    try:
        found = calc_price(used, model_ref=model)
    except (LookupError, ValueError):  # nobody knows the model, or the numbers contradict one another
        return None
    if usage.web_searches and found.model_price.web_searches is None:
        return None
    return ceil(Decimal(found.total_price) * MICROS)


#: reasoning is output, at the price of output, unless the model has another for it
_THEIR_NAMES = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "web_searches": "web_searches",
}


@lru_cache(maxsize=256)
def _known_window(model: str) -> int | None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    try:
        return calc_price(Used(input_tokens=1, output_tokens=1), model_ref=model).model.context_window
    except LookupError:
        return None
