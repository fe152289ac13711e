"""YAML with positions: a file's plain value, and the line of everything in it.

Not a validator of what is said, and not all of YAML: one document, no aliases, no tags, text keys. Law: YAML 1.2
booleans (`off` and `no` are text); nothing is guessed, nothing is executed, and no input costs more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from interlock.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_SHOWN = 50

Place = tuple[str | int, ...]


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where: the line is 0 where there is none."""

    place: Place
    text: str
    line: int = 0


class Source:
    """A value as it was written, with the line of each place in it, and what was wrong with the writing."""

    def __init__(self, name: str, value: Any, lines: Mapping[Place, int], problems: tuple[Problem, ...] = ()) -> None:
        self.name = name
        self.value = value
        self.lines = lines
        self.problems = problems

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest thing around it; 0 where the value came from no file."""
        return next((self.lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self.lines), 0)

    def at(self, place: Place) -> str:
        """`interlock.yaml:12`, or the name alone."""
        line = self.line(place)
        return f"{self.name}:{line}" if line else self.name

    def error(self, problems: list[Problem]) -> ConfigError:
        """One error that lists all problems, in the order of the file."""
        lined = [(problem.line or self.line(problem.place), problem) for problem in problems]
        lined.sort(key=lambda each: each[0])
        texts = [self._text(line, problem) for line, problem in lined[:MAX_SHOWN]]
        if len(lined) > MAX_SHOWN:
            texts.append(f"{self.name}: … and {len(lined) - MAX_SHOWN} more problems")
        return ConfigError("\n".join(texts))

    def _text(self, line: int, problem: Problem) -> str:
        where = f"{self.name}:{line}" if line else self.name
        return f"{where}: {spelled(problem.place)}: {problem.text}" if problem.place else f"{where}: {problem.text}"


def spelled(place: Place) -> str:
    """`policy.rules[0].when`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() else ascii(part)[1:-1]
            text += f".{shown}" if text else shown
    return text


def read(path: Path, *, remedy: str = "") -> Source:
    """Read a file. Raises ConfigError where it cannot be read, is too large, or is not UTF-8."""
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{name}: there is no such file{remedy and f'; {remedy}'}") from None
    except IsADirectoryError:
        raise ConfigError(f"{name}: is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name}: is larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: is not UTF-8 text") from None
    return parse(name, text)


def parse(name: str, text: str) -> Source:
    """Parse one document. Raises ConfigError for what is not YAML; duplicate keys and the like become problems."""
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        column = f", column {mark.column + 1}" if mark else ""
        context = f" {error.context}" if error.context else ""
        if context and error.context_mark:
            context += f" that begins on line {error.context_mark.line + 1}"
        raise ConfigError(f"{where}: is not valid YAML: {error.problem}{context}{column}") from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", None)
        where = f"{name}:{text.count(chr(10), 0, position) + 1}" if isinstance(position, int) else name
        raise ConfigError(f"{where}: is not valid YAML: it holds a character that YAML does not allow") from None
    return Source(name, builder.root, builder.lines, tuple(builder.problems))


def plain(name: str, value: Any) -> Source:
    """A value that came from code: the same checks, without lines."""
    problems: list[Problem] = []
    copied = _copied(value, (), problems)
    return Source(name, copied, {}, tuple(problems))


_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _Builder:
    """Puts a value together out of parser events: without recursion, so that no nesting can hurt."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Any = None
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._documents = 0
        self._stack: list[_Open] = []

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise ConfigError(f"{self.name}:{line}: holds more than one document; keep one to a file")
        elif isinstance(event, yaml.AliasEvent):
            text = f"aliases (*{event.anchor}) are not supported; write it out"
            self.problems.append(Problem(self._place(), text, line))
            self._put(None, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._tagless(event, line)
            self._put(self._scalar(event, line), line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._tagless(event, line)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()

    def _tagless(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self.problems.append(Problem(self._place(), "tags are not supported", line))

    def _scalar(self, event: Any, line: int) -> Any:
        if not event.implicit[0]:  # quoted or a block: text
            return event.value
        try:
            return resolved(event.value)
        except ValueError as error:
            self.problems.append(Problem(self._place(), str(error), line))
            return None

    def _open(self, value: Any, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise ConfigError(f"{self.name}:{line}: is nested deeper than {MAX_DEPTH} levels")
        place = self._put(value, line)
        self._stack.append(_Open(value, place))

    def _place(self) -> Place:
        if not self._stack:
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            return (*top.place, len(top.value))
        return (*top.place, top.key) if top.key is not None else top.place

    def _put(self, value: Any, line: int) -> Place:
        """Add a value, or a key, to whatever is open. Gives the place where it landed."""
        if not self._stack:
            self.root, self.lines[()] = value, line
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            place = self._place()
            top.value.append(value)
            self.lines[place] = line
            return place
        if top.key is None:
            self._take_key(top, value, line)
            return (*top.place, "?")  # where a list or mapping stands as a key, which has been refused
        place, top.value[top.key], top.key = self._place(), value, None
        return place

    def _take_key(self, top: _Open, key: Any, line: int) -> None:
        if not isinstance(key, str):
            word = "true or false" if isinstance(key, bool) else f"a {type(key).__name__}"
            shown = "nothing" if key is None else word
            self.problems.append(Problem(top.place, f"a key must be text, not {shown}; put it in quotes", line))
            key = f"?{len(top.value)}"
        place = (*top.place, key)
        if key in top.value:
            self.problems.append(Problem(place, f"duplicate key, it stands on line {self.lines[place]} already", line))
        else:
            self.lines[place] = line
        top.key = key


class _Open:
    """A list or mapping that is not at its end yet; `key` is the one that waits for its value."""

    __slots__ = ("key", "place", "value")

    def __init__(self, value: Any, place: Place) -> None:
        self.value = value
        self.place = place
        self.key: str | None = None


_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}


def resolved(text: str) -> Any:
    """What a plain scalar means, by the core schema of YAML 1.2. Raises ValueError for a number of absurd length."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        if len(text) > 100:
            raise ValueError("this number has too many digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _copied(value: Any, place: Place, problems: list[Problem]) -> Any:
    if len(place) > MAX_DEPTH:
        problems.append(Problem(place[:3], f"is nested deeper than {MAX_DEPTH} levels"))
        return None
    if isinstance(value, Mapping):
        return dict(_copied_items(value, place, problems))
    if isinstance(value, (list, tuple)):
        return [_copied(child, (*place, index), problems) for index, child in enumerate(value)]
    return value


def _copied_items(value: Mapping[Any, Any], place: Place, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if isinstance(key, str):
            yield str(key), _copied(child, (*place, str(key)), problems)
        else:
            problems.append(Problem(place, f"a key must be text, not a {type(key).__name__}"))
