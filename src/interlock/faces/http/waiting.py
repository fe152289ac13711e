"""Waiting for people: long polls and event streams that wake when an approval is answered.

Not the answering. Law: however many wait, the ledger is looked at by one watcher, whose work grows with what happens
and not with who waits; it reads the audit from where it was, because every answer is in there; nobody waits, nobody
looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Head, decode
from interlock.errors import InterlockError
from interlock.faces.http.bodies.approvals import approval_view
from interlock.ports import ApprovalKey, HeadKey

if TYPE_CHECKING:
    from interlock.gateway import Gateway

LOOK = 0.25  #: seconds between looks
SIGN_OF_LIFE = 15.0  #: seconds without news before a stream says that it lives
BEHIND = 1_000  #: events that a slow reader may leave unread; then its stream is ended, and it asks again
STREAMS = 1_000  #: in one process
_MARK = b'"approval_id":'  #: entries without it are passed over unread

_encode = msgspec.json.Encoder().encode
Gone = Callable[[], Awaitable[None]]


class _Stream:
    """One reader of events."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant  #: "" for all of them
        self.news: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND)

    def tell(self, event: bytes) -> None:
        try:
            self.news.put_nowait(event)
        except asyncio.QueueFull:
            while not self.news.empty():
                self.news.get_nowait()
            self.news.put_nowait(None)


class Waiting:
    """One for each process that serves."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}  # by approval
        self._tenants: dict[str, int] = {}  # how many wait for something of theirs
        self._read: dict[str, int] = {}  # up to where a tenant's audit has been read
        self._streams: set[_Stream] = set()
        self._watch: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()

    def look_now(self) -> None:
        """Somebody has answered here: no need to wait for the next look."""
        self._sooner.set()

    # --- one approval ------------------------------------------------------------------------------------------------

    async def answered(self, approval: Approval, seconds: float, gone: Gone) -> Approval:
        """The approval once it waits no more; or as it is, when the time is over or nobody is there to be told."""
        tenant, key = approval.tenant, ApprovalKey(approval.tenant, approval.approval_id)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key.approval_id, set()).add(future)
        left: asyncio.Future[None] | None = None
        try:
            await self._follow(tenant)
            found = await self._load(key) or approval  # it may have been answered before anybody watched
            if found.standing is not Standing.WAITING:
                return found
            left = asyncio.ensure_future(_wait_for(gone))
            await asyncio.wait({future, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if left is not None:
                left.cancel()
            self._leave(key.approval_id, future)
            self._unfollow(tenant)
        return (await self._load(key) or found) if future.done() else found

    def _leave(self, approval_id: str, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(approval_id, set())
        waiters.discard(future)
        if not waiters:
            self._waiters.pop(approval_id, None)

    async def _load(self, key: ApprovalKey) -> Approval | None:
        return await asyncio.to_thread(self._gateway.store.load, key)

    # --- all of them -------------------------------------------------------------------------------------------------

    async def events(self, tenant: str, gone: Gone) -> AsyncIterator[bytes]:
        """What waits now, then whatever changes: `event:` is where an approval stands, `data:` the approval."""
        stream = _Stream(tenant)
        self._streams.add(stream)
        await self._follow(tenant)
        left = asyncio.ensure_future(_wait_for(gone))
        try:
            yield b"retry: 3000\n\n"
            for approval in await asyncio.to_thread(self._gateway.control.approvals, tenant or None):
                yield _event(approval)
            while not left.done():
                news = asyncio.ensure_future(stream.news.get())
                done, _ = await asyncio.wait({news, left}, timeout=SIGN_OF_LIFE, return_when=asyncio.FIRST_COMPLETED)
                if news not in done:
                    news.cancel()
                    if not left.done():
                        yield b": still here\n\n"
                elif (event := news.result()) is not None:
                    yield event
                else:
                    return
        finally:
            left.cancel()
            self._streams.discard(stream)
            self._unfollow(tenant)

    @property
    def is_full(self) -> bool:
        """True where no more streams are opened."""
        return len(self._streams) >= STREAMS

    # --- the watcher -------------------------------------------------------------------------------------------------

    async def _follow(self, tenant: str) -> None:
        """Read this tenant's audit from now on. "" is every tenant's."""
        self._tenants[tenant] = self._tenants.get(tenant, 0) + 1
        if tenant and tenant not in self._read:
            head = await asyncio.to_thread(self._gateway.store.load, HeadKey(tenant))
            self._read.setdefault(tenant, (head or Head()).seq)
        elif not tenant and self._tenants[""] == 1:
            for each, seq in (await asyncio.to_thread(self._heads)).items():
                self._read.setdefault(each, seq)
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._look())

    def _unfollow(self, tenant: str) -> None:
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]
            if tenant and "" not in self._tenants:
                self._read.pop(tenant, None)
        if not self._tenants and self._watch is not None:
            self._read.clear()
            self._watch.cancel()
            self._watch = None

    def _heads(self) -> dict[str, int]:
        store = self._gateway.store
        return {each: (store.load(HeadKey(each)) or Head()).seq for each in store.tenants()}

    async def _look(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), LOOK)
            self._sooner.clear()
            try:
                changed = await asyncio.to_thread(self._changed, dict(self._read), "" in self._tenants)
            except InterlockError as error:  # the next look may be better
                self._gateway.telemetry.trouble("the approvals could not be watched", error)
                await asyncio.sleep(1)
                continue
            for approvals, tenant, seq in changed:
                if tenant in self._read or "" in self._tenants:
                    self._read[tenant] = seq
                for approval in approvals:
                    self._tell(approval)

    def _changed(self, read: dict[str, int], everybody: bool) -> list[tuple[list[Approval], str, int]]:
        """What has changed since the last look: the approvals, and up to where each audit was read."""
        store, found = self._gateway.store, []
        for tenant in store.tenants() if everybody else list(read):
            since = read.get(tenant, 0)
            if (store.load(HeadKey(tenant)) or Head()).seq <= since:
                continue
            ids: dict[str, None] = {}
            for sealed in store.entries(tenant, since):
                since = sealed.seq
                if _MARK in sealed.body:
                    ids[decode(sealed.body).approval_id] = None
            approvals = [store.load(ApprovalKey(tenant, each)) for each in ids if each]
            found.append(([approval for approval in approvals if approval is not None], tenant, since))
        return found

    def _tell(self, approval: Approval) -> None:
        if approval.standing is not Standing.WAITING:
            for future in self._waiters.get(approval.approval_id, ()):
                if not future.done():
                    future.set_result(None)
        event = _event(approval) if self._streams else b""
        for stream in self._streams:
            if stream.tenant in ("", approval.tenant):
                stream.tell(event)


async def _wait_for(gone: Gone) -> None:
    await gone()


def _event(approval: Approval) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (approval.standing.encode(), _encode(approval_view(approval)))
