"""What says whose tokens are taken: OAuth 2 protected-resource metadata, and the answers that point to it.

Not the verification of a token (`identity.py`). Law: it says what anybody may know, and nothing of who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from interlock.config.serve import Serve

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def routes(url: str, serve: Serve) -> list[BaseRoute]:
    """The metadata of the resource at `url`/mcp, at its own path and, for clients that ask there, at the root."""
    from starlette.responses import Response
    from starlette.routing import Route

    body = msgspec.json.encode(metadata(url, serve))

    async def show(_: Request) -> Response:
        return Response(body, media_type="application/json", headers={"cache-control": "public, max-age=300"})

    return [Route(f"{WELL_KNOWN}{path}", show, methods=["GET"]) for path in ("/mcp", "")]


def metadata(url: str, serve: Serve) -> dict[str, Any]:
    """As RFC 9728 has it. Without an identity provider there is no authorization server: tokens are keys of ours."""
    said: dict[str, Any] = {
        "resource": f"{url}/mcp", "resource_name": "Interlock", "bearer_methods_supported": ["header"],
    }
    if serve.oidc is not None:
        said["authorization_servers"] = [serve.oidc.issuer]
    return said


def challenge(url: str, *, shown: bool) -> str:
    """The `WWW-Authenticate` of a 401. `shown`: a token came, and is not good."""
    error = 'error="invalid_token", ' if shown else ""
    return f'Bearer realm="interlock", {error}resource_metadata="{url}{WELL_KNOWN}/mcp"'
