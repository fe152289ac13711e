"""`interlock kill`, `release`, `switches`, `reconcile` and `top-up`: what people do to runs.

Not how it is done (`control.py`). Law: stopping everything is said in so many words; a scope that could hold for nobody
is refused, because whoever throws a switch believes that it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from interlock.core.audit import SYSTEM
from interlock.core.budget import Window
from interlock.core.switch import Mode
from interlock.errors import InterlockError
from interlock.faces.cli_open import act, look
from interlock.faces.cli_options import (
    Agent,
    By,
    CallId,
    Config,
    Count,
    Json,
    Note,
    OneTenant,
    Reason,
    Run,
    RunId,
    Tenant,
    Tool,
    Usd,
    exact,
    in_json,
    json_value,
    named,
)
from interlock.faces.cli_print import clock, complain, document, dollars, moment, say, show, table, text

if TYPE_CHECKING:
    from interlock.core.switch import Switch
    from interlock.gateway import Gateway

Everything = Annotated[bool, typer.Option("--everything", help="Every tenant, agent, tool and run.")]
LOOKED_AT = 1000  #: runs, to tell a person what a switch has stopped


def _scope(
    everything: bool, tenant: str | None, agent: str | None, tool: str | None, run: str | None
) -> dict[str, str]:
    for one, value in (("--agent", agent), ("--run", run), ("--tenant", tenant)):
        exact(one, value)
    named = {"tenant": tenant, "agent": agent, "tool": tool, "run": run}
    scope = {key: value for key, value in named.items() if value}
    if everything and scope:
        raise typer.BadParameter(f"--everything and --{next(iter(scope))} contradict each other: say one of them")
    if not everything and not scope:
        raise typer.BadParameter("say what: --tenant, --agent, --tool, --run, or --everything")
    return scope


def kill(
    *,
    reason: Reason,
    by: By,
    tenant: OneTenant = None,
    agent: Agent = None,
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="NAME", help="This tool; a pattern may be used.", callback=named("tool")),
    ] = None,
    run: Run = None,
    everything: Everything = False,
    mode: Annotated[Mode, typer.Option("--mode", help="writes: plain reads go on.")] = Mode.ALL,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Stop it now. It holds in every process when this returns. Naming several things holds where all of them do."""
    scope = _scope(everything, tenant, agent, tool, run)
    with look(config) as gateway:  # not `act`: a switch waits for nothing that opening would do first
        switch = gateway.control.kill(reason=reason, by=by, mode=mode, **scope)
        _sign(gateway, switch)
        stopped, more = _held(gateway, switch)
    if in_json(as_json):
        document({**_plain(switch), "open_runs": stopped})
        return
    say(f"killed: {switch.scope}{'' if mode is Mode.ALL else '; plain reads go on'}", "bold red")
    if stopped is not None:
        say(f"open runs that it holds for: {stopped}{' or more' if more else ''}")
    say(f"to let go again: interlock release {_again(switch)} --by NAME", "dim")


def _sign(gateway: Gateway, switch: Switch) -> None:
    """A checkpoint over what was just done; where it cannot be signed now, the next gateway does it."""
    try:
        gateway.audit.checkpoint(switch.scope.tenant or SYSTEM)
    except (InterlockError, OSError) as error:
        complain(f"it is done, but no checkpoint could be signed: {error}")


def _held(gateway: Gateway, switch: Switch) -> tuple[int | None, bool]:
    """How many open runs a switch holds for, among the newest. The switch holds whether or not they can be counted."""
    try:
        found = gateway.store.runs(switch.scope.tenant or None, limit=LOOKED_AT)
    except InterlockError:
        return None, False
    held = sum(
        run.stop_reason is None
        and switch.scope.matches(tenant=run.tenant, agent=run.agent, run=run.run_id, tool=switch.scope.tool or None)
        for run in found
    )
    return held, len(found) == LOOKED_AT


def _again(switch: Switch) -> str:
    from shlex import quote

    scope = switch.scope
    named = [f"--{field} {quote(value)}" for field in scope.__struct_fields__ if (value := getattr(scope, field))]
    return " ".join(named) or "--everything"


