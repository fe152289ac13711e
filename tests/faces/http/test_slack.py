"""Approvals in Slack: a message with buttons, and answers only from whom the config names."""

import json
import time
import urllib.parse

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import interlock
from interlock.faces.http import slack as face
from interlock.slack import FRESH, MOST, message, signature
from interlock.testing import ManualClock

SECRET = "slack-signing-secret-1"
CLICK = {"user": {"id": "U1"}, "response_url": "https://hooks.example/r"}


class Served:
    """What the face needs of a service."""

    def __init__(self, gateway):
        self.gateway = gateway

    async def blocking(self, fn, *args, **kwargs):
        return fn(*args, **kwargs)


@pytest.fixture
def gateway(monkeypatch):
    monkeypatch.setenv("SLACK_SECRET", SECRET)
    monkeypatch.setenv("SLACK_HOOK", "http://127.0.0.1:9/hook")
    config = {
        "ledger": "memory:",
        "policy": {"allow": ["refund"], "rules": [{"id": "ask", "tools": ["refund"], "then": "ask"}]},
        "serve": {
            "slack": {
                "webhook": "env:SLACK_HOOK", "signing_secret": "env:SLACK_SECRET",
                "approvers": {"U1": "ada", "U2": "bot"},
            }
        },
    }
    with interlock.open(config, clock=ManualClock()) as gateway:

        @gateway.tool("refund", effect="irreversible")
        def refund(amount: int, note: str = "") -> str:
            return f"refunded {amount}"

        yield gateway


@pytest.fixture
def client(gateway):
    return TestClient(Starlette(routes=face.routes(Served(gateway))))


def ask(gateway, **args):
    run = gateway.run(agent="bot", tenant="acme", env="prod")
    return run, run.call("refund", {"amount": 3, **args}, call_id="c1")


def press(client, gateway, action, approval_id, *, user="U1", late=0, secret=SECRET, payload=None):
    if payload is None:
        click = {**CLICK, "user": {"id": user}, "actions": [{"action_id": action, "value": approval_id}]}
        payload = urllib.parse.urlencode({"payload": json.dumps(click)}).encode()
    seconds = str(gateway.clock.now() // 1_000_000 - late)
    headers = {"X-Slack-Request-Timestamp": seconds, "X-Slack-Signature": signature(secret, seconds, payload)}
    return client.post("/slack/actions", content=payload, headers=headers)


def test_a_button_approves_under_the_name_of_the_config(client, gateway):
    run, asked = ask(gateway)
    answer = press(client, gateway, "approve", asked.approval_id)
    assert (answer.status_code, answer.json()["text"]) == (200, "refund is approved: yes by ada.")
    assert run.call("refund", {"amount": 3}, call_id="c1").value == "refunded 3"
    by = [entry.by for entry in gateway.audit.entries(tenant="acme") if entry.kind == "approved"]
    assert by == ["ada"]


def test_a_button_rejects(client, gateway):
    run, asked = ask(gateway)
    assert press(client, gateway, "reject", asked.approval_id).json()["text"] == "refund is rejected: no by ada."
    assert run.call("refund", {"amount": 3}, call_id="c1").kind == "denied"


@pytest.mark.parametrize(
    "how",
    [{"secret": "another"}, {"late": FRESH + 1}, {"late": -FRESH - 1}, {"payload": b"payload=%7B"}, {"payload": b"x"}],
)
def test_what_slack_has_not_signed_lately_or_cannot_be_read_answers_nothing(client, gateway, how):
    _, asked = ask(gateway)
    assert press(client, gateway, "approve", asked.approval_id, **how).status_code == 401
    assert len(gateway.control.approvals()) == 1


def test_a_signature_is_of_one_body(client, gateway):
    _, asked = ask(gateway)
    seconds = str(gateway.clock.now() // 1_000_000)
    headers = {"X-Slack-Request-Timestamp": seconds, "X-Slack-Signature": signature(SECRET, seconds, b"payload=1")}
    assert client.post("/slack/actions", content=b"payload=2", headers=headers).status_code == 401
    assert asked.kind == "pending"


def test_somebody_in_the_channel_whom_the_config_does_not_name_changes_nothing(client, gateway):
    _, asked = ask(gateway)
    told = press(client, gateway, "approve", asked.approval_id, user="U9").json()
    assert told["response_type"] == "ephemeral"
    assert "not among those" in told["text"]
    assert len(gateway.control.approvals()) == 1


def test_whoever_asked_cannot_approve_here_either(client, gateway):
    _, asked = ask(gateway)
    told = press(client, gateway, "approve", asked.approval_id, user="U2").json()
    assert "asked for this call" in told["text"]
    assert len(gateway.control.approvals()) == 1


def test_a_second_press_is_told_that_it_was_answered(client, gateway):
    _, asked = ask(gateway)
    press(client, gateway, "approve", asked.approval_id)
    assert "already" in press(client, gateway, "approve", asked.approval_id).json()["text"]


def test_a_button_that_opens_a_page_answers_nothing(client, gateway):
    _, asked = ask(gateway)
    assert press(client, gateway, "look", asked.approval_id).text == ""
    assert len(gateway.control.approvals()) == 1


def test_the_message_shows_the_card_as_plain_text(gateway):
    ask(gateway, note="<!channel> *hi* <https://evil.example|click>")
    (approval,) = gateway.control.approvals()
    told = message(approval, "https://interlock.example", gateway.clock.now())
    texts = [block["text"] for block in told["blocks"] if "text" in block]
    assert {each["type"] for each in texts} == {"plain_text"}
    assert "<!channel>" in texts[2]["text"]
    assert [each["action_id"] for each in told["blocks"][-1]["elements"]] == ["approve", "reject", "look"]
    assert told["blocks"][-1]["elements"][2]["url"].endswith(f"/approvals/{approval.approval_id}")


def test_a_card_that_does_not_fit_has_no_button_to_approve_with(gateway):
    ask(gateway, note="x" * MOST)
    (approval,) = gateway.control.approvals()
    told = message(approval, "https://interlock.example", gateway.clock.now())
    actions = next(block for block in told["blocks"] if block["type"] == "actions")
    assert [each["action_id"] for each in actions["elements"]] == ["reject", "look"]
    assert all(len(block["text"]["text"]) <= 3000 for block in told["blocks"] if "text" in block)


def test_where_slack_cannot_be_reached_it_is_told_and_tried_again(gateway):
    ask(gateway)
    give_up = time.monotonic() + 20
    while not gateway.undelivered() and time.monotonic() < give_up:
        time.sleep(0.02)
    (trouble,) = gateway.undelivered()
    assert trouble.tenant == "acme"
    assert trouble.tries >= 1
    assert "127.0.0.1:9" not in trouble.error
