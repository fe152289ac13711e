"""Write the generated parts of docs/ anew: `python -m scripts.docs`; with `--check`, only say what is stale.

A page is prose by hand with blocks between two marks; a block is made from the code and nothing else. tests/docs fails
where a block is not what it would be now, and where a key of the config has no meaning here, or a meaning no key.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from interlock.config import file as shape
from interlock.config.scalars import ledger_url, price
from interlock.config.values import DEFAULTS
from interlock.core.lifecycle import MOVES, Event, State
from interlock.core.run import FAILURES, STOP_TEXTS
from interlock.core.verdict import StopReason
from interlock.faces.cli import app
from interlock.faces.http import openapi
from interlock.faces.http.openapi import STATUSES
from interlock.faces.http.problems import TITLES
from interlock.faces.http.routes import ROUTES
from interlock.testing.adapter_contract import ADAPTER_CONTRACT
from interlock.testing.adapter_contract.exceptions import EXCEPTIONS
from tests.runtimes.clients import expectations

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"<!-- made by scripts/docs\.py: (?P<name>[a-z-]+) -->\n.*?<!-- end of (?P=name) -->", re.DOTALL
)
WIDTH = 100

# --- the config ------------------------------------------------------------------------------------------------------

#: what each key means, by section and key. Types and defaults come from the code.
_MEANINGS = """
File.architecture
    Who owns what. Said for people, for your own program and for the adapters; no decision depends on it.
File.ledger
    Where the ledger is: its address alone, or a mapping.
File.budgets
    What one run may use; and what each tenant may use in each window of time.
File.policy
    What is granted, and what restricts a grant. Left out, nothing is granted.
File.approvals
    When a person is asked, and how.
File.tools
    What each tool is. By its name, or by a glob: a name says more than a glob, and between globs the stricter counts.
File.tenants
    What holds for one tenant alone, on top of everything else.
File.agents
    What holds for one agent, of every tenant, each tenant counted apart.
File.credentials
    Where each credential is found. The secret itself never stands in the config.
File.upstreams
    MCP servers and HTTP APIs whose tools the gateway offers as `upstream.tool`. A name has a-z, 0-9, `_` and `-` only.
File.logging
    What is logged, as one line of JSON each, to the loggers `interlock.calls` and `interlock.stops`.
File.recording
    What is kept of runs for replay, and for how long.
File.parity
    What a replay may do otherwise before parity fails.
Recording.turns
    Keep what the model said, redacted.
Recording.keep
    After so long, turns and what tools returned are taken out of the ledger; at least 1h.
TenantRecording.turns
    `false`: no turn of this tenant is kept.
TenantRecording.keep
    The shorter of this and the top level's counts.
Parity.compare
    How final answers are compared.
Parity.missing
    Calls that may be missing in a run.
Parity.extra
    Calls that may be made on top.
Parity.arguments
    Arguments that may be others, place by place.
Parity.order
    Calls that may stand elsewhere between the steps.
Parity.verdict
    Calls that may be weighed otherwise.
Parity.outcome
    Calls that may end otherwise after the same verdict.
Parity.stop_reason
    1: the run may end otherwise.
Parity.answer
    1: the final answer may be another.
Parity.steps
    Model turns that a run may take more.
Parity.usd
    How much dearer a run may be: 0.1 is a tenth.
Parity.at_least
    The share of repeats on a live model that must surely pass.
Parity.confidence
    How sure: the level of the bounds.
File.prices
    Prices by model name. They go before the prices that Interlock brings with it; `default` holds where nobody knows a
    price.
File.audit
    Where signed checkpoints go, and what signs them.
File.telemetry
    Whether spans are made.
File.doctor
    What `interlock doctor` is told.
File.limits
    The most that goes through one call.
File.serve
    How `interlock serve` stands as a service.
Serve.host
    The address to listen on. One that is not this machine's own needs keys or an identity provider.
Serve.port
    The port to listen on.
Serve.url
    How others reach the gateway, for links and as the audience of tokens.
Serve.workers
    Processes that serve. More than one needs a PostgreSQL ledger.
Serve.body_bytes
    The largest request that is read.
Serve.body_seconds
    How long a request may take to arrive.
