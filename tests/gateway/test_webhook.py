"""The webhook: signed, tried until it arrives, and never in anybody's way."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = "hook-secret-0001"


class Receiver:
    """A web server whose answers are scripted; without a script it says 204."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.script: list[int | Callable[[BaseHTTPRequestHandler], None]] = []
        self.told = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with receiver.told:
                    answer = receiver.script.pop(0) if receiver.script else 204
                    receiver.came.append((self.path, dict(self.headers), body))
                    receiver.told.notify_all()
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer)
                if answer in (301, 302, 307, 308):
                    self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def wait(self, many: int) -> None:
        with self.told:
            assert self.told.wait_for(lambda: len(self.came) >= many, 20), self.came

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("HOOK", SECRET)
    monkeypatch.setattr("interlock.notify.ROUND", 0.01)


def config(url):
    return {"approvals": {"required_for": ["mail.send"], "webhook": {"url": url, "secret": "env:HOOK"}}}


def mails(gw):
    did = []

    @gw.tool("mail.send", effect="write")
    def send(n: int = 0) -> None:
        did.append(n)

    return did


def delivered(gw):
    """Wait until the ledger says that everything has been told."""
    for _ in range(2000):
        if all(approval.notified for approval in gw.control.approvals(waiting=False)):
            return
        time.sleep(0.005)
    pytest.fail("not delivered")


def test_a_question_is_told_signed_and_once(house, start, receiver, clock):
    gw = house.open(config(receiver.url))
    mails(gw)
    out = start(gw).call("mail.send", {"n": 7})
    receiver.wait(1)
    delivered(gw)
    ((path, headers, body),) = receiver.came
    assert path == "/hook"
    told = json.loads(body)
    assert told["event"] == "approval.waiting"
    assert told["approval"]["approval_id"] == out.approval_id == headers["Interlock-Delivery"]
    assert (told["approval"]["tenant"], told["approval"]["card"]["arguments"]) == ("acme", {"n": 7})
    seconds, mac = (part.partition("=")[2] for part in headers["Interlock-Signature"].split(","))
    assert int(seconds) == clock.now() // 1_000_000
    assert mac == hmac.new(SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert SECRET not in repr(receiver.came)
    start(gw).call("mail.send", {"n": 8})
    receiver.wait(2)
    delivered(gw)
    assert len(receiver.came) == 2


def test_it_is_tried_again_until_it_arrives(house, start, receiver, clock):
    receiver.script = [500, 404, 503]
    gw = house.open(config(receiver.url))
    mails(gw)
    out = start(gw).call("mail.send", {})
    for many in range(1, 5):
        receiver.wait(many)
        clock.advance(300)  # the longest pause
    delivered(gw)
    assert [json.loads(body)["approval"]["approval_id"] for _, _, body in receiver.came] == [out.approval_id] * 4


def test_what_was_not_told_survives_a_restart(house, start, receiver):
    gw = house.open(config("http://127.0.0.1:9/nobody"))
    mails(gw)
    out = start(gw).call("mail.send", {})
    house.close()
    gw = house.open(config(receiver.url))
    receiver.wait(1)
    delivered(gw)
    assert receiver.came[0][1]["Interlock-Delivery"] == out.approval_id
    house.close()
    gw = house.open(config(receiver.url))
    mails(gw)
    start(gw).call("mail.send", {"n": 2})
    receiver.wait(2)
    assert len({headers["Interlock-Delivery"] for _, headers, _ in receiver.came}) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(house, start, receiver, status, clock):
    receiver.script = [status]
    gw = house.open(config(receiver.url))
    mails(gw)
    start(gw).call("mail.send", {})
    receiver.wait(1)
    clock.advance(300)
    receiver.wait(2)
    delivered(gw)
    assert {path for path, _, _ in receiver.came} == {"/hook"}


def test_a_slow_receiver_delays_no_call(house, start, receiver):
    let_go = threading.Event()
    receiver.script = [lambda _: let_go.wait(20)]
    gw = house.open(config(receiver.url))
    mails(gw)
    gw.tool("kb.read", effect="read")(lambda: "read")
    run = start(gw)
    out = run.call("mail.send", {}, call_id="c1")
    receiver.wait(1)
    assert run.call("kb.read", {}).kind == "done"
    gw.control.approve(out.approval_id, by="ann")
    assert run.call("mail.send", {}, call_id="c1").kind == "done"
    assert not let_go.is_set()  # nobody has answered the notifier yet
    let_go.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://nobody.invalid/"])
def test_a_dead_receiver_costs_no_call(house, start, url):
    gw = house.open(config(url))
    did, run = mails(gw), start(gw)
    out = run.call("mail.send", {}, call_id="c1")
    gw.control.approve(out.approval_id, by="ann")
    assert run.call("mail.send", {}, call_id="c1").kind == "done"
    assert did == [0]


def test_what_answers_with_no_http_is_tried_again(house, start, receiver, clock):
    receiver.script = [lambda handler: handler.wfile.write(b"hello\r\n\r\n")]
    gw = house.open(config(receiver.url))
    mails(gw)
    start(gw).call("mail.send", {})
    receiver.wait(1)
    clock.advance(300)
    receiver.wait(2)
    delivered(gw)


def test_what_is_answered_already_is_not_told_any_more(house, start, receiver):
    gw = house.open(config("http://127.0.0.1:9/nobody"))
    mails(gw)
    run = start(gw)
    gw.control.reject(run.call("mail.send", {"n": 1}).approval_id, by="ann")
    second = run.call("mail.send", {"n": 2})
    house.close()
    house.open(config(receiver.url))
    receiver.wait(1)
    assert [headers["Interlock-Delivery"] for _, headers, _ in receiver.came] == [second.approval_id]


def test_a_secret_that_cannot_be_read_keeps_the_question_untold_and_is_said(
    house, start, receiver, monkeypatch, caplog, clock
):
    monkeypatch.delenv("HOOK")
    gw = house.open(config(receiver.url))
    mails(gw)
    start(gw).call("mail.send", {})
    for _ in range(2000):
        if "was not delivered" in caplog.text:
            break
        time.sleep(0.005)
    assert "was not delivered" in caplog.text
    assert receiver.came == []
    monkeypatch.setenv("HOOK", SECRET)
    clock.advance(300)
    receiver.wait(1)
