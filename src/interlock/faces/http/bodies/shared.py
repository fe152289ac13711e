"""What every body and query of /v1 keeps to, and the kinds of values that stand in them.

Not the bodies. Law: strict, an unknown field is refused; nothing is longer than it may be.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=200)]
Words = Annotated[str, Meta(max_length=10_000)]
Text = Annotated[str, Meta(max_length=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Dollars = Annotated[float, Meta(ge=0, le=1e9)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Moment = Annotated[int, Meta(ge=0, le=2**62)]
Args = dict[str, Any]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every body and query keeps to."""


class OfTenant(Body, frozen=True, kw_only=True):
    """`tenant`: of a person who serves several; another than the credential's is refused."""

    tenant: Name = ""


class Health(Struct, frozen=True):
    """`ready` False: see `troubles`."""

    ready: bool
    troubles: list[str]