Serve.oidc
    An identity provider whose tokens are taken beside our own keys.
Serve.mcp
    How MCP clients are answered at `/mcp`.
Serve.models
    The model proxy.
Serve.slack
    A Slack channel that is told of approvals.
Serve.cooperative
    Tools that live in the agents' own processes: admitted and settled over HTTP, performed by the client.
CooperativeTool.description
    What a model is told of it.
CooperativeTool.input_schema
    The JSON Schema of its arguments. Left out: any object.
Oidc.issuer
    The provider, as its tokens name it.
Oidc.audience
    What its tokens must be meant for.
Oidc.jwks
    Its public keys: a URL, or a file. Left out: as its discovery document says.
Oidc.claims
    Which claims of a token say what.
Oidc.client_id
    To sign people in at the console.
Oidc.client_secret
    The console's own secret at the provider.
Claims.name
    Who it is, as the audit has it.
Claims.tenant
    Whose work it is.
Claims.agent
    Which agent it is.
Claims.env
    Where it runs.
Claims.roles
    What it may do.
McpFront.run_per
    The run of a call that names none: one for each connection, or one for each key and day.
McpFront.ask_in_client
    A person sits at the client: an approval is put to them there too.
McpFront.agent
    The agent of `interlock mcp --stdio`.
McpFront.tenant
    Its tenant.
McpFront.env
    Its env.
Models.openai
    Where requests to `/openai/v1` go.
Models.anthropic
    Where requests to `/anthropic/v1` go.
Models.record
    Keep what was asked and answered, redacted.
Models.hosted_tools
    Tools that may run at the provider, past the gateway: globs over their types, like `web_search*`.
Models.fields
    Fields of a request that are sent on beside those that the proxy knows: globs over their names.
Models.max_output_tokens
    What a turn may put out that names no limit itself, where a budget in dollars or tokens is in force.
Models.body_bytes
    The largest model request that is read.
Models.answer_bytes
    The largest answer that is taken from a provider; for a stream, the largest event.
ModelProvider.url
    The provider's base URL.
ModelProvider.credential
    The credential of ours that is sent to it.
ModelProvider.timeout
    How long one turn may take, from the request to the end of the answer.
Slack.webhook
    Where the URL of the incoming webhook is found; it is a secret.
Slack.approvers
    Who may press the buttons: the id of a Slack user, and the name that answers for them. Nobody else may.
Slack.signing_secret
    Where the secret is found with which Slack signs what comes back.
File.lease
    How long the right to perform a call lasts without a sign of life from its owner: from 1s to 1h. Long calls renew
    theirs.
Architecture.tool_gateway
    The team owns the gateway.
Architecture.runtime
    Who runs the agents: in words, or the adapter that does, which a program loads by this name. See
    [migrate](migrate.md).
