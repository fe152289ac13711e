"""The only place that chooses: a store, a switch board, a vault, a clock.

Not a rule of anything. Law: whatever is opened here is closed by `Gateway.close()`, in the opposite order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from interlock import pins
from interlock.audit_log import AuditLog
from interlock.checkpoints import Checkpointer, FileSink, Notary, beside
from interlock.config import Config, Upstream, load
from interlock.control import Control
from interlock.core.call import Tool
from interlock.definitions import Definitions
from interlock.errors import ConfigError, LedgerUnavailable, ToolError
from interlock.gateway import Gateway
from interlock.notes import KeyFile
from interlock.notify import Notifier, webhook
from interlock.ports import Clock, Pin, Store, SwitchBoard, Vault
from interlock.redaction import Redactor
from interlock.slack import channel
from interlock.telemetry import Telemetry
from interlock.unit import Unit
from interlock.vaults import Vaults
from interlock.watch import Watch

if TYPE_CHECKING:
    from interlock.tools.mcp import McpTool, McpUpstream
    from interlock.tools.openapi.upstream import OpenApiTool


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.time_ns() // 1000


def open(  # noqa: A001  reads as interlock.open()
    source: str | Path | Mapping[str, Any] | Config = "interlock.yaml",
    *,
    store: Store | None = None,
    board: SwitchBoard | None = None,
    clock: Clock | None = None,
    vault: Vault | None = None,
    upstreams: bool = True,
) -> Gateway:
    """Read a config and open a gateway on its ledger.

    `source`: path of an interlock.yaml, the same as a dict, or a `Config`. The other arguments replace what the config
    would choose, for tests and for hosts that have their own; a `store` comes with its `board`. `upstreams=False`
    starts no upstream. Raises ConfigError, LedgerUnavailable; ToolError where an MCP server cannot be started, or the
    file of an OpenAPI document cannot be read. What is behind a URL that cannot be reached is tried again, and its
    tools are denied until then.
    """
    config = load(source)
    if (store is None) != (board is None):
        raise ConfigError("open(store=…) needs board=… beside it, and the other way round")
    clock = clock or SystemClock()
    own = store is None or board is None
    if store is None or board is None:
        store, board = _ledger(config)
    telemetry = Telemetry(config.logging, traces=config.telemetry.traces)
    gateway = Gateway(config, store, board, clock, vault or Vaults(config.credentials), telemetry)
    telemetry.redact = gateway.redactor.redact_text
    try:
        _equip(gateway, notary_of(config, store, clock, own=own), upstreams=upstreams)
    except BaseException:
        gateway.close()
        raise
    return gateway


def look(config: Config) -> Gateway:
    """A gateway for reading the ledger of a config: no thread, no upstream, and nothing written by itself."""
    clock = SystemClock()
    store, board = _ledger(config)
    gateway = Gateway(config, store, board, clock, Vaults(config.credentials), Telemetry(config.logging, traces=False))
    _staff(gateway, notary_of(config, store, clock))
    return gateway


def require_ledger(config: Config) -> None:
    """Raises LedgerUnavailable where opening the ledger would make it, or migrate it. It is only looked at."""
    from interlock.stores import standing

    path = ledger_file(config)
    if path is not None:
        standing.require_sqlite(path, _board_file(path))
    elif config.ledger.startswith("postgresql://"):
        standing.require_postgres(config.ledger)


def _ledger(config: Config) -> tuple[Store, SwitchBoard]:
    if config.ledger.startswith("postgresql://"):
        from interlock.stores.postgres import PostgresStore
        from interlock.stores.postgres_switches import PostgresSwitchBoard

        return PostgresStore(config.ledger), PostgresSwitchBoard(config.ledger)
    path = ledger_file(config)
    if path is None:
        from interlock.stores.memory import MemoryStore, MemorySwitchBoard

        return MemoryStore(), MemorySwitchBoard()
    from interlock.stores.sqlite import SqliteStore
    from interlock.stores.sqlite_switches import SqliteSwitchBoard

    if not path.parent.is_dir():
        raise LedgerUnavailable(f"ledger {path.name}: its folder {path.parent} does not exist; create it")
    return SqliteStore(path, synchronous=config.synchronous), SqliteSwitchBoard(_board_file(path))


def _board_file(path: Path) -> Path:
    return path.with_name(path.name + ".switches")


def public_url(config: Config) -> str:
    """Where others reach the gateway as a service, without a slash at its end."""
    serve = config.serve
    return (serve.url or f"http://{serve.host}:{serve.port}").rstrip("/")


def ledger_file(config: Config) -> Path | None:
    """The file of a SQLite ledger; None for the others."""
    if not config.ledger.startswith("sqlite:///"):
        return None
    return config.base / config.ledger.removeprefix("sqlite:///")


def pinned(config: Config) -> Sequence[Pin]:
    """The definitions that a ledger in a file has pinned. The file is only read; of a ledger elsewhere none."""
    path = ledger_file(config)
    if path is None or not path.exists():
        return ()
    from interlock.stores.sqlite import pins_in

    return pins_in(path)


def notary_of(config: Config, store: Store, clock: Clock, *, own: bool = True) -> Notary | None:
    """Who signs checkpoints: with the key and the sink that the config names, else those beside its ledger.

    `own=False`: the ledger is not the config's, so nothing stands beside it.
    """
    path, settings = ledger_file(config) if own else None, config.audit
    places = beside(path) if path is not None else None
    key = config.base / settings.key if settings.key else places.key if places else None
    sink = config.base / settings.checkpoints if settings.checkpoints else places.sink if places else None
    if own and config.path and key is None and sink is None and config.ledger.startswith("postgresql://"):
        named = urlsplit(config.ledger).path.strip("/") or "interlock"
        key, sink = config.base / f"{named}.key", config.base / f"{named}.checkpoints"
    if (key is None) != (sink is None):
        raise ConfigError("audit: needs both key: and checkpoints: for this ledger")
    return Notary(store, KeyFile(key), FileSink(sink), clock) if key and sink else None


def _staff(gateway: Gateway, notary: Notary | None) -> None:
    gateway.control = Control(gateway)
    gateway.audit = AuditLog(gateway.store, notary)


def _equip(gateway: Gateway, notary: Notary | None, *, upstreams: bool) -> None:
    config = gateway.config
    _staff(gateway, notary)
    if notary is not None:
        checkpointer = Checkpointer(notary, every=config.audit.every)
        gateway.noticed = checkpointer.noticed
        gateway.closing.append(checkpointer.close)
    watch = Watch(gateway)
    try:
        watch.sweep()
    except LedgerUnavailable as error:  # readable, but held by a writer: its calls fail, opening need not
        gateway.telemetry.trouble("what the last program left could not be closed yet", error)
    watch.start()
    gateway.closing.append(watch.close)
    told = [webhook(config.approvals, gateway.redactor.remember)] if config.approvals.webhook_url else []
    if config.serve.slack is not None:
        told.append(channel(config.serve.slack, lambda: public_url(gateway.config), gateway.redactor.remember))
    if told:
        notifier = Notifier(gateway, *told)
        gateway.undelivered = notifier.undelivered
        notifier.start()
        gateway.closing.append(notifier.close)
    if upstreams and config.upstreams:
        _connect(gateway)
    gateway.opening += [Definitions(gateway).keep, _warns_once(gateway)]


def _warns_once(gateway: Gateway) -> Callable[[str, str], None]:
    """What warns, when the first run opens and the tools are registered, of names in the config that none of them bears
    and of conditions that read what they do not have."""
    due = [gateway]

    def warn(_tenant: str, _env: str) -> None:
        if due:
            due.clear()
            from interlock.check_warnings import at_first_run

            tools = {name: registered.tool for name, registered in gateway.tools.items()}
            for warning in at_first_run(gateway.config, tools):
                gateway.telemetry.odd(warning)

    return warn


def _connect(gateway: Gateway) -> None:
    """Start the upstreams side by side, and register what they offer."""
    declare = partial(gateway.config.declared, said=())  # an upstream's word counts for nothing by itself
    settings = gateway.config.upstreams.values()
    opened = [_api(gateway, each, declare) for each in settings if each.openapi]
    scoped: list[McpUpstream] = []
    for each in settings:
        if not each.openapi:
            upstream = _mcp(gateway, each, declare)
            if each.credential and "{" in gateway.config.credentials.get(each.credential, ""):
                scoped.append(upstream)  # there is no credential before there is a tenant
            else:
                opened.append((each, upstream.start()))
    troubles = []
    for each, listed in opened:
        try:
            listed.result()
        except ToolError as error:
            if each.command or (each.openapi and "://" not in each.openapi):  # ours: a mistake in the config
                troubles.append(f"upstream {each.name}: {error}")
            else:
                _missing(gateway, each.name, error)
    if troubles:
        raise ToolError("; ".join(troubles))
    if scoped:
        gateway.opening.append(_starter(gateway, scoped))


def _mcp(gateway: Gateway, settings: Upstream, declare: Callable[[Tool], Tool]) -> McpUpstream:
    from interlock.tools.mcp import McpUpstream

    def observe(_: McpUpstream, tools: Sequence[McpTool]) -> None:
        _observe(gateway, tools)

    upstream = McpUpstream(
        settings, gateway.loop, Remembering(gateway.vault, gateway.redactor), gateway.clock,
        declare=declare, on_definitions=observe, tells=gateway.redactor.holds_secret,
    )
    gateway.closing.append(upstream.close)
    return upstream


class Remembering:
    """A vault whose every loan is known to the redactor: what a connection was lent is kept in before any call."""

    def __init__(self, vault: Vault, redactor: Redactor) -> None:
        self._vault, self._redactor = vault, redactor

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """See `ports.Vault`."""
        value = self._vault.lend(name, tenant=tenant, env=env)
        self._redactor.remember(value)
        return value


def _api(gateway: Gateway, settings: Upstream, declare: Callable[[Tool], Tool]) -> tuple[Upstream, Future[Any]]:
    from interlock.tools.openapi.upstream import OpenApiUpstream

    upstream = OpenApiUpstream(
        settings, gateway.loop, gateway.clock, gateway.board,
        declare=declare, on_definitions=partial(_observe, gateway),
    )
    gateway.closing.append(upstream.close)
    return settings, upstream.start()


def _observe(gateway: Gateway, tools: Sequence[McpTool] | Sequence[OpenApiTool]) -> None:
    """Pin what is seen for the first time, and register all of it; what has changed with the reason why it waits."""
    shown = {tool.tool.name: tool.definition for tool in tools}
    unit = Unit(pins.keys(shown), partial(pins.observe, definitions=shown, now=gateway.clock.now()))
    pinned = gateway.committer.run(unit)
    for tool in tools:
        pin = pinned[tool.tool.name]
        gateway.register(tool, problem=pins.problem(pin, tool.digest) or "", replace=True)


def _starter(gateway: Gateway, scoped: Sequence[McpUpstream]) -> Callable[[str, str], None]:
    """What starts the upstreams whose credential is a tenant's, when that tenant opens its first run."""
    started: set[tuple[str, str]] = set()

    def start(tenant: str, env: str) -> None:
        if (tenant, env) in started:
            return
        started.add((tenant, env))
        for upstream in scoped:
            try:
                upstream.start(tenant, env).result()
            except ToolError as error:
                _missing(gateway, upstream.settings.name, error)

    return start


def _missing(gateway: Gateway, name: str, error: ToolError) -> None:
    """Somebody else's to run: it is tried again, and its tools are there once it is."""
    gateway.telemetry.trouble(f"upstream {name} cannot be reached yet; its tools are missing", error)
