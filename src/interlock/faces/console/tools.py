"""Tools: what each does, what it gets by the policy, how it is enforced, and what has changed about it.

Not the pins (`pins.py`). Law: what an upstream says of a tool is hostile until a person has read it; what is
accepted is just what was shown.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from interlock import pins
from interlock.check import EVERYONE
from interlock.errors import InterlockError
from interlock.faces.cli_tools import Listed
from interlock.faces.cli_tools import listed as all_tools
from interlock.faces.console.desk import Visit
from interlock.faces.http.problems import Problem
from interlock.ports import Performer
from interlock.tools.cooperative import is_cooperative


async def listed(visit: Visit) -> Response:
    """All tools that are registered, or that the config names."""
    found = await visit.blocking(all_tools, visit.gateway)
    changed = [name for name, each in found.items() if each.changed]
    return visit.page(
        "tools.html", tools=[_told(visit, each) for each in found.values()], changed=changed,
    )


async def one(visit: Visit) -> Response:
    """One tool."""
    return await _shown(visit, visit.asked("name"))


async def accept(visit: Visit) -> Response:
    """A yes to the definition that was shown. It holds for every tenant: somebody of one alone cannot give it."""
    name = visit.form.get("tool", "")
    await visit.service.see(visit.principal, "*", f"definition of {name!r:.80} to accept")
    try:
        await visit.blocking(
            visit.gateway.control.accept, name, by=visit.principal.name, note=visit.form.get("note", ""),
            offered=visit.form.get("offered", "") or "nothing",
        )
    except InterlockError as error:
        return await _shown(visit, name, str(error), 409)
    return visit.go("/tool", name=name, done="accepted")


async def _shown(visit: Visit, name: str, problem: str = "", status: int = 200) -> Response:
    found = (await visit.blocking(all_tools, visit.gateway)).get(name)
    if found is None:
        raise Problem(404, "not_found", f"there is no tool {name!r:.80}")
    diff = pins.diff(found.pin) if found.pin is not None else ""
    return visit.page(
        "tool.html", status, told=_told(visit, found), problem=problem,
        schema=json.dumps(dict(found.tool.schema), indent=2),
        definition=json.dumps(dict(found.pin.definition), indent=2) if found.pin is not None else "",
        diff=[(line[:1], line) for line in diff.split("\n")] if diff else [],
        may_accept=visit.may_act_for_all,
    )


def _told(visit: Visit, each: Listed) -> dict[str, Any]:
    registered = visit.gateway.tools.get(each.tool.name)
    lines = [line for line in each.lines if line.tenant == EVERYONE or visit.principal.sees(line.tenant)]
    return {
        "tool": each.tool, "upstream": each.upstream, "pin": each.pin, "changed": each.changed, "lines": lines,
        "registered": registered is not None, "problem": registered.problem if registered is not None else "",
        "grade": _grade(registered.performer) if registered is not None else "",
    }


def _grade(performer: Performer) -> str:
    return "cooperative" if is_cooperative(performer) else "gateway"