Architecture.canary
    A second runtime, which has a share of the runs, so that a change is seen on few of them first. See
    [migrate](migrate.md#6-swap-it).
Architecture.ungoverned
    What agents may have that goes around the gateway, such as a tool that runs at the provider. An adapter refuses each
    such thing by a name; let it pass by that name. See [agent runtimes](runtimes.md).
CanaryEntry.runtime
    An adapter, as above.
CanaryEntry.share
    What part of the runs, as `architecture.chosen(key)` deals them out: 0.05 is a twentieth.
Ledger.url
    A SQLite file (relative to the config), a PostgreSQL database, or memory, which dies with the process.
Ledger.synchronous
    When SQLite says that a commit is done: `full` survives a power cut, `normal` may lose the last moments to one,
    `off` may damage the file.
Budgets.max_steps
    Model turns of a run.
Budgets.max_tool_calls
    Tool calls of a run that are performed. Denied and pending calls cost nothing.
Budgets.max_seconds
    From the opening of a run to its end; the time in which it waits for people is not counted.
Budgets.max_usd
    Dollars of a run, models and tools together.
Budgets.max_tokens
    Tokens of a run, input and output together.
Budgets.max_denials
    After so many denials the run stops.
Budgets.max_repeats
    After so many calls of one tool with the same arguments the next one stops the run.
PolicySection.allow
    Tools that may be used, by name or glob.
PolicySection.rules
    Rules with conditions. Their order does not matter: the strongest verdict wins.
PolicySection.risk
    What all tools of a tier get on top.
RuleEntry.id
    Its name in reasons, audit and policy cases. No two rules share one.
RuleEntry.tools
    Tools that it speaks of.
RuleEntry.tenants
    Tenants that it speaks of. Not to be given under `tenants:`, where the place says it.
RuleEntry.agents
    Agents that it speaks of.
RuleEntry.envs
    Envs that it speaks of.
RuleEntry.runtimes
    Runtimes that it speaks of: what the program said in `gw.run(runtime=…)`.
RuleEntry.effects
    Effects of tools that it speaks of.
RuleEntry.risks
    Risk tiers of tools that it speaks of.
RuleEntry.when
    A CEL expression; the rule applies where it is true. One that cannot be evaluated denies.
RuleEntry.then
    What the rule says.
RuleEntry.reason
    Why, for the model, the person who is asked and the audit.
Approvals.required_for
    Tools that are granted, and for which a person is asked each time.
Approvals.quorum
    How many different people must say yes. One no is enough.
Approvals.expires
    Silence for so long is a no. A yes that is not used for so long expires too.
Approvals.on_reject
    What a no, or silence, does: `deny` refuses the call, `stop` ends the run.
Approvals.webhook
    Who is told of a new approval.
WebhookEntry.url
    Where the signed message is posted.
WebhookEntry.secret
    What it is signed with.
ToolEntry.effect
    What it does to the world. Declared nowhere, in config or code, a tool counts as `irreversible`.
ToolEntry.risk
    Its tier. Declared nowhere: `medium`.
ToolEntry.timeout
    How long one performance may take. Left out: until the run's deadline; of an upstream's tool: the upstream's
    `timeout`.
ToolEntry.dedupe
    How far a second call with the same arguments is answered from the first: in the `run`, for so long across the
    tenant's runs, or not at all. Left out: `run` for `write` and `irreversible`, `off` for the others.
ToolEntry.idempotent
    It dedupes on the key that it is handed, so an unknown may be performed again under the same key.
ToolEntry.errors
    What an exception of a write means: `unknown`, or, where an error proves that nothing happened, `failed`.
ToolEntry.cost
    What a call costs.
ToolEntry.credential
    The credential that it is lent, by its name under `credentials:`.
ToolEntry.arguments
    What each argument is: its role. For people and rules; nothing is decided by it yet.
ToolEntry.returns
    Whether what it returns may be trusted like the user's own words. Left out: `untrusted`.
ToolEntry.budgets
    What all runs of a tenant together may use of it.
CostEntry.usd
    Dollars; or the argument that holds them, as `args.NAME`.
CostEntry.reported
    The tool says what it cost, up to `usd`; where it says nothing, all of `usd` is spent.
TenantEntry.budgets
    The stricter of these and the top level's count.
TenantEntry.recording
    The less of this and the top level's is kept.
TenantEntry.policy
    Grants and rules for this tenant, added to the top level's.
AgentEntry.budgets
    The stricter of these and all others count.
McpEntry.command
    The program to start, as a list of words. It speaks MCP over its standard input and output.
McpEntry.env
    Its environment, beside HOME, PATH and the like. `{credential}` in a value is where its credential goes.
McpEntry.cwd
    Its working directory, relative to the config.
McpEntry.url
    A server that speaks Streamable HTTP. Its credential goes as a bearer token.
UpstreamEntry.mcp
    An MCP server, and how to reach it: either `command` or `url`.
UpstreamEntry.openapi
    An HTTP API: its OpenAPI 3.0 or 3.1 document, a path relative to the config, or a URL. Either this or `mcp`.
UpstreamEntry.base_url
    Where the API is. It goes before the servers that the document names. With `openapi` alone, like the next two.
UpstreamEntry.allow_private
    It may be at a private, loopback or link-local address. Its reads then leave nothing out of the house.
UpstreamEntry.response_bytes
    The largest answer that is read.
UpstreamEntry.credential
    What it is lent. Of an MCP server, each tenant and env then has a connection of its own.
UpstreamEntry.timeout
    How long one request may take, where its tool declares nothing.
Logging.tool_calls
    Every call, with verdict, outcome, rule and reason.
Logging.stop_reasons
    Every stop of a run.
PriceEntry.input
    For a million input tokens.
PriceEntry.output
    For a million output tokens.
PriceEntry.cached
    For a million cached input tokens. Left out: as `input`.
PriceEntry.cache_write
    For a million input tokens that the provider puts into its cache. Left out: as `input`.
Audit.checkpoints
    The file that they are appended to, relative to the config. Left out: beside the ledger, `LEDGER.checkpoints`.
Audit.key
    The private key, relative to the config; made on first use, its public half beside it in `.pub`. Left out:
    `LEDGER.key`.
Audit.every
    A tenant's tip is signed after so many entries, or a second after it moved.
Telemetry.traces
    Spans by the OpenTelemetry GenAI conventions, where the extra `interlock[otel]` is installed.
Doctor.unasked
    Tools that write, and that nobody need be asked about: by name or glob.
Doctor.baseline
    The folder of traces that a change is held against, relative to the config.
LimitsSection.argument_bytes
    Of the arguments of a call.
LimitsSection.argument_depth
    How deep the arguments of a call are nested.
LimitsSection.result_bytes
    Of what a tool returns; what is larger is cut, and says so.
"""
MEANINGS = {
    found[1]: " ".join(found[2].split())
    for found in re.finditer(r"^(\w+\.\w+)\n((?:    .+\n)+)", _MEANINGS, re.MULTILINE)
}

#: units that can be limited in each window of time
QUOTAS = {
    "steps": "Model turns",
    "tool_calls": "Tool calls that are performed",
    "usd": "Dollars",
    "tokens": "Tokens",
}

_NAMED = {
    shape.Count: "whole number, 0 or more",
    shape.Positive: "whole number, 1 or more",
    shape.Dollars: "dollars",
    shape.Duration: "duration",
    shape.Share: "share, like 0.1",
    shape.Reference: "`env:NAME`, `file:PATH` or `vault:PATH#FIELD`",
    shape.ARuntime: "`managed`, `custom`, `managed_or_custom`, or an adapter: `plain`, `openai_agents`, …, or a MODULE",
    shape.ADedupe: "`run`, `off` or a duration",
    shape.Url: "URL",
    shape.Then: "`allow`, `ask`, `deny` or `stop`",
    shape.Restriction: "`ask`, `deny` or `stop`",
}
_BY_VALIDATOR = {kind.__metadata__[0].func: words for kind, words in _NAMED.items()} | {  # type: ignore[attr-defined]
    price: "dollars, or `args.NAME`",
    ledger_url: "`sqlite:///FILE`, `postgresql://HOST/DATABASE` or `memory:`",
}
_PLAIN = {str: "text", bool: "`true` or `false`", int: "whole number", Any: "anything"}


def sections() -> dict[type[BaseModel], list[str]]:
    """Every section of the file, with the places where it stands, in the order of the file."""
    found: dict[type[BaseModel], list[str]] = {shape.File: [""]}

    def walk(model: type[BaseModel], place: str) -> None:
        for key, field in model.model_fields.items():
            for below, inner in _below(field.annotation):
                here = f"{place}.{key}{below}".lstrip(".")
                found.setdefault(inner, []).append(here)
                walk(inner, here)

    walk(shape.File, "")
    return found


def keys() -> Iterator[tuple[str, FieldInfo]]:
    """Every key that may stand in the file, as `Section.key`; those of windows of time left out."""
    for model in sections():
        for key, field in model.model_fields.items():
            if key not in shape.QUOTA_KEYS:
                yield f"{model.__name__}.{key}", field


def configuration() -> str:
    """One table for each section."""
    parts = []
    for model, places in sections().items():
        title = "The file" if model is shape.File else ", ".join(f"`{place}`" for place in places)
        rows = ["| key | value | left out | meaning |", "|---|---|---|---|"]
        for key, field in model.model_fields.items():
            if key in shape.QUOTA_KEYS:
                continue
            meaning = MEANINGS[f"{model.__name__}.{key}"]
            rows.append(f"| `{key}` | {_words(field)} | {_default(model, key, field)} | {meaning} |")
        rows += _quota_rows(model)
        parts.append(f"### {title}\n\n{inspect.getdoc(model)}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _quota_rows(model: type[BaseModel]) -> Iterator[str]:
    for unit, meaning in QUOTAS.items():
        windows = [key for key in model.model_fields if key.startswith(f"{unit}_per_")]
        if windows:
            kind = "dollars" if unit == "usd" else "whole number, 0 or more"
            yield f"| {', '.join(f'`{key}`' for key in windows)} | {kind} | no limit | {meaning} in each window. |"


def _below(kind: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections that a type holds, each with how its place goes on."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield "", kind
        return
    mark = {dict: ".NAME", tuple: "[]"}.get(get_origin(kind), "")  # type: ignore[call-overload]
    for inner in get_args(kind):
        for rest, model in _below(inner):
            yield mark + rest, model


def _words(field: FieldInfo) -> str:
    most = next((each.le for each in field.metadata if getattr(each, "le", None) is not None), None)
    words = _kind(field.annotation, field.metadata)
    return f"{words}, at most {most:,}" if most is not None and words.startswith("whole") else words


def _kind(kind: Any, metadata: Any = ()) -> str:
    for each in metadata:
        if getattr(each, "func", None) in _BY_VALIDATOR:
            return _BY_VALIDATOR[each.func]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(inner[0], inner[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in inner if each is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin is dict:
        return f"mapping, {_name(inner[0])} to {_kind(inner[1])}"
    if origin is tuple:
        what = _kind(inner[0])
        or_one = ", or one" if any(getattr(each, "func", None) is shape.texts for each in metadata) else ""
        return f"list of {what}s" if what == "mapping" else f"list of {what}{or_one}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{each.value}`" for each in kind)
    return _PLAIN[kind]


def _name(kind: Any) -> str:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return "NAME" if kind is str else _kind(kind)


def _default(model: type[BaseModel], key: str, field: FieldInfo) -> str:
    value = DEFAULTS[key] if model is shape.Budgets and key in DEFAULTS else field.default
    if field.is_required():
        return "must be given"
    if value is None:
        return "no limit" if model is shape.Budgets else ""
    if isinstance(value, BaseModel) or value == {}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"') if value else ""
    if _words(field) == "duration":
        return f"`{_duration(value)}`"
    return f"`{value:,}`" if isinstance(value, int) else f"`{value}`" if value else ""


def _duration(micros: int) -> str:
    seconds = micros // 1_000_000
    return next(f"{seconds // size}{unit}" for size, unit in ((3600, "h"), (60, "m"), (1, "s")) if seconds % size == 0)


# --- the lifecycle ---------------------------------------------------------------------------------------------------


def lifecycle_diagram() -> str:
    """The table of moves as Mermaid. Moves that lead from a state to itself are in the table alone."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", f"    [*] --> {State.NEW}"]
    for state, moves in MOVES.items():
        together: dict[State, list[Event]] = {}
        for event, after in moves.items():
            together.setdefault(after, []).append(event)
        lines += [
            f"    {state} --> {after}: {', '.join(events)}" for after, events in together.items() if after is not state
        ]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def lifecycle_table() -> str:
    """The table of moves, the states and the events."""
    states, events = comments(State), comments(Event)
    rows = ["| state | means | moves |", "|---|---|---|"]
    for state, moves in MOVES.items():
        told = "; ".join(f"{event} → **{after}**" for event, after in moves.items()) or "none: this is an end"
        rows.append(f"| **{state}** | {states[state]} | {told} |")
    rows += ["", "| event | means |", "|---|---|", *(f"| {event} | {events[event]} |" for event in Event)]
    return "\n".join(rows)


