"""`interlock audit export | verify | checkpoint`.

Not the verifier (`core/verify.py`) and not the log (`audit_log.py`). Law: everything streams; a log that is not intact
is exit code 1, with the first bad entry and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from interlock.faces.cli_open import look, unknown
from interlock.faces.cli_options import Config, Json, OneTenant, Tenant, in_json
from interlock.faces.cli_print import Progress, document, lines, say, text, write

if TYPE_CHECKING:
    from interlock.core.audit import Sealed
    from interlock.core.verify import Verification
    from interlock.gateway import Gateway
    from interlock.ports import Store

app = typer.Typer(help="The audit log: carry it away, prove it, sign its tip.", no_args_is_help=True)


@app.command()
def export(tenant: Tenant, config: Config = None) -> None:
    """Write a tenant's log to standard output, as JSON lines that `audit verify --file` can prove."""
    from interlock.ports import HeadKey

    with look(config) as gateway:
        _must_have(gateway, tenant)
        head = gateway.store.load(HeadKey(tenant))
        progress = Progress(f"export {tenant}", head.seq if head else 0)
        try:
            for count, line in enumerate(gateway.audit.export(tenant)):
                write(line)
                progress.tick(count)
        finally:
            progress.close()


@app.command()
def checkpoint(tenant: Tenant, config: Config = None, as_json: Json = False) -> None:
    """Sign the tip of a tenant's log, and print the note: keep it where the ledger is not."""
    with look(config) as gateway:
        _must_have(gateway, tenant)
        note = gateway.audit.checkpoint(tenant)
    if in_json(as_json):
        document({"tenant": tenant, "note": note})
        return
    write(note.encode())


@app.command()
def verify(
    tenant: OneTenant = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="EXPORT", help="An export, instead of the ledger.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="With --file: a note, or a file of them.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option("--public-key", metavar="FILE|KEY", help="With --file: who signed the notes.")
    ] = None,
    trust_checkpoint: Annotated[
        bool,
        typer.Option(
            "--trust-checkpoint", help="Without a public key: the file of notes was kept where nobody else writes."
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Weigh every entry, of one tenant or of all, and every checkpoint. Exit code 1 where something is wrong."""
    if file is None:
        if checkpoint is not None or public_key is not None or trust_checkpoint:
            raise typer.BadParameter("--checkpoint and --public-key go with --file; a ledger is compared with its own")
        results = _verify_ledger(config, tenant)
    else:
        if tenant is not None:
            raise typer.BadParameter("--file and --tenant contradict each other: an export names its tenant itself")
        if trust_checkpoint and (checkpoint is None or public_key is not None):
            raise typer.BadParameter("--trust-checkpoint goes with --checkpoint, where there is no --public-key")
        results = [_verify_file(file, checkpoint, public_key, trusted=trust_checkpoint)]
    sound = all(result.ok for result in results)
    if in_json(as_json):
        document({"ok": sound, "tenants": [_plain(result) for result in results]})
    else:
        _tell(results)
    if not sound:
        raise typer.Exit(1)


def _verify_file(file: Path, checkpoint: Path | None, public_key: str | None, *, trusted: bool) -> Verification:
    from interlock.audit_log import verify_file
    from interlock.errors import ConfigError

    key = None if public_key is None else public_key if public_key.count("+") >= 2 else Path(public_key)
    verification = verify_file(file, checkpoint, key, trusted=trusted)
    if not verification.tenant:
        raise ConfigError(f"{file} is no audit export; make one with: interlock audit export --tenant NAME > FILE")
    return verification


def _verify_ledger(config: Path | None, tenant: str | None) -> list[Verification]:
    from interlock import assemble
    from interlock.audit_log import AuditLog

    with look(config) as gateway:
        if tenant is not None:
            _must_have(gateway, tenant)
        told = _Told(gateway.store)
        log = AuditLog(cast("Store", told), assemble.notary_of(gateway.config, gateway.store, gateway.clock))
        return [log.verify(each) for each in ([tenant] if tenant else log.tenants())]


class _Told:
    """A store that tells how far a reader of its log has come."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        from interlock.ports import HeadKey

        head = self._store.load(HeadKey(tenant))
        progress = Progress(f"verify {tenant}", head.seq if head else 0)
        try:
            for sealed in self._store.entries(tenant, after, limit):
                yield sealed
                progress.tick(sealed.seq)
        finally:
            progress.close()


def _must_have(gateway: Gateway, tenant: str) -> None:
    known = gateway.audit.tenants()
    if tenant not in known:
        raise unknown("audit log of tenant", tenant, known, "interlock audit verify, which names all that there are")


def _tell(results: list[Verification]) -> None:
    if not results:
        say("the audit is empty: nothing has happened yet", "dim")
        return
    for result in results:
        mark = text("ok   ", "green") if result.ok else text("BAD  ", "bold red")
        lines(mark.append_text(text(result.text)))


def _plain(result: Verification) -> dict[str, Any]:
    problem = None if result.problem is None else msgspec.to_builtins(result.problem)
    return {
        "tenant": result.tenant, "ok": result.ok, "entries": result.entries, "head": msgspec.to_builtins(result.head),
        "problem": problem, "checkpoints": result.checkpoints, "remarks": result.remarks,
    }
