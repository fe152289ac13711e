"""Telling people that an approval waits: a signed webhook, or whatever else delivers.

Not the question itself, which is in the ledger, and not on the road of any call. Law: what could not be delivered stays
marked so in the ledger and is tried again, also by the next process; delivery may happen twice, never never.

The body is JSON; `Interlock-Signature: t=<seconds>,v1=<hex>` is HMAC-SHA256 over `<seconds>.<body>` with the shared
secret. A receiver recomputes it, compares in constant time, and refuses old timestamps.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from interlock.config.values import ApprovalSettings
from interlock.core.approval import Approval, Standing
from interlock.core.call import MICROS
from interlock.errors import LedgerUnavailable
from interlock.ports import ApprovalKey, HeadKey
from interlock.unit import Tx, Unit
from interlock.vaults import Vaults

if TYPE_CHECKING:
    from interlock.gateway import Gateway

Deliver = Callable[[Approval, int], None]
"""Tell somebody of an approval, at a time (microseconds). Raises OSError where it did not arrive."""

TIMEOUT = 10.0  #: seconds for one delivery
ROUND = 0.5  #: seconds between looks for what is to be told
LONGEST = 300.0  #: seconds between tries, at most


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A signed body goes to the address that was configured, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def webhook(settings: ApprovalSettings, remember: Callable[[str], object] = bool) -> Deliver:
    """Deliver by POST to the configured URL. `remember`: told of the secret, so that it is in no text."""
    url = settings.webhook_url or ""
    vault = Vaults({"webhook": settings.webhook_secret}) if settings.webhook_secret else None

    def deliver(approval: Approval, now: int) -> None:
        body = msgspec.json.encode({"event": "approval.waiting", "approval": approval})
        headers = {"Content-Type": "application/json", "User-Agent": "interlock"}
        headers["Interlock-Delivery"] = approval.approval_id
        if vault is not None:
            secret = vault.lend("webhook", tenant=approval.tenant, env=approval.env)
            remember(secret)
            headers["Interlock-Signature"] = signature(secret, now // MICROS, body)
        posted(url, body, headers)

    return deliver


def posted(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST to an address of the config. Raises OSError where it was not taken."""
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310  http(s), of the config
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            answer.read(1024)
    except HTTPException as error:
        raise OSError(f"the receiver does not speak HTTP: {type(error).__name__}") from error


def signature(secret: str, seconds: int, body: bytes) -> str:
    """What a receiver checks: `t=<seconds>,v1=<hex HMAC-SHA256 of "<seconds>.<body>">`."""
    mac = hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={mac}"


class Undelivered(Struct, frozen=True):
    """An approval that nobody could be told of yet."""

    approval_id: str
    tenant: str
    tries: int
    error: str  #: of the last try, redacted
    next_at: int  #: microseconds


class Notifier:
    """One daemon thread that delivers what waits, to everybody who is to be told."""

    def __init__(self, gateway: Gateway, *deliver: Deliver) -> None:
        self._gateway = gateway
        self._deliver = deliver
        self._failed: dict[str, Undelivered] = {}
        self._over = threading.Event()
        self._later: dict[str, tuple[int, float]] = {}  # approval → when to try again (µs), the pause after that (s)
        self._thread = threading.Thread(target=self._work, name="interlock-notifier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def close(self) -> None:
        """Stop. What was not delivered is tried again by the next gateway."""
        self._over.set()
        self._thread.join(2 * TIMEOUT)

    def undelivered(self) -> Sequence[Undelivered]:
        """What waits and did not arrive, as far as this process has tried."""
        return list(self._failed.values())

    def _work(self) -> None:
        while not self._over.wait(ROUND):
            try:
                self.deliver_waiting()
            except LedgerUnavailable as error:
                self._gateway.telemetry.trouble("the notifier could not reach the ledger; it goes on trying", error)

    def deliver_waiting(self) -> None:
        """Try once for each approval that waits, has not been told, and whose pause is over."""
        waiting = self._gateway.store.approvals(standing=Standing.WAITING)
        now = self._gateway.clock.now()
        ids = {each.approval_id for each in waiting}
        self._later = {approval_id: later for approval_id, later in self._later.items() if approval_id in ids}
        self._failed = {approval_id: each for approval_id, each in self._failed.items() if approval_id in ids}
        for approval in waiting:
            at, pause = self._later.get(approval.approval_id, (0, ROUND))
            if approval.notified or now < at or self._over.is_set():
                continue
            try:
                for deliver in self._deliver:  # where one fails, all are told again
                    deliver(approval, now)
            except Exception as error:  # whatever it was, it has not arrived, and the others must go out
                pause = min(2 * pause, LONGEST)
                self._later[approval.approval_id] = (now + int(pause * MICROS), pause)
                before = self._failed.get(approval.approval_id)
                self._failed[approval.approval_id] = Undelivered(
                    approval.approval_id, approval.tenant, before.tries + 1 if before else 1,
                    self._gateway.redactor.redact_text(f"{type(error).__name__}: {error}")[:300],
                    now + int(pause * MICROS),
                )
                what = f"approval {approval.approval_id} was not delivered, next try in {pause:g} s"
                self._gateway.telemetry.trouble(what, error)
            else:
                self._failed.pop(approval.approval_id, None)
                self._gateway.committer.run(_delivered(approval))


def _delivered(seen: Approval) -> Unit[None]:
    key = ApprovalKey(seen.tenant, seen.approval_id)

    def mark(tx: Tx) -> None:
        approval = tx.get(key)
        if approval is not None:
            tx.put(key, replace(approval, notified=True))

    return Unit((HeadKey(seen.tenant), key), mark)