def comments(kind: type[Enum]) -> dict[str, str]:
    """What stands behind `#:` in the line of each member."""
    found = re.findall(r'^    [A-Z_]+ = "([^"]+)"  #: (.+)$', inspect.getsource(kind), re.MULTILINE)
    return dict(found)


# --- stop reasons ----------------------------------------------------------------------------------------------------


def stop_reasons() -> str:
    """Each reason with the status of the run, and its three texts."""
    about = comments(StopReason)
    parts = []
    for reason in StopReason:
        completed = reason is StopReason.COMPLETED
        status = "completed" if completed else "failed" if reason in FAILURES else "stopped"
        said = STOP_TEXTS[reason]
        parts.append(
            f"### `{reason}`\n\n{about[reason].capitalize()}. The run's status is `{status}`.\n\n"
            f"| for | text |\n|---|---|\n| the model | {said.model} |\n| the user | {said.user} |\n"
            f"| the operator | {said.operator} |"
        )
    return "\n\n".join(parts)


# --- the command line ------------------------------------------------------------------------------------------------


def commands() -> Mapping[str, Any]:
    """Every command and group by its whole name, with its context."""
    found: dict[str, Any] = {}

    def walk(command: Any, name: str, parent: Any) -> None:
        command.rich_markup_mode = None  # plain text, the same on every terminal
        context = type(command).context_class(
            command, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
        )
        found[name] = context
        for each, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {each}", context)

    walk(typer.main.get_command(app), "interlock", None)
    return found


