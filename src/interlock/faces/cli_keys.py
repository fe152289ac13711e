"""`interlock keys`: who may come in at `interlock serve`.

Not who may do what (`core/principal.py`), and not how keys are kept (`identity.py`). Law: a key is shown when it is
made and never again; a revocation holds in every process before it is said to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.config.scalars import duration
from interlock.core.audit import SYSTEM
from interlock.core.principal import Principal, Role
from interlock.errors import InterlockError, Refused
from interlock.faces.cli_open import act, look, read_config
from interlock.faces.cli_options import Agent, By, Config, Json, OneTenant, in_json, named
from interlock.faces.cli_print import clock, complain, document, moment, say, show, table, text, write

if TYPE_CHECKING:
    from interlock.core.principal import AccessKey
    from interlock.gateway import Gateway

app = typer.Typer(help="Keys of agents and people, for the gateway as a service.", no_args_is_help=True)

Env = Annotated[
    str | None, typer.Option("--env", metavar="NAME", help="Of an agent: prod, staging…", callback=named("env"))
]
_COLOURS = {"usable": "green", "expired": "yellow", "revoked": "red"}


def _duration(value: str | None) -> int | None:
    try:
        return None if value is None else duration(int(value) if value.isdecimal() else value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def create(
    *,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Whose key; the audit says it.", callback=named("name"))
    ],
    role: Annotated[list[Role], typer.Option("--role", help="May be said again, but an agent is nothing else.")],
    by: By,
    tenant: OneTenant = None,
    agent: Agent = None,
    env: Env = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="90d", help="After how long. Left out: when it is revoked.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a key, and show it once. An agent's needs --tenant, --agent and --env; a person's without --tenant serves
    every tenant."""
    who = Principal(name=name, roles=tuple(role), tenant=tenant or "", agent=agent or "", env=env or "")
    expires_in = _duration(expires)
    if read_config(config).ledger == "memory:":
        raise Refused("the ledger is memory: and so are its keys: name a file (ledger: sqlite:///interlock.db)")
    from interlock.keyrings import identity_of

    with act(config, new=True) as gateway:
        key, token = identity_of(gateway, tokens=False).give(who, by=by, expires_in=expires_in)
    if in_json(as_json):
        document({**_plain(key, key.created_at), "token": token})
        return
    say(f"key {key.key_id} for {_whose(key)}{f', until {clock(key.expires_at)}' if key.expires_at else ''}", "green")
    say("it is shown this once, and kept nowhere:", "dim")
    write(f"{token}\n".encode())


@app.command("list")
def list_keys(tenant: OneTenant = None, config: Config = None, as_json: Json = False) -> None:
    """List the keys, revoked and expired ones too. No secret is among them."""
    with look(config) as gateway:
        found, now = _keys(gateway, tenant), gateway.clock.now()
    if in_json(as_json):
        document({"keys": [_plain(key, now) for key in found]})
        return
    if not found:
        say("there is no key", "dim")
        return
    listed = table("key", "state", "name", "roles", "tenant", "agent", "made", "expires", whole="key")
    for key in found:
        who, state = key.principal, _state(key, now)
        listed.add_row(
            text(key.key_id), text(state, _COLOURS[state]), text(who.name), text(", ".join(who.roles)),
            text(who.tenant or "every"), text(f"{who.agent} in {who.env}" if who.agent else ""),
            text(f"{clock(key.created_at)} by {key.created_by}"), text(clock(key.expires_at) or "never", "dim"),
        )
    show(listed)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", callback=named("key id"))],
    *,
    by: By,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take a key back. It is refused in every process when this returns."""
    from interlock.keyrings import identity_of

    if key_id.startswith("ilk_"):
        raise typer.BadParameter("name the key by its id, not by the key itself: see interlock keys list")
    with look(config) as gateway:  # not `act`: a revocation waits for nothing that opening would do first
        if not _has_keys(gateway):
            raise Refused(f"there is no key {key_id!r}: none was ever made")
        key = identity_of(gateway, tokens=False).revoke(key_id, by=by)
        try:
            gateway.audit.checkpoint(key.principal.tenant or SYSTEM)
        except (InterlockError, OSError) as error:
            complain(f"it is done, but no checkpoint could be signed: {error}")
        now = gateway.clock.now()
    if in_json(as_json):
        document(_plain(key, now))
        return
    say(f"revoked: key {key.key_id} of {_whose(key)}, {clock(key.revoked_at)} by {key.revoked_by}", "bold red")


def _has_keys(gateway: Gateway) -> bool:
    """True where there may be keys: looking makes no file."""
    from interlock.keyrings import keys_file

    path = keys_file(gateway.config)
    return path is None or path.exists()


def _keys(gateway: Gateway, tenant: str | None) -> list[AccessKey]:
    from interlock.keyrings import identity_of

    return list(identity_of(gateway, tokens=False).keys(tenant)) if _has_keys(gateway) else []


def _whose(key: AccessKey) -> str:
    who = key.principal
    if who.is_agent:
        return f"{who.name}: agent {who.agent} of tenant {who.tenant} in {who.env}"
    return f"{who.name}: {', '.join(who.roles)} of {f'tenant {who.tenant}' if who.tenant else 'every tenant'}"


def _state(key: AccessKey, now: int) -> str:
    return "usable" if key.usable(now) else "expired" if key.revoked_at is None else "revoked"


def _plain(key: AccessKey, now: int) -> dict[str, Any]:
    who = key.principal
    return {
        "key_id": key.key_id, "state": _state(key, now), "name": who.name, "roles": list(who.roles),
        "tenant": who.tenant, "agent": who.agent, "env": who.env,
        "created_at": moment(key.created_at), "created_by": key.created_by, "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at), "revoked_by": key.revoked_by,
    }
