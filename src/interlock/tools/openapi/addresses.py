"""Which addresses an upstream may be connected to, looked at where a connection is made.

Not the resolving of names. Law: the address that is judged is the one that the socket is opened to, each time, so that
a name which resolves to another address a moment later leads nowhere new.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")


class PrivateAddress(OSError):
    """The name leads into the house, and the config does not say that it may."""


def problem_of_address(text: str) -> str | None:
    """Why an address is none of the public internet, or None where it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "is no address"
    inner = _inside(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return problem_of_address(str(inner))
    if address.is_loopback:
        return "is this machine's own"
    if address.is_link_local:
        return "is link-local"
    if address.is_multicast or address.is_unspecified:
        return "is nobody's in particular"
    return None if address.is_global and address not in _SITE_LOCAL else "is private or reserved"


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The older address that a newer one leads to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def opened(address: tuple[Any, ...], *, allow_private: bool) -> socket.socket:
    """A socket for one resolved address (as `getaddrinfo` gives it), or PrivateAddress. aiohttp connects it there."""
    family, kind, protocol, _, where = address
    wrong = None if allow_private else problem_of_address(str(where[0]))
    if wrong is not None:
        raise PrivateAddress(f"its address {wrong}, and allow_private: is not set for it")
    return socket.socket(family, kind, protocol)
