"""Slack: an approval as a message with buttons, and who pressed one.

Not the answer itself (`control.py`). Law: whoever presses is who Slack's signature says, and answers only where the
config gives that Slack user a name; a card that does not fit whole into the message has no button to say yes with.

Signatures: Slack's "Verifying requests from Slack", version v0: HMAC-SHA256 over `v0:<seconds>:<body>`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from interlock.core.approval import Approval
from interlock.core.call import MICROS
from interlock.notify import Deliver, posted
from interlock.vaults import Vaults

if TYPE_CHECKING:
    from interlock.config.serve import Slack

FRESH = 300  #: seconds that a signature is good for, as Slack recommends
MOST = 2_900  #: characters in one block; Slack takes 3,000


class NotSlack(Exception):
    """It was not signed by Slack, or not lately, or cannot be read."""


class Pressed(Struct, frozen=True):
    """One button, pressed."""

    approval_id: str
    yes: bool
    user_id: str
    response_url: str


def channel(settings: Slack, console: Callable[[], str], remember: Callable[[str], object] = bool) -> Deliver:
    """Deliver by POST to the channel's incoming webhook. `console`: where the console is, for the link; `remember`:
    told of the webhook's address, so that it is in no text."""
    vault = Vaults({"webhook": settings.webhook})

    def deliver(approval: Approval, now: int) -> None:
        url = vault.lend("webhook", tenant=approval.tenant, env=approval.env).strip()
        remember(url)
        if not _may_be_slacks(url):
            raise OSError("the incoming webhook of Slack must be an https:// URL")
        body = msgspec.json.encode(message(approval, console(), now))
        posted(url, body, {"Content-Type": "application/json", "User-Agent": "interlock"})

    return deliver


class Told(Struct, frozen=True):
    """What a pressed button came to: for whoever pressed, or for the channel; in place of the message, or beside it."""

    text: str
    everybody: bool = False
    instead: bool = False


def answer(settings: Slack, to: str, told: Told, *, tenant: str, env: str) -> None:
    """Say it in the channel: an answer to the press itself, Slack shows to nobody. Raises OSError, CredentialError.

    `to` came with the press, signed by Slack. It has to be where the channel's own webhook is.
    """
    webhook = urlsplit(Vaults({"webhook": settings.webhook}).lend("webhook", tenant=tenant, env=env).strip())
    if not _may_be_slacks(to) or urlsplit(to)[:2] != webhook[:2]:
        raise OSError("the address for the answer is not that of the channel's webhook")
    seen_by = "in_channel" if told.everybody else "ephemeral"
    body = {"response_type": seen_by, "replace_original": told.instead, "text": clip(told.text)}
    posted(to, msgspec.json.encode(body), {"Content-Type": "application/json", "User-Agent": "interlock"})


def _may_be_slacks(url: str) -> bool:
    return url.startswith(("https://", "http://127.0.0.1:"))


def message(approval: Approval, console: str, now: int) -> dict[str, Any]:
    """The message. Everything that a model or a tool wrote is plain text, which Slack does not interpret."""
    card, link = approval.card, f"{console}/approvals/{approval.approval_id}"
    arguments = json.dumps(card.arguments, ensure_ascii=False, indent=1)
    suspicious = [f"{path} came from {origin}" for path, origin in card.suspicious.items()]
    minutes = max(0, approval.expires_at - now) // MICROS // 60
    told = [
        f"{card.tool} ({card.effect}, risk {card.risk}) waits for a person",
        f"Rule {card.rule or '-'}: {card.reason}\nAgent {approval.agent}, tenant {approval.tenant}, env {approval.env}."
        + (f"\nCosts ${card.cost_usd / MICROS:g}." if card.cost_usd else "")
        + f"\n{minutes} min left, {len(approval.approvers)} of {approval.quorum} said yes.",
        f"Arguments:\n{arguments}" + ("\n⚠ " + "\n⚠ ".join(suspicious) if suspicious else ""),
    ]
    whole = all(len(each) <= MOST for each in told)
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "emoji": False, "text": clip(each)}} for each in told
    ]
    buttons = [_button("reject", "Reject", approval.approval_id, "danger")]
    if whole:
        buttons.insert(0, _button("approve", "Approve", approval.approval_id, "primary"))
    look = {"type": "button", "action_id": "look", "text": {"type": "plain_text", "text": "Open"}, "url": link}
    blocks.append({"type": "actions", "elements": [*buttons, look]})
    if not whole:
        note = "The arguments do not fit here: open it to read them all and to approve."
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": note}]})
    return {"text": clip(told[0], 200), "blocks": blocks}


def clip(text: str, most: int = MOST) -> str:
    """As much as Slack takes."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def pressed(settings: Slack, headers: Mapping[str, str], body: bytes, now: int) -> Pressed | None:
    """Which button was pressed, by whom; None for one that only opens a page. Raises NotSlack."""
    sent, seconds = headers.get("x-slack-signature", ""), headers.get("x-slack-request-timestamp", "")
    if not seconds.isascii() or not seconds.isdigit() or abs(now // MICROS - int(seconds[:12])) > FRESH:
        raise NotSlack("it carries no recent timestamp")
    secret = Vaults({"signing": settings.signing_secret}).lend("signing", tenant="", env="")
    if not hmac.compare_digest(signature(secret, seconds, body).encode(), sent.encode("utf-8", "replace")):
        raise NotSlack("its signature is not Slack's")
    try:
        payload = json.loads(parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)["payload"][0])
        action = payload["actions"][0]
        what, user, approval_id = str(action["action_id"]), str(payload["user"]["id"]), str(action.get("value", ""))
        answer_to = str(payload.get("response_url", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise NotSlack("it is no pressed button") from None
    if what not in ("approve", "reject"):
        return None
    return Pressed(approval_id=approval_id, yes=what == "approve", user_id=user, response_url=answer_to)


def signature(secret: str, seconds: str, body: bytes) -> str:
    """What Slack sends: `v0=<hex>`."""
    return "v0=" + hmac.new(secret.encode(), b"v0:%b:%b" % (seconds.encode(), body), hashlib.sha256).hexdigest()


def _button(action: str, label: str, value: str, style: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "action_id": action, "text": text, "value": value, "style": style}