def command_line() -> str:
    """The help of every command."""
    parts = []
    for name, context in commands().items():
        text = "\n".join(line.rstrip() for line in context.command.get_help(context).strip().splitlines())
        parts.append(f"### `{name}`\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


# --- the pages -------------------------------------------------------------------------------------------------------

def http_problems() -> str:
    """The problems of the HTTP API, by code."""
    rows = ["| code | status | what it is |", "| --- | --- | --- |"]
    for code, statuses in STATUSES.items():
        rows.append(f"| `{code}` | {', '.join(map(str, statuses))} | {TITLES[code]} |")
    return "\n".join(rows)


def http_routes() -> str:
    """The routes of the HTTP API, with who may."""
    rows = ["| route | who | what it does |", "| --- | --- | --- |"]
    for route in ROUTES:
        who = ", ".join(route.may) or "anybody"
        rows.append(f"| `{route.method} {route.path}` | {who} | {route.summary} |")
    return "\n".join(rows)


def adapter_contract() -> str:
    """The promises of every adapter, and what runtimes honestly do otherwise."""
    rows = ["| promise | |", "| --- | --- |"]
    rows += [f"| {_promised(each.__name__)} | {' '.join((each.__doc__ or '').split())} |" for each in ADAPTER_CONTRACT]
    rows += ["", "Otherwise, and held to be exactly so:", ""]
    rows += ["| promise | on | what is otherwise |", "| --- | --- | --- |"]
    for promise in (each.__name__ for each in ADAPTER_CONTRACT):
        found: dict[str, list[str]] = {}
        for runtime, exceptions in EXCEPTIONS.items():
            if promise in exceptions:
                found.setdefault(exceptions[promise].why, []).append(f"`{runtime}`")
        rows += [f"| {_promised(promise)} | {', '.join(on)} | {why} |" for why, on in found.items()]
    return "\n".join(rows)


def _promised(name: str) -> str:
    return name.replace("_", " ").capitalize().replace(" json ", " JSON ")


BLOCKS: dict[str, Callable[[], str]] = {
    "http-problems": http_problems,
    "http-routes": http_routes,
    "configuration": configuration,
    "lifecycle-diagram": lifecycle_diagram,
    "lifecycle-table": lifecycle_table,
    "stop-reasons": stop_reasons,
    "command-line": command_line,
    "mcp-clients": expectations.table,
    "adapter-contract": adapter_contract,
}


def renewed(text: str) -> str:
    """A page with each of its blocks as the code is now."""

    def make(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- made by scripts/docs.py: {name} -->\n\n{BLOCKS[name]()}\n\n<!-- end of {name} -->"

    return _BLOCK.sub(make, text)


def used(text: str) -> list[str]:
    """The blocks of a page."""
    return [found["name"] for found in _BLOCK.finditer(text)]


def main(args: list[str]) -> int:
    """Write, or check. Gives the exit code."""
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text("utf-8")
        fresh = renewed(text)
        if fresh != text:
            stale.append(path)
            if "--check" not in args:
                path.write_text(fresh, "utf-8")
    contract = DOCS / "openapi.json"
    if contract.read_text("utf-8") != openapi.text():
        stale.append(contract)
        if "--check" not in args:
            contract.write_text(openapi.text(), "utf-8")
    for path in stale:
        print(f"{'stale' if '--check' in args else 'written'}: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in args else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
