"""How a command gets at the ledger: to look at it, or to act on it.

Not a gateway for calls: no command performs one. Law: looking starts no thread and no upstream, writes nothing by
itself, and makes no ledger where there is none; acting is done by `control`, as any program would.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.errors import ConfigError, InterlockError, LedgerUnavailable, Refused
from interlock.faces.cli_options import config_path

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.core.run import Run
    from interlock.gateway import Gateway


def read_config(given: Path | None) -> Config:
    """The config of this command. Raises ConfigError."""
    from interlock.config import load

    return load(config_path(given))


@contextmanager
def look(given: Path | None, *, untouched: bool = False) -> Iterator[Gateway]:
    """The ledger for reading, while another program may be writing to it. `untouched`: one that would have to be
    migrated first is refused."""
    from interlock import assemble

    config = read_config(given)
    _must_exist(config)
    if untouched:
        assemble.require_ledger(config)
    with assemble.look(config) as gateway:
        yield gateway


@contextmanager
def act(given: Path | None, *, upstreams: bool = False, new: bool = False) -> Iterator[Gateway]:
    """The ledger for an act of a person. `new`: it may be made now."""
    from msgspec.structs import replace

    import interlock

    config = read_config(given)
    if not new:
        _must_exist(config)
    # webhook and Slack are for the gateway that serves to call, not for whoever answers
    quiet = dataclasses.replace(
        config, approvals=replace(config.approvals, webhook_url=None),
        serve=config.serve.model_copy(update={"slack": None}),
    )
    with interlock.open(quiet, upstreams=upstreams) as gateway:
        yield gateway


def _must_exist(config: Config) -> None:
    from interlock.assemble import ledger_file

    path = ledger_file(config)
    if path is not None and not path.exists():
        raise LedgerUnavailable(
            f"there is no ledger at {path} yet: it is made when a program opens a gateway with {config.name}"
        )
    if config.ledger == "memory:":
        raise LedgerUnavailable(
            f"the ledger of {config.name} is memory: of the program that opened it; "
            "name a file (ledger: sqlite:///interlock.db) to look at it from outside"
        )


def imported(option: str, said: str, folder: str, *, like: str) -> Any:
    """What stands in a module of the user's, which may lie in that folder. Raises ConfigError."""
    module, colon, name = said.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{option} is MODULE:NAME, like {like}, not {said!r}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option} {said}: {error}") from error
    except Exception as error:  # the module's own
        raise _theirs(option, said, error) from error


def imported_function(option: str, said: str, *, like: str, what: str) -> Callable[..., Any]:
    """A function of the user's, from a module that may lie in the working directory. `what` it has to be. Raises
    ConfigError, and so does the function for whatever it raises that is not ours."""
    found = imported(option, said, str(Path.cwd()), like=like)
    if not callable(found):
        raise ConfigError(f"{option} {said} is a {type(found).__name__}, not {what}")

    def call(*args: Any) -> Any:
        try:
            return found(*args)
        except InterlockError:
            raise
        except Exception as error:
            raise _theirs(option, said, error) from error

    return call


def _theirs(option: str, said: str, error: Exception) -> ConfigError:
    """What a program of the user's has raised, with the place of it."""
    from interlock.results import error_text

    place = traceback.extract_tb(error.__traceback__)[-1]
    return ConfigError(f"{option} {said}: {error_text(error)} ({place.filename}:{place.lineno})")


def find_run(gateway: Gateway, run_id: str, tenant: str | None) -> Run:
    """A run by its id. Raises Refused where there is none, or where several tenants have one."""
    from interlock.core.audit import SYSTEM
    from interlock.ports import RunKey

    tenants = [tenant] if tenant else [each for each in gateway.store.tenants() if each != SYSTEM]
    found: list[Run] = [run for each in tenants if (run := gateway.store.load(RunKey(each, run_id))) is not None]
    if not found:
        whose = f" of tenant {tenant!r}" if tenant else ""
        raise Refused(f"there is no run {run_id!r}{whose}: see interlock run list")
    if len(found) > 1:
        named = ", ".join(run.tenant for run in found)
        raise Refused(f"several tenants have a run {run_id!r} ({named}): say which with --tenant")
    return found[0]


def unknown(what: str, name: str, known: Iterable[str], see: str) -> Refused:
    """There is nothing of this name; perhaps another was meant."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return Refused(f"there is no {what} {name!r}{hint}: see {see}")
