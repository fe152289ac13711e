"""The way to the providers: one session that is kept open, and what may go over it.

Not what is said (`dialect.py`). Law: the provider is sent our credential and never the caller's; headers pass by name,
in both directions; a redirect is not followed, for it could lead the credential elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from interlock.config.serve import ModelProvider
from interlock.errors import CredentialError
from interlock.faces.http.proxy.asked import refuse
from interlock.faces.http.proxy.sse import TooLong

if TYPE_CHECKING:
    import aiohttp

    from interlock.core.principal import Principal
    from interlock.gateway import Gateway

CONNECT = 10.0  #: seconds
LARGE = 262_144  #: bytes of a body that are not written at once
IDLE = 10.0  #: seconds that a connection is kept for the next request; providers close theirs later

#: what of a request is sent on
ASKED = ("accept", "anthropic-beta", "anthropic-version", "openai-beta", "x-client-request-id")
#: what of an answer is sent back; names that end with "-" stand for all that begin so
ANSWERED = (
    "content-type", "request-id", "x-request-id", "retry-after", "retry-after-ms", "x-should-retry",
    "openai-processing-ms", "openai-version", "anthropic-ratelimit-", "x-ratelimit-",
)


class NotSent(Exception):
    """The provider has not got the request."""


class BrokenOff(Exception):
    """What the provider did with the request, nobody will hear."""


class Upstream:
    """The session of one process. It opens when it is first needed, in the loop that needs it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Without cookies, proxies of the environment, or limits other than ours."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE), cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT), headers={"user-agent": "interlock"},
            )
        return self._session

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def lent(self, name: str, who: Principal) -> str:
        """The credential for one request; it waits for the vault. Raises CredentialError."""
        try:
            value = self._gateway.vault.lend(name, tenant=who.tenant, env=who.env)
        except CredentialError:
            raise
        except Exception as error:  # whatever a vault runs into, nothing has begun
            raise CredentialError(f"the vault could not lend {name!r}: {type(error).__name__}") from error
        self._gateway.redactor.remember(value)
        if not (value.isascii() and value.isprintable()):
            raise CredentialError(f"credential {name!r} cannot stand in a header")
        return value

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request under way. Raises NotSent and BrokenOff for all that aiohttp may run into."""
        import aiohttp

        data = BytesIO(body) if body is not None and len(body) > LARGE else body  # written piece by piece
        try:
            async with self.session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                yield answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL):
            raise NotSent from None
        except (aiohttp.ClientError, ConnectionError):
            raise BrokenOff from None

    def cleaned(self, raw: bytes) -> bytes:
        """Without our credential."""
        text = raw.decode("utf-8", "surrogateescape")
        clean = self._gateway.redactor.redact_text(text)
        return raw if clean == text else clean.encode("utf-8", "surrogateescape")

    def passed(self, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """What of an answer's headers the client sees, without our credential."""
        for name, value in headers.items():
            if any(name.lower() == each or (each[-1] == "-" and name.lower().startswith(each)) for each in ANSWERED):
                yield name.lower(), self._gateway.redactor.redact_text(value)


async def read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All of the body. Raises TooLong."""
    parts, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > most:
            raise TooLong(f"an answer of more than {most} bytes")
        parts.append(chunk)
    return b"".join(parts)


def address(provider: ModelProvider, path: str) -> str:
    """Where a request goes."""
    base = provider.url.rstrip("/")
    if path.startswith("/v1/"):  # Anthropic's base URL is without the version, and is written with it as often
        base = base.removesuffix("/v1")
    return base + path


def sent(headers: Mapping[str, str], provider: str, credential: str) -> dict[str, str]:
    """The headers of a request: those that may pass, and our credential."""
    found = {name: headers[name] for name in ASKED if name in headers}
    for name, value in found.items():
        if not (value.isascii() and value.isprintable()):
            refuse(f"the header {name} holds what no header may")
    found |= {"accept-encoding": "identity", "content-type": "application/json"}
    own = {"x-api-key": credential} if provider == "anthropic" else {"authorization": f"Bearer {credential}"}
    return found | own
