"""What the values in interlock.yaml may be: texts, globs, durations, dollars, URLs, choices.

Not the keys (`file.py`, `serve.py`). Law: as there: strict, and nothing is coerced.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from interlock.conditions import compile_condition
from interlock.config.scalars import count, dedupe, duration, micro_dollars, positive, reference, runtime, share
from interlock.core.call import Effect, Risk, Role
from interlock.core.names import problem_of_name
from interlock.core.verdict import Verdict


def texts(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def some(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("selects nothing; leave it out to select everything")
    return value


def one_of(choices: dict[str, Any], note: str = "") -> BeforeValidator:
    def choose(value: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return choices[value]
        if isinstance(value, Enum):
            return value
        near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"must be one of {', '.join(choices)}{hint}{note}")

    return BeforeValidator(choose)


def named(what: str) -> AfterValidator:
    def check(value: str) -> str:
        problem = problem_of_name(value, what)
        if problem:
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def checked(parse: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(parse)


def compiles(value: str) -> str:
    compile_condition(value)
    return value


def url(value: str) -> str:
    problem = "must be a URL that begins with http:// or https://"
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is none
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(problem)
    if parts.username or parts.password:
        raise ValueError("must not hold a password; use credential:")
    return value


def base(value: str) -> str:
    if any(mark in value for mark in "?#\\") or any(part in (".", "..") for part in value.split("/")):
        raise ValueError("must be a URL without a query, and without '.' or '..' in its path")
    return value


def document(value: str) -> str:
    if "://" in value:
        return url(value)
    return value


def upstream_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        raise ValueError("upstream must be named with a-z, 0-9, _ and - only")
    return value


Count = Annotated[int, checked(count)]
Positive = Annotated[int, checked(positive)]
Dollars = Annotated[int, checked(micro_dollars)]  #: micro-dollars, once parsed
Share = Annotated[float, checked(share)]  #: 0.1 is a tenth
Duration = Annotated[int, checked(duration)]  #: microseconds, once parsed
Reference = Annotated[str, checked(reference)]
ARuntime = Annotated[str, checked(runtime)]
ADedupe = Annotated[Any, checked(dedupe)]
Url = Annotated[str, AfterValidator(url)]
Glob = Annotated[str, named("tool")]
Text = Annotated[str, named("this")]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(texts)]
SomeGlobs = Annotated[tuple[Glob, ...], AfterValidator(some), BeforeValidator(texts)]
SomeTexts = Annotated[tuple[Text, ...], AfterValidator(some), BeforeValidator(texts)]
AnEffect = Annotated[Effect, one_of({each.value: each for each in Effect})]
ARisk = Annotated[Risk, one_of({each.value: each for each in Risk})]
ARole = Annotated[Role, one_of({each.value: each for each in Role})]
_VERDICTS = {each.word: each for each in (Verdict.ALLOW, Verdict.ASK, Verdict.DENY, Verdict.STOP)}
Then = Annotated[Verdict, one_of(_VERDICTS)]
_RESTRICTIONS = {word: each for word, each in _VERDICTS.items() if each is not Verdict.ALLOW}
#: because what nobody has declared is of medium risk too
Restriction = Annotated[Verdict, one_of(_RESTRICTIONS, "; a tier grants nothing: use allow:, or a rule with risks:")]


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
