"""Conditions: a rule's `when`, in the Common Expression Language, compiled once.

Not the weighing of what they say (`core/policy.py`). Law: an expression either gives true or false, or raises; what it
may read is listed here, and nothing else is in its reach.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from interlock.core.policy import Condition

MAX_LENGTH = 4_000

NAMES = ("args", "tool", "run", "tenant", "agent", "env", "now", "provenance")  #: what a condition may read


def compile_condition(expression: str) -> Condition:
    """Compile one expression. Raises ValueError that shows the expression and points at what is wrong with it.

    The condition may be evaluated by many threads at once.
    """
    if not expression.strip():
        raise ValueError("is empty; leave it out to have the rule hold always")
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"has {len(expression)} characters, {MAX_LENGTH} are the most")
    if any("\ud800" <= char <= "\udfff" for char in expression):
        raise ValueError("is not valid Unicode")
    try:
        compiled = _environment().compile(expression)
    except Exception as error:  # the binding raises bare RuntimeErrors, and others for odd text
        raise ValueError(f"does not compile: {_explained(str(error))}") from None
    kind = str(compiled.return_type().name())
    if kind.upper() not in ("BOOL", "DYN"):
        raise ValueError(f"must be true or false, but {expression.strip()!r} gives {kind.lower()}")
    evaluate = compiled.eval

    def condition(names: Mapping[str, Any]) -> bool:
        answer = evaluate(data=names)
        value = answer.value()
        if value is True or value is False:
            return value
        raise ValueError(_no_answer(answer))

    return condition


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # type: ignore[import-untyped]

    text, anything = cel.Type.STRING, cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    kinds = {"args": anything, "run": anything, "provenance": anything, "now": cel.Type.TIMESTAMP}
    return cel.NewEnv(variables={name: kinds.get(name, text) for name in NAMES})


def _no_answer(answer: Any) -> str:
    kind = str(answer.type().name())
    if kind == "ERROR":
        said = re.sub(r"^[A-Z_]+: ", "", str(answer.value()))
        for found, words in _WORDS:
            said = found.sub(words, said)
        return said
    return f"it gives {kind.lower()}, not true or false"


_WORDS = (
    (re.compile(r"^Key not found in map : (.*)$", re.DOTALL), r"it reads \1, which the call does not have"),
    (re.compile(r"^No matching overloads found : _?([^_(]+)_?\((.*)\)$"), r"\1 does not apply to \2"),
    (re.compile(r"^No matching overloads found : .*$", re.DOTALL), "it does not apply to values of these kinds"),
    (re.compile(r"^Applying SELECT to non-message type$"), "it looks for a name in what has no names"),
    (re.compile(r"^Index error: index=(-?\d+) size=(\d+)$"), r"it reads place \1 of a list of \2"),
)
"""What the evaluator says, for whoever made the call."""

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): ")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)' \(in container ''\)")


def _explained(message: str) -> str:
    """The compiler's message for people: without its codes, with a nearest name, its caret under the expression."""
    message = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", message.strip())
    message = re.sub(r" expecting \{[^\n]*\}", "", message)
    message = _PLACE.sub(lambda found: f"{_line(found[1])}column {found[2]}: ", message)
    message = _UNDECLARED.sub(_undeclared, message).replace("\n | ", "\n")
    return message.replace("\n", "\n      ")


def _line(number: str) -> str:
    return "" if number == "1" else f"line {number}, "


def _undeclared(found: re.Match[str]) -> str:
    near = difflib.get_close_matches(found[1], NAMES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"a condition may read {', '.join(NAMES)}"
    return f"there is no {found[1]!r}; {hint}"


# --- what a condition reads ------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      |(?P<text>[rRbB]{0,2}(?:
           '''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<quoted>`[^`]*`)
      |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def reads(expression: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the arguments that an expression reads without asking whether they are there, and those it asks for.

    `has(args.x)` and `"x" in args` ask; anything read beside such a question counts as asked for.
    """
    tokens = [(str(each.lastgroup), each[0]) for each in _TOKEN.finditer(expression) if each.lastgroup != "space"]
    plain: set[str] = set()
    asked: set[str] = set()
    for place, token in enumerate(tokens):
        if token != ("name", "args") or _text(tokens, place - 1) == ".":
            continue
        name, after = _argument(tokens, place + 1)
        if name is None:
            if _text(tokens, place - 1) == "in" and after not in (".", "["):
                asked.update(_literal(tokens, place - 2))
        elif _text(tokens, place - 1) == "(" and _text(tokens, place - 2) == "has" and after == ")":
            asked.add(name)
        elif after != "(":  # args.exists(…) calls a macro
            plain.add(name)
    return frozenset(plain - asked), frozenset(asked)


def _argument(tokens: list[tuple[str, str]], place: int) -> tuple[str | None, str]:
    """The argument that is picked here, if one is, and the token after it."""
    mark = _text(tokens, place)
    if mark == "." and place + 1 < len(tokens):
        return tokens[place + 1][1].strip("`"), _text(tokens, place + 2)
    if mark == "[":
        names = _literal(tokens, place + 1)
        if names and _text(tokens, place + 2) == "]":
            return names[0], _text(tokens, place + 3)
    return None, mark


def _text(tokens: list[tuple[str, str]], place: int) -> str:
    return tokens[place][1] if 0 <= place < len(tokens) and tokens[place][0] != "text" else ""


def _literal(tokens: list[tuple[str, str]], place: int) -> list[str]:
    if not (0 <= place < len(tokens) and tokens[place][0] == "text"):
        return []
    try:
        value = ast.literal_eval(tokens[place][1])
    except (SyntaxError, ValueError):
        return []
    return [value] if isinstance(value, str) else []
