"""`interlock`, the command line: what people do with a gateway's ledger, its policy and its tools.

Not a gateway for agents, and no rule of anything: each command opens, asks or acts through `control`, and prints. Law:
0 is done, 1 is refused or a failed check (a ledger that is not there, too), 2 is a wrong command line, config or file;
nothing that a person can cause ends in a traceback.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
from typer.exceptions import TyperException

from interlock.errors import ConfigError, CredentialError, InterlockError, ToolError
from interlock.faces import (
    cli_approvals,
    cli_audit,
    cli_control,
    cli_doctor,
    cli_keys,
    cli_mcp,
    cli_policy,
    cli_policy_replay,
    cli_replay,
    cli_runs,
    cli_serve,
    cli_start,
    cli_tools,
    cli_unknowns,
)
from interlock.faces.cli_options import BEFORE, Before, Config, Json
from interlock.faces.cli_print import complain, finish, hush, safe
from interlock.patience import left_behind

INTERRUPTED = 130
_USAGE = (ConfigError, ToolError, CredentialError)  #: the config, or what it names, has to be put right first

app = typer.Typer(
    name="interlock",
    help="The tool gateway between AI agents and the world: look at what it did, answer what it asks, stop it.",
    epilog="Exit codes: 0 done; 1 refused, or a failed check; 2 a wrong command line, config or file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"interlock {version('interlock')}")
        raise typer.Exit


@app.callback()
def _before(
    config: Config = None,
    as_json: Json = False,
    _asked: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    BEFORE.set(Before(config, as_json))


app.command()(cli_start.init)
app.command()(cli_policy.check)
app.command()(cli_doctor.doctor)
app.command()(cli_start.demo)
app.command()(cli_serve.serve)
app.command()(cli_mcp.mcp)
app.add_typer(cli_runs.app, name="run")
app.command()(cli_replay.replay)
app.command()(cli_replay.parity)
app.add_typer(cli_approvals.app, name="approvals")
app.command()(cli_control.kill)
app.command()(cli_control.release)
app.command()(cli_control.switches)
app.command()(cli_unknowns.unknowns)
app.command()(cli_control.reconcile)
app.command("top-up")(cli_control.top_up)
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_audit.app, name="audit")
cli_policy.app.command("replay")(cli_policy_replay.replay)
app.add_typer(cli_policy.app, name="policy")
app.add_typer(cli_tools.app, name="tools")


def main(args: Sequence[str] | None = None) -> None:
    """The entry point."""
    code = run(args)
    if left_behind():  # an agent that does not end shall not keep the command from its end
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(args: Sequence[str] | None = None) -> int:
    """Carry out one command line, and give its exit code."""
    _ready()
    try:
        code = app(args, prog_name="interlock", standalone_mode=False)
        if code == INTERRUPTED:
            hush()  # whoever interrupts does not wait for a reader that is slow
        return finish() or (code if isinstance(code, int) else 0)
    except TyperException as error:
        return _usage(error)
    except _USAGE as error:
        complain(error)
        return 2
    except InterlockError as error:
        complain(error)
        return 1
    except msgspec.MsgspecError as error:
        complain(f"the ledger holds a row that cannot be read ({error}): restore it from a backup, or ask the audit")
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED


def _usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if not message:  # a group without a command: its help has been shown
        return error.exit_code
    message = message.removeprefix("Invalid value: ")
    command = context.command_path if context is not None else "interlock"
    complain(f"{message.rstrip('.')}: see {command} --help")
    return error.exit_code


def _ready() -> None:
    """Standard streams that take any text, and warnings of the gateway in our own words."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    log = logging.getLogger("interlock")
    if not any(isinstance(each, _Said) for each in log.handlers):
        log.addHandler(_Said(logging.WARNING))
        log.propagate = False


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(safe(record.getMessage()))
