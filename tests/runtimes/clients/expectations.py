"""What each client does where clients differ: data for the tests, which hold the clients to it, and for the docs.

Not what holds for all of them: that is `test_contract.py`. No runtime is imported here, so that `make docs` can read
it without any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

NEWEST, HANDSHAKE = "2026-07-28", "2025-11-25"


class Lost(NamedTuple):
    """What a client does when the answer to a call gets lost."""

    sends: int = 1  #: how often it sends the call in all, where the second answer arrives
    ends: str = ""  #: the exception that ends the run; "": the model is told, and the run goes on


class Expected(NamedTuple):
    """One client."""

    name: str
    module: str  #: its driver, and the name of its example in docs/mcp-clients.md
    run_by: Literal["_meta", "header"]
    call_by: Literal["_meta", "baggage", "claudecode/toolUseId", ""]  #: "": by nothing
    cut: Lost  #: the connection breaks
    bad_gateway: Lost  #: a proxy between them answers 502
    protocol: str = NEWEST
    baggage: bool = True  #: OpenTelemetry's baggage arrives in `_meta`
    unshown: str = ""  #: the exception that ends the run after a call of a tool that it was not shown; "": none does
    checks: bool = False  #: it checks arguments itself, and sends none that do not fit
    stopped: str = ""  #: the exception that ends its run once ours has stopped; "": the model is told
    person: Literal["handler", "interrupt", "cancel", ""] = ""  #: how it puts something to a person; "": it cannot

    @property
    def example(self) -> str:
        """The name of its example in the docs, which is that of its extra."""
        return self.module.replace("_", "-")


CLIENTS = (
    Expected(
        "OpenAI Agents SDK", "openai_agents", run_by="_meta", call_by="_meta", unshown="ModelBehaviorError",
        cut=Lost(sends=2), bad_gateway=Lost(sends=2),
    ),
    Expected(
        "Pydantic AI", "pydantic_ai", run_by="_meta", call_by="_meta", person="handler",
        cut=Lost(ends="RemoteProtocolError"), bad_gateway=Lost(),
    ),
    Expected(
        "LangChain", "langchain", run_by="header", call_by="baggage", person="interrupt",
        cut=Lost(ends="RemoteProtocolError"), bad_gateway=Lost(ends="MCPError"),
    ),
    Expected(
        "Claude Code", "claude_agent", run_by="header", call_by="claudecode/toolUseId", baggage=False,
        person="cancel", stopped="ResultError", cut=Lost(), bad_gateway=Lost(),
    ),
    Expected("Agent Framework", "agent_framework", run_by="_meta", call_by="_meta", checks=True, cut=Lost(),
             bad_gateway=Lost()),
    Expected(
        "Google ADK", "google_adk", run_by="header", call_by="baggage", protocol=HANDSHAKE, person="handler",
        cut=Lost(), bad_gateway=Lost(),
    ),
    Expected(
        "CrewAI", "crewai", run_by="header", call_by="", protocol=HANDSHAKE, baggage=False, checks=True,
        stopped="APIStatusError", cut=Lost(), bad_gateway=Lost(),
    ),
)  # fmt: skip

_PERSON = {
    "handler": "its elicitation handler is called, and the call goes on",
    "interrupt": "LangGraph interrupt; the call goes on when it is resumed",
    "cancel": "declares that there is one, and cancels for them: `APPROVAL_REQUIRED`",
    "": "cannot ask: `APPROVAL_REQUIRED`",
}
_RUN = {"_meta": "`_meta`", "header": "`Interlock-Run-Id`"}
_CALL = {
    "_meta": "`_meta`", "baggage": "baggage, by a hook as above",
    "claudecode/toolUseId": "`claudecode/toolUseId`, by itself", "": "nothing; the gateway makes an id",
}


def _lost(lost: Lost) -> str:
    if lost.ends:
        return f"run ends: `{lost.ends}`"
    return "sent again" if lost.sends > 1 else "model is told"


ROWS: dict[str, Callable[[Expected], str]] = {
    "protocol": lambda each: each.protocol,
    "names its run by": lambda each: _RUN[each.run_by],
    "baggage of OpenTelemetry names the run": lambda each: "yes" if each.baggage else "no",
    "names its calls by": lambda each: _CALL[each.call_by],
    "calls of a tool that it was not shown": (
        lambda each: f"never sent; run ends: `{each.unshown}`" if each.unshown else "never sent; it tells the model"
    ),
    "arguments that do not fit": lambda each: "never sent; it tells the model" if each.checks else "the gateway tells",
    "connection breaks after the effect": lambda each: _lost(each.cut),
    "502 after the effect": lambda each: _lost(each.bad_gateway),
    "run has stopped": (
        lambda each: f"model proxy answers 402, run ends: `{each.stopped}`" if each.stopped else "model is told"
    ),
    "a person at the client (`ask_in_client`)": lambda each: _PERSON[each.person],
}


def table() -> str:
    """For docs/mcp-clients.md."""
    lines = ["| | " + " | ".join(each.name for each in CLIENTS) + " |", "|---" * (len(CLIENTS) + 1) + "|"]
    lines += [f"| {what} | " + " | ".join(cell(each) for each in CLIENTS) + " |" for what, cell in ROWS.items()]
    return "\n".join(lines)
