"""PostgreSQL's URL, and its errors in words.

Not a connection (`wire.py`). Law: no word that leaves here holds the password; every error has a remedy.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from interlock.errors import ConfigError

#: used where the URL does not say otherwise: a server that is gone is noticed in seconds, a standby is refused
DEFAULTS: dict[str, Any] = {
    "application_name": "interlock",
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",
}


def error_of(result: pq.abc.PGresult) -> psycopg.Error:
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    text = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(errors="replace")
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:
        kind = psycopg.DatabaseError if state else psycopg.OperationalError
    error = kind(text)
    error.sqlstate = state or None  # which the kinds that psycopg does not know have not
    return error


def went_away(error: psycopg.Error) -> bool:
    """True where the connection is gone, and not merely a statement refused."""
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(("08", "57P")))


def settings_of(url: str) -> tuple[dict[str, Any], str, str]:
    """The connection's settings, a name for it without a secret, and the password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = {}
    host, port, database = (str(given.get(part) or "") for part in ("host", "port", "dbname"))
    # a `/` or `@` in a password puts its pieces into the other parts
    if not given or not re.fullmatch(r"[\d,]*", port) or "@" in host + database:
        raise ConfigError(  # out here, so that libpq's words, which quote the URL, are not the context
            "the ledger's URL is no valid PostgreSQL URL: postgresql://user:password@host:port/database, "
            "with %-codes for special characters in the password (%40 for @, %2F for /)"
        )
    name = f"ledger postgresql://{host or 'localhost'}:{port or 5432}/{database}"
    return {**DEFAULTS, **given}, name, str(given.get("password") or "")


def remedy_for(error: psycopg.Error) -> str:
    state = error.sqlstate or ""
    for start, remedy in _REMEDIES:
        if state.startswith(start):
            return remedy
    if "read-only" in str(error):
        return "this is a standby or read-only: let `ledger:` name the primary"
    if isinstance(error, psycopg.OperationalError):
        return "start the server, or correct `ledger:`"
    return "see the operations page of the docs"


_REMEDIES = (
    ("28", "correct the user and the password in `ledger:`"),
    ("3D", "create the database, or correct `ledger:`"),
    ("42501", "grant the ledger's user the right to it"),
    ("25006", "this is a standby or read-only: let `ledger:` name the primary"),
    ("25P", "this process stood still inside a transaction, and the server has ended it: try again"),
    ("40", "the server broke the transaction off: try again"),
    ("53100", "the disk is full: free some space; what was committed is safe"),
    ("53300", "the server has no connection left: raise max_connections; a gateway takes three"),
    ("53", "the server is out of resources: see its log"),
    ("55P03", "another process has held a tenant for too long: look for a session `idle in transaction` and end it"),
    ("57014", "a statement was cancelled or ran into statement_timeout: take the timeout off the ledger's user"),
    ("57P", "the server is stopping or has ended the session: start it, then try again"),
    ("58", "the server cannot read or write its files: see its log"),
    ("XX", "the server reports damaged data: see its log, and restore from a backup"),
)
