"""`interlock policy replay`: what another policy would have said of the calls that the ledger has.

Not the weighing (`policy_replay.py`). Law: it only looks, and that calls would be answered otherwise is no failure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from interlock.faces.cli_open import look, read_config
from interlock.faces.cli_options import Config, Json, OneTenant, in_json
from interlock.faces.cli_print import Bar, document, moment, say, show, table, text

if TYPE_CHECKING:
    from rich.text import Text

    from interlock.policy_replay import PolicyReplay


def replay(
    policy: Annotated[
        Path, typer.Option("--policy", metavar="FILE", help="The config whose policy is asked.")
    ],
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="7d", help="Runs that were opened in this time.")
    ] = "7d",
    tenant: OneTenant = None,
    everything: Annotated[bool, typer.Option("--all", help="What would stay as it is, too.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask another policy about the calls that the ledger has: what would now be allowed, asked, denied, by which rule.
    Nothing is written."""
    from interlock.policy_replay import policy_replay

    asked = read_config(policy)
    with look(config) as gateway:
        now = gateway.clock.now()
        start = now - _span(since)
        with Bar("calls", start, now) as bar:
            found = policy_replay(gateway.store, asked, since=start, tenant=tenant, told=bar.at)
    if in_json(as_json):
        document({**msgspec.structs.asdict(found), "since": moment(start)})
        return
    _tell(found, everything=everything)


def _span(said: str) -> int:
    from interlock.config.scalars import duration

    try:
        return duration(int(said) if said.isdecimal() else said)
    except ValueError as error:
        raise typer.BadParameter(f"--since {error}") from None


def _tell(found: PolicyReplay, *, everything: bool) -> None:
    lines = [line for line in found.lines if everything or line.changed]
    if lines:
        listed = table("tenant", "tool", "then", "now", "calls", "by", "one of them", whole="one of them")
        for line in lines:
            cells = [text(line.tenant), text(line.tool), *(_verdict(word) for word in (line.then, line.now))]
            listed.add_row(*cells, text(f"{line.calls:,}"), text(", ".join(line.rules)),
                           text(f"{line.run_id} {line.call_id}", "dim"))
        show(listed)
    changed = sum(line.calls for line in found.lines if line.changed)
    say(f"{found.calls:,} calls of {found.runs:,} runs: {changed:,} would be answered otherwise")
    totals = {word: sum(line.calls for line in found.lines if line.now == word) for word in _COLOURS}
    say("now: " + ", ".join(f"{count:,} {_PASSIVE[word]}" for word, count in totals.items()))
    if found.repeated:
        say(f"{found.repeated:,} more were answered from the record of another call: no policy is asked", "dim")
    for name in found.unknown_tools:
        say(f"note: of {name} the ledger has no definition: what the config says of it counts", "yellow")


def _verdict(word: str) -> Text:
    return text(word, _COLOURS.get(word, ""))


_COLOURS = {"allow": "green", "ask": "yellow", "deny": "red", "stop": "bold red"}
_PASSIVE = {"allow": "allowed", "ask": "asked", "deny": "denied", "stop": "stopped"}
