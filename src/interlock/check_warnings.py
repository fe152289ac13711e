"""What in a valid config looks like a mistake.

Not what is wrong with it: that is refused when it is loaded. Law: each warning is a fact about this config and these
tools, never a matter of taste, and says what follows from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache

from interlock.conditions import reads
from interlock.config import Config
from interlock.core.call import Tool
from interlock.core.policy import Rule
from interlock.core.verdict import Verdict
from interlock.yaml_source import Place

MOST_PAIRS = 100_000  #: of a rule and a tool, that a program's first run looks at


def warnings_for(config: Config, tools: Mapping[str, Tool], *, registered: bool) -> Iterator[str]:
    """Everything that looks odd, as `interlock.yaml:12: …`. `registered`: the tools are all there are."""
    yield from grants_everything(config)
    if registered:
        yield from _names_nobody(config, tools)
    for rule, where in _own_rules(config):
        yield from _arguments(config, rule, where, tools)
        yield from _idle(config, rule, where, tools, registered=registered)
    yield from _roles_of_nothing(config, tools)
    yield from _asked_in_vain(config, tools)
    yield from _caps_in_vain(config)
    yield from _forgotten_answers(config)


def at_first_run(config: Config, tools: Mapping[str, Tool]) -> Iterator[str]:
    """What shows once a program has registered its tools: names that nobody bears, arguments that a tool lacks."""
    if not tools or len(config.policy.rules) * len(tools) > MOST_PAIRS:  # a run should not wait for it
        return
    yield from _names_nobody(config, tools)
    for rule, where in _own_rules(config):
        yield from _arguments(config, rule, where, tools)
    yield from _roles_of_nothing(config, tools)


def _own_rules(config: Config) -> Iterator[tuple[Rule, str]]:
    """The rules that the user wrote, each with its place in words."""
    from interlock.config.problems import rules_in

    by_id = {rule.id: rule for rule in config.policy.rules}
    for place, raw in rules_in(config.source.value):
        yield by_id[raw["id"]], f"{config.source.at(place)}: rule {raw['id']}"


def grants_everything(config: Config) -> Iterator[str]:
    """The places that allow every tool."""
    places: list[Place] = [("policy", "allow"), *(("tenants", name, "policy", "allow") for name in config.tenants)]
    for place in places:
        if "*" in _texts_at(config, place):
            yield f"{_at(config, place)}: '*' grants every tool, whatever is registered later too; name what is needed"
    for rule, where in _own_rules(config):
        callers = rule.tenants or rule.agents or rule.envs or rule.runtimes
        free = not (callers or rule.effects or rule.risks or rule.when)
        if rule.then is Verdict.ALLOW and "*" in rule.tools and free:
            yield f"{where} grants every tool, whatever is registered later too; name what is needed"


def _names_nobody(config: Config, tools: Mapping[str, Tool]) -> Iterator[str]:
    for place, glob in _tool_names(config):
        if glob not in tools and not any(fnmatchcase(name, glob) for name in tools):
            near = difflib.get_close_matches(glob, list(tools), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{_at(config, place)}: no registered tool is called {glob!r}{hint}"


def _tool_names(config: Config) -> Iterator[tuple[Place, str]]:
    """Every name or glob of a tool in the file, and where it stands."""
    from interlock.config.problems import rules_in

    places: list[Place] = [("policy", "allow"), ("approvals", "required_for")]
    places += [("tenants", name, "policy", "allow") for name in config.tenants]
    places += [(*place, "tools") for place, _ in rules_in(config.source.value)]
    for place in places:
        for index, glob in enumerate(_texts_at(config, place)):
            yield (*place, index), glob
    for name in config.tools:
        yield ("tools", name), name


def _arguments(config: Config, rule: Rule, where: str, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Where a condition reads what a tool does not have, or may not get."""
    if not rule.when:
        return
    plain, asked = reads(rule.when)
    for tool in tools.values():
        properties = tool.schema.get("properties")
        if not isinstance(properties, Mapping) or not rule.selects(tool) or not _grantable(config, tool):
            continue
        for name in sorted(plain | asked):
            if name not in properties:
                near = difflib.get_close_matches(name, list(properties), n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                follows = "so it denies every call" if name in plain else "so the answer is always the same"
                yield f"{where} reads args.{name}, which {tool.name} does not have{hint}, {follows}"
            elif name in plain and name not in tool.schema.get("required", ()):
                yield (
                    f"{where} reads args.{name}, which a call of {tool.name} may lack, and then it denies; "
                    f"write has(args.{name}) && … or has(args.{name}) before it"
                )


def _roles_of_nothing(config: Config, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Where `tools:` speaks of an argument that none of the tools has which it is about."""
    for glob, declared in config.tools.items():
        schemas = [tool.schema.get("properties") for name, tool in tools.items() if fnmatchcase(name, glob)]
        known = {name for properties in schemas if isinstance(properties, Mapping) for name in properties}
        if not all(isinstance(properties, Mapping) for properties in schemas) or not schemas:
            continue  # nothing is known of one of them
        spoken: list[tuple[Place, str, str]] = [
            (("tools", glob, "arguments", name), name, "so it changes nothing") for name in declared.arguments
        ]
        if declared.cost is not None and declared.cost.argument:
            spoken.append((("tools", glob, "cost", "usd"), declared.cost.argument, "so every call is denied"))
        for place, name, follows in spoken:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                yield f"{_at(config, place)}: {glob} has no argument {name!r}{hint}, {follows}"


def _idle(config: Config, rule: Rule, where: str, tools: Mapping[str, Tool], *, registered: bool) -> Iterator[str]:
    """A rule that can never apply, or never matter."""
    selected = [tool for tool in tools.values() if rule.selects(tool)]
    named = [tool for tool in tools.values() if any(fnmatchcase(tool.name, glob) for glob in rule.tools)]
    if registered and named and not selected:
        yield f"{where} can never apply: no tool that it names has such an effect or risk"
    elif rule.then is not Verdict.ALLOW and not any(_overlap(rule, grant) for grant in _grants(config)):
        yield f"{where} can never matter: nothing grants what it restricts"
    elif rule.then is Verdict.ALLOW and selected and all(_always_refused(config, tool) for tool in selected):
        yield f"{where} can never matter: what it grants is always refused, by {_always_refused(config, selected[0])}"


def _asked_in_vain(config: Config, tools: Mapping[str, Tool]) -> Iterator[str]:
    for index, glob in enumerate(config.approvals.required_for):
        for tool in tools.values():
            by = _always_refused(config, tool) if fnmatchcase(tool.name, glob) else ""
            if by:
                place = ("approvals", "required_for", index)
                yield f"{_at(config, place)}: nobody will be asked about {tool.name}: {by} refuses it anyway"


def _caps_in_vain(config: Config) -> Iterator[str]:
    """The top level holds for everyone: a higher limit below it changes nothing."""
    for section, entries in (("tenants", config.tenants), ("agents", config.agents)):
        for name, caps in entries.items():
            for key, value in caps.run.items():
                top = config.caps.run.get(key)
                if top is not None and value > top:
                    yield f"{_at(config, (section, name, 'budgets', key))}: has no effect: budgets.{key} is lower"


def _forgotten_answers(config: Config) -> Iterator[str]:
    """A tool dedupes for longer than its results are kept: what answers then has no value any more."""
    shortest = min([config.recording.keep, *(each.keep for each in config.recordings.values())])
    for glob, declared in config.tools.items():
        if declared.dedupe is not None and declared.dedupe.window > shortest:
            where = _at(config, ("tools", glob, "dedupe"))
            yield f"{where}: is longer than recording.keep, after which a call is answered as done, without its value"


def _grants(config: Config) -> list[Rule]:
    return [rule for rule in config.policy.rules if rule.then is Verdict.ALLOW]


def _grantable(config: Config, tool: Tool) -> bool:
    return any(bound.rule.then is Verdict.ALLOW for bound in config.policy.rules_for(tool))


def _always_refused(config: Config, tool: Tool) -> str:
    """The rule that refuses a tool to everybody, whatever the arguments, or ''."""
    for bound in config.policy.rules_for(tool):
        rule = bound.rule
        narrow = rule.tenants or rule.agents or rule.envs or rule.runtimes or rule.when
        if rule.then >= Verdict.DENY and not narrow:
            return rule.id
    return ""


def _overlap(one: Rule, other: Rule) -> bool:
    return any(overlap(left, right) for left in one.tools for right in other.tools)


def overlap(left: str, right: str) -> bool:
    """Can one name match both globs? Where a glob has a set of characters (`[ab]`), yes is assumed."""
    if "[" in left or "[" in right:
        return True

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(left) and j == len(right):
            return True
        if i < len(left) and left[i] == "*":
            return meet(i + 1, j) or (j < len(right) and meet(i, j + 1))
        if j < len(right) and right[j] == "*":
            return meet(i, j + 1) or (i < len(left) and meet(i + 1, j))
        if i == len(left) or j == len(right):
            return False
        return (left[i] == right[j] or "?" in (left[i], right[j])) and meet(i + 1, j + 1)

    return meet(0, 0)


def _texts_at(config: Config, place: Place) -> Iterable[str]:
    value = config.source.value
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _at(config: Config, place: Place) -> str:
    from interlock.yaml_source import spelled

    return f"{config.source.at(place)}: {spelled(place)}"
