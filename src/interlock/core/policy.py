"""Rules: what is granted, and what restricts a grant.

Not how a file spells them (`config/`) and not the weighing (`decide.py`). Law: allow grants, everything else only
restricts, and a tool that nothing allows is denied; a rule whose expression cannot be evaluated denies. Rules are found
by tool, so that the cost of a decision does not grow with the number of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from interlock.core.call import Effect, Risk, Tool, ToolCall
from interlock.core.verdict import Reason, StopReason, Verdict

Condition = Callable[[Mapping[str, Any]], bool]
"""A compiled `when`: the names that it may read → true or false. Raises where it cannot be evaluated."""

_GLOB = frozenset("*?[")


class Rule(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One line of the policy. A selector left empty selects all; several selectors must all hold."""

    id: str
    then: Verdict
    tools: tuple[str, ...] = ("*",)  #: globs
    tenants: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    risks: tuple[Risk, ...] = ()
    when: str = ""
    reason: str = ""

    def selects(self, tool: Tool) -> bool:
        """True where the rule speaks of this tool; who calls it is another question."""
        return (
            (not self.effects or tool.effect in self.effects)
            and (not self.risks or tool.risk in self.risks)
            and any(fnmatchcase(tool.name, glob) for glob in self.tools)
        )


class BoundRule:
    """A rule with its condition compiled and its answer ready."""

    __slots__ = ("_narrow", "condition", "reason", "rule")

    def __init__(self, rule: Rule, condition: Condition | None) -> None:
        self.rule = rule
        self.condition = condition
        text = rule.reason or _DEFAULT_TEXT[rule.then].format(id=rule.id)
        stop = StopReason.POLICY_STOP if rule.then is Verdict.STOP else None
        self.reason = Reason("policy", rule.then, text, rule.id, stop)
        self._narrow = bool(rule.tenants or rule.agents or rule.envs or rule.runtimes)

    def applies(self, call: ToolCall) -> bool:
        """True where the rule speaks of whoever calls."""
        if not self._narrow:
            return True
        rule = self.rule
        return (
            _among(call.tenant, rule.tenants)
            and _among(call.agent, rule.agents)
            and _among(call.env, rule.envs)
            and _among(call.runtime, rule.runtimes)
        )

    def weigh(self, names: Mapping[str, Any]) -> Reason | None:
        """The rule's answer, given the names that its condition may read."""
        if self.condition is None:
            return self.reason
        try:
            return self.reason if self.condition(names) else None
        except Exception as error:  # whatever the expression ran into, it fails closed
            text = f"rule {self.rule.id} cannot be evaluated ({error}), so it denies"
            return Reason("policy", Verdict.DENY, text, self.rule.id)


class Policy:
    """The rules in force, indexed by tool. `version` is the digest of `text`: all that the policy says, canonical."""

    def __init__(
        self, rules: Iterable[Rule], conditions: Mapping[str, Condition], version: str, text: bytes = b""
    ) -> None:
        self.version = version
        self.text = text
        self.rules = tuple(rules)
        self.reads_provenance = any("provenance" in rule.when for rule in self.rules)
        self._exact: dict[str, list[tuple[int, BoundRule]]] = {}
        self._globs: list[tuple[int, BoundRule]] = []
        self._found: dict[str, tuple[Tool, tuple[BoundRule, ...]]] = {}
        for place, rule in enumerate(self.rules):
            bound = (place, BoundRule(rule, conditions[rule.when] if rule.when else None))
            if any(_GLOB & set(glob) for glob in rule.tools):
                self._globs.append(bound)
            else:
                for name in rule.tools:
                    self._exact.setdefault(name, []).append(bound)

    def rules_for(self, tool: Tool) -> tuple[BoundRule, ...]:
        """The rules that speak of a tool, in the order in which they were written. Worked out once for each tool."""
        found = self._found.get(tool.name)
        if found is None or found[0] is not tool:  # the tool was declared anew
            near = [*self._exact.get(tool.name, ()), *self._globs]
            rules = tuple(bound for _, bound in sorted(near, key=lambda each: each[0]) if bound.rule.selects(tool))
            found = self._found[tool.name] = (tool, rules)
        return found[1]


def _among(name: str, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


_DEFAULT_TEXT = {
    Verdict.ALLOW: "allowed by {id}",
    Verdict.ASK: "{id} asks for a person",
    Verdict.DENY: "{id} denies it",
    Verdict.STOP: "{id} stops the run",
}
