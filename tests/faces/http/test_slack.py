"""Approvals in Slack: a message with buttons, and answers only from whom the config names."""

import json
import os
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import interlock
from interlock.faces.http import slack as face
from interlock.slack import FRESH, MOST, message, signature
from interlock.testing import ManualClock

SECRET = "slack-signing-secret-1"


class Channel(BaseHTTPRequestHandler):
    """What Slack shows of what it is sent: messages at /hook, answers to a press at /r."""

    shown: dict

    def do_POST(self):
        self.shown.setdefault(self.path, []).append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def slack():
    """Where it stands. `Channel.shown` has what it was sent."""
    Channel.shown = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Channel) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Served:
    """What the face needs of a service."""

    def __init__(self, gateway):
        self.gateway = gateway

    async def blocking(self, fn, *args, **kwargs):
        return fn(*args, **kwargs)


CONFIG = {
    "ledger": "memory:",
    "policy": {"allow": ["refund"], "rules": [{"id": "ask", "tools": ["refund"], "then": "ask"}]},
    "serve": {
        "slack": {
            "webhook": "env:SLACK_HOOK", "signing_secret": "env:SLACK_SECRET",
            "approvers": {"U1": "ada", "U2": "bot"},
        }
    },
}


def opened(**config):
    """A gateway with a tool that asks; close it."""
    gateway = interlock.open({**CONFIG, **config}, clock=ManualClock())

    @gateway.tool("refund", effect="irreversible")
    def refund(amount: int, note: str = "") -> str:
        return f"refunded {amount}"

    return gateway


def client_of(gateway):
    return TestClient(Starlette(routes=face.routes(Served(gateway))))


@pytest.fixture
def gateway(monkeypatch, slack):
    monkeypatch.setenv("SLACK_SECRET", SECRET)
    monkeypatch.setenv("SLACK_HOOK", f"{slack}/hook")
    with opened() as gateway:
        yield gateway


@pytest.fixture
def client(gateway):
    return client_of(gateway)


def ask(gateway, **args):
    run = gateway.run(agent="bot", tenant="acme", env="prod")
    return run, run.call("refund", {"amount": 3, **args}, call_id="c1")


def press(client, gateway, action, approval_id, *, user="U1", late=0, secret=SECRET, payload=None, to=""):
    if payload is None:
        to = to or os.environ["SLACK_HOOK"].replace("/hook", "/r")
        click = {"user": {"id": user}, "actions": [{"action_id": action, "value": approval_id}], "response_url": to}
        payload = urllib.parse.urlencode({"payload": json.dumps(click)}).encode()
    seconds = str(gateway.clock.now() // 1_000_000 - late)
    headers = {"X-Slack-Request-Timestamp": seconds, "X-Slack-Signature": signature(secret, seconds, payload)}
    return client.post("/slack/actions", content=payload, headers=headers)


def told(client, gateway, *pressed, **how):
    """What is shown after a press."""
    assert press(client, gateway, *pressed, **how).status_code == 200
    return Channel.shown["/r"][-1]


def test_a_button_approves_under_the_name_of_the_config(client, gateway):
    run, asked = ask(gateway)
    said = told(client, gateway, "approve", asked.approval_id)
    assert said["text"] == "refund is approved: yes by ada."
    assert (said["response_type"], said["replace_original"]) == ("in_channel", True)  # its buttons are gone
    assert run.call("refund", {"amount": 3}, call_id="c1").value == "refunded 3"
    by = [entry.by for entry in gateway.audit.entries(tenant="acme") if entry.kind == "approved"]
    assert by == ["ada"]


def test_a_button_rejects(client, gateway):
    run, asked = ask(gateway)
    assert told(client, gateway, "reject", asked.approval_id)["text"] == "refund is rejected: no by ada."
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
    said = told(client, gateway, "approve", asked.approval_id, user="U9")
    assert (said["response_type"], said["replace_original"]) == ("ephemeral", False)
    assert "not among those" in said["text"]
    assert len(gateway.control.approvals()) == 1


def test_whoever_asked_cannot_approve_here_either(client, gateway):
    _, asked = ask(gateway)
    assert "asked for this call" in told(client, gateway, "approve", asked.approval_id, user="U2")["text"]
    assert len(gateway.control.approvals()) == 1


def test_a_second_press_is_told_that_it_was_answered(client, gateway):
    _, asked = ask(gateway)
    press(client, gateway, "approve", asked.approval_id)
    assert "already" in told(client, gateway, "approve", asked.approval_id)["text"]


@pytest.mark.parametrize("to", ["https://hooks.elsewhere.example/r", "http://169.254.169.254/", "file:///etc/passwd"])
def test_an_answer_goes_where_the_channels_webhook_is_and_nowhere_else(client, gateway, to, caplog):
    _, asked = ask(gateway)
    assert press(client, gateway, "approve", asked.approval_id, to=to).status_code == 200
    assert "/r" not in Channel.shown
    assert "not that of the channel's webhook" in caplog.text
    assert gateway.control.approvals() == []  # the answer itself stands


def test_one_yes_of_two_leaves_the_buttons_where_they_are(gateway):
    with opened(approvals={"quorum": 2}) as careful:
        _, asked = ask(careful)
        said = told(client_of(careful), careful, "approve", asked.approval_id)
    assert (said["text"], said["replace_original"]) == ("refund is waiting: yes by ada.", False)


def test_a_button_that_opens_a_page_answers_nothing(client, gateway):
    _, asked = ask(gateway)
    assert press(client, gateway, "look", asked.approval_id).text == ""
    assert "/r" not in Channel.shown
    assert len(gateway.control.approvals()) == 1


def test_the_message_shows_the_card_as_plain_text(gateway):
    ask(gateway, note="<!channel> *hi* <https://evil.example|click>")
    (approval,) = gateway.control.approvals()
    sent = message(approval, "https://interlock.example", gateway.clock.now())
    texts = [block["text"] for block in sent["blocks"] if "text" in block]
    assert {each["type"] for each in texts} == {"plain_text"}
    assert "<!channel>" in texts[2]["text"]
    assert [each["action_id"] for each in sent["blocks"][-1]["elements"]] == ["approve", "reject", "look"]
    assert sent["blocks"][-1]["elements"][2]["url"].endswith(f"/approvals/{approval.approval_id}")


def test_a_card_that_does_not_fit_has_no_button_to_approve_with(gateway):
    ask(gateway, note="x" * MOST)
    (approval,) = gateway.control.approvals()
    sent = message(approval, "https://interlock.example", gateway.clock.now())
    actions = next(block for block in sent["blocks"] if block["type"] == "actions")
    assert [each["action_id"] for each in actions["elements"]] == ["reject", "look"]
    assert all(len(block["text"]["text"]) <= 3000 for block in sent["blocks"] if "text" in block)


def test_where_slack_cannot_be_reached_it_is_told_and_tried_again(gateway, monkeypatch):
    monkeypatch.setenv("SLACK_HOOK", "http://127.0.0.1:9/hook")
    ask(gateway)
    give_up = time.monotonic() + 20
    while not gateway.undelivered() and time.monotonic() < give_up:
        time.sleep(0.02)
    (trouble,) = gateway.undelivered()
    assert trouble.tenant == "acme"
    assert trouble.tries >= 1
    assert "127.0.0.1:9" not in trouble.error