def release(
    *,
    by: By,
    reason: Reason = "",
    tenant: OneTenant = None,
    agent: Agent = None,
    tool: Tool = None,
    run: Run = None,
    everything: Everything = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let go of just this scope. Every other switch stays, and a run that was stopped stays stopped."""
    scope = _scope(everything, tenant, agent, tool, run)
    with look(config) as gateway:
        switch = gateway.control.release(by=by, reason=reason, **scope)
        _sign(gateway, switch)
        still = [str(each.scope) for each in gateway.control.switches()]
    if in_json(as_json):
        document({**_plain(switch), "still_killed": still})
        return
    say(f"released: {switch.scope}", "green")
    if still:
        say(f"still killed: {'; '.join(still)}", "yellow")


def switches(
    everything: Annotated[bool, typer.Option("--all", help="Released ones, too.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the kill switches that hold."""
    with look(config) as gateway:
        found = gateway.control.switches(active=not everything)
    if in_json(as_json):
        document({"switches": [_plain(each) for each in found]})
        return
    if not found:
        say("nothing was ever killed" if everything else "nothing is killed", "dim")
        return
    listed = table("scope", "stops", "since", "by", "reason", "released")
    for each in found:
        stops = "everything" if each.mode is Mode.ALL else "writes"
        over = f"{clock(each.released_at)} by {each.released_by}" if each.released_at else ""
        colour = "red" if each.active else "dim"
        listed.add_row(
            text(each.scope, colour),
            text(stops),
            text(clock(each.at)),
            text(each.by),
            text(each.reason),
            text(over, "dim"),
        )
    show(listed)


def _plain(switch: Switch) -> dict[str, Any]:
    return {
        "switch_id": switch.switch_id,
        "scope": {key: getattr(switch.scope, key) for key in switch.scope.__struct_fields__},
        "mode": switch.mode,
        "by": switch.by,
        "reason": switch.reason,
        "at": moment(switch.at),
        "active": switch.active,
        "released_at": moment(switch.released_at),
        "released_by": switch.released_by,
        "release_reason": switch.release_reason,
    }


def reconcile(
    *,
    tenant: Tenant,
    run: RunId,
    call: CallId,
    by: By,
    happened: Annotated[
        bool | None, typer.Option("--happened/--did-not-happen", help="What you found when you looked.")
    ] = None,
    value: Annotated[
        str | None, typer.Option("--value", metavar="JSON|@FILE", help="What the tool would have returned.")
    ] = None,
    note: Note = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End an unknown: somebody has looked, and it happened, or it did not."""
    if happened is None:
        raise typer.BadParameter("say what you found: --happened or --did-not-happen")
    if value is not None and not happened:
        raise typer.BadParameter("--value goes with --happened: what did not happen has returned nothing")
    given = None if value is None else json_value("--value", value)
    with act(config) as gateway:
        record = gateway.control.reconcile(
            tenant=tenant, run_id=run, call_id=call, happened=happened, value=given, by=by, note=note
        )
        gateway.noticed(tenant)
    if in_json(as_json):
        told = {"tenant": tenant, "run_id": run, "call_id": record.call.call_id, "tool": record.call.tool}
        document({**told, "state": record.state, "settled_at": moment(record.settled_at)})
        return
    say(f"{record.call.tool} ({call}) is {record.state} now", "green")


def top_up(
    *,
    tenant: Tenant,
    by: By,
    run: Run = None,
    agent: Agent = None,
    tool: Tool = None,
    window: Annotated[
        Window | None, typer.Option("--window", help="Of what is not a run: the window that runs now.")
    ] = None,
    steps: Count = 0,
    tool_calls: Count = 0,
    usd: Usd = 0.0,
    tokens: Count = 0,
    note: Note = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Raise the limits of a run, or of an agent's, a tool's or the tenant's window. What has stopped stays stopped."""
    with act(config) as gateway:
        account = gateway.control.top_up(
            tenant=tenant, by=by, note=note, run_id=run or "", agent=agent or "", tool=tool or "",
            window=window or ("run" if run else ""), steps=steps, tool_calls=tool_calls, usd=usd, tokens=tokens,
        )
        gateway.noticed(tenant)
    extra = {**msgspec.structs.asdict(account.extra), "usd": account.extra.usd / 1e6}
    if in_json(as_json):
        document(
            {"tenant": tenant, "run": run, "agent": agent, "tool": tool, "window": window or "run", "extra": extra}
        )
        return
    told = [
        f"{name} {dollars(account.extra.usd) if name == 'usd' else value}" for name, value in extra.items() if value
    ]
    what = next(
        (f"{kind} {name}" for kind, name in (("run", run), ("agent", agent), ("tool", tool)) if name),
        f"tenant {tenant}",
    )
    say(f"topped up: {what} has {', '.join(told)} above its limits", "green")
