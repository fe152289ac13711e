"""Credentials: lent for one call to the tool that may have them, and seen nowhere else: canaries over every surface."""

import asyncio
import base64
import gc
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote

import pytest

import interlock
from tests.gateway.test_telemetry import EXPORTER, spans  # noqa: F401  a fixture

SECRET = "canary/Zx9+sec ret=Ω7"
CREDENTIALS = {"credentials": {"zendesk": "env:ZENDESK_{TENANT}_{ENV}", "other": "env:OTHER"}}
SPELLINGS = {
    SECRET,
    json.dumps(SECRET)[1:-1],
    json.dumps(json.dumps(SECRET))[3:-3],
    quote(SECRET),
    quote(SECRET, safe=""),
    SECRET.encode().hex(),
    base64.b64encode(SECRET.encode()).decode()[:-4],
    SECRET[:12],
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("ZENDESK_ACME_PROD", SECRET)
    monkeypatch.setenv("ZENDESK_OTHER_PROD", "other-tenant-secret")


def lend(gw, name="zendesk.call", use=lambda _: None, **said):
    @gw.tool(name, **{"effect": "write", "credential": "zendesk", "dedupe": "off", **said})
    def call(key: interlock.Credential, note: str = "") -> object:
        return use(key)

    return call


# --- who gets it -----------------------------------------------------------------------------------------------------


def test_a_tool_gets_the_credential_of_its_tenant_and_env(house, start):
    gw, seen = house.open(CREDENTIALS), []
    lend(gw, use=lambda key: seen.append(str(key)))
    assert start(gw).call("zendesk.call", {}).kind == "done"
    assert start(gw, tenant="other").call("zendesk.call", {}).kind == "done"
    assert seen == [SECRET, "other-tenant-secret"]


def test_it_is_in_no_schema_and_a_model_cannot_fill_it(house, start):
    gw, seen = house.open(CREDENTIALS), []
    lend(gw, use=lambda key: seen.append(str(key)))
    assert "key" not in json.dumps(gw.tools["zendesk.call"].tool.schema)
    assert start(gw).call("zendesk.call", {"key": "mine"}).kind == "denied"
    assert seen == []


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_what_cannot_be_lent_is_failed_and_nothing_was_performed(house, start, caller):
    gw, seen = house.open(CREDENTIALS), []
    lend(gw, use=seen.append, cost={"usd": 1})
    lend(gw, "other.call", use=seen.append, credential="other", cost={"usd": 1})
    for tenant, tool in (("nobody", "zendesk.call"), ("acme", "other.call")):
        run = start(gw, tenant=tenant, budgets={"max_usd": 5})
        out = run.call(tool, {}) if caller == "sync" else asyncio.run(run.acall(tool, {}))
        assert (out.kind, seen, run.report().usd.used) == ("failed", [], 0)
        assert "could not lend it the credential" in out.text


def test_why_it_could_not_be_lent_is_for_operators_and_not_for_a_model(house, start, tmp_path, caplog):
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.txt").chmod(0o644)
    gw = house.open({**CREDENTIALS, "credentials": {"zendesk": f"file:{tmp_path}/secret.txt", "other": "env:NOT_SET"}})
    lend(gw, use=str)
    lend(gw, "other.call", use=str, credential="other")
    run = start(gw)
    for tool, why in (("zendesk.call", "secret.txt"), ("other.call", "NOT_SET")):
        outs = [run.call(tool, {}, call_id=tool), run.call(tool, {}, call_id=tool)]
        assert [(out.kind, out.replayed) for out in outs] == [("failed", False), ("failed", True)]
        for out in outs:
            assert why not in out.text
            assert str(tmp_path) not in out.text
        (record,) = (each for each in gw.store.calls_of("acme", run.run_id) if each.call.tool == tool)
        assert why in record.error
        assert why in "".join(entry.error for entry in gw.audit.entries("acme", run.run_id) if entry.tool == tool)
        assert why in caplog.text


def test_a_repr_of_what_is_lent_shows_nothing(house, start):
    gw, seen = house.open(CREDENTIALS), []
    lend(gw, use=lambda key: seen.append(repr(key)))
    start(gw).call("zendesk.call", {})
    assert seen == ["Credential([redacted])"]


def test_arguments_that_hold_a_lent_credential_are_denied_and_stored_nowhere(house, start, surfaces):
    gw, did = house.open(CREDENTIALS), []

    @gw.tool("mail.send", effect="write")
    def send(body: str, n: int = 0) -> None:
        did.append(body)

    lend(gw)
    run = start(gw, budgets={"max_denials": 50})
    run.call("zendesk.call", {})
    outs = [
        run.call("mail.send", {"body": f"the key is {SECRET}!"}),
        run.call("mail.send", {"body": base64.b64encode(SECRET.encode()).decode()}),
        run.call("mail.send", {"body": "x", "n": SECRET}),  # wrong in another way too
        run.call("mail.send", {"body": "x", SECRET: 1}),
        run.call("mail.send", {"body": "x"}, call_id="ok"),
    ]
    assert [out.kind for out in outs] == ["denied"] * 4 + ["done"]
    assert "credential" in outs[0].text
    assert did == ["x"]
    assert_clean(*outs, *surfaces(gw))


# --- canaries --------------------------------------------------------------------------------------------------------


def leaks(surface) -> list[str]:
    raw = surface if isinstance(surface, bytes) else f"{surface!r}\n{surface}".encode("utf-8", "surrogateescape")
    return [spelling for spelling in SPELLINGS if spelling.encode() in raw]


def assert_clean(*surfaces):
    for surface in surfaces:
        assert leaks(surface) == [], f"{surface!r:.2000}"


@pytest.fixture
def surfaces(house, caplog, spans):  # noqa: F811
    """Everything that is left behind, as bytes."""
    caplog.set_level(logging.DEBUG)

    def collect(gw):
        found = [caplog.text, *(record.__dict__ for record in caplog.records)]
        found += [span.to_json() for span in spans()]
        for tenant in gw.audit.tenants():
            found += list(gw.audit.export(tenant=tenant)) + list(gw.audit.entries(tenant=tenant))
            assert gw.audit.verify(tenant=tenant).ok
        found += [gw.control.approvals(waiting=False), gw.control.switches(active=False)]
        found += [gw.store.calls_of(run.tenant, run.run_id) for run in gw.store.runs()]
        found += [list(gw.store.runs())]
        if house.kind == "sqlite":
            found.append(gw.audit.checkpoint(tenant="acme"))
            files = [path for path in house.folder.rglob("*") if path.is_file()]
            assert len(files) >= 3
            found += [path.read_bytes() for path in files]
        else:
            found += [body for rows in gw.store._rows.values() for body in rows.values()]
        return found

    return collect


class Odd(Exception):
    def __init__(self, key):
        super().__init__("odd")
        self.text = f"text {key}"


WAYS = {
    "text": lambda key: f"token={key}",
    "json": lambda key: {"headers": [{"Authorization": f"Bearer {key}"}], str(key): 1},
    "base64": lambda key: base64.b64encode(b"user:" + key.encode()).decode(),
    "bytes": lambda key: b"raw " + key.encode(),
    "hex": lambda key: key.encode().hex(),
    "url": lambda key: f"https://x/?key={quote(key, safe='')}",
    "error": lambda key: (_ for _ in ()).throw(ValueError(f"bad key {key}")),
    "not done": lambda key: (_ for _ in ()).throw(interlock.NotDone(f"bad key {key}")),
    "credential error": lambda key: (_ for _ in ()).throw(interlock.CredentialError(f"bad key {key}")),
    "an error cut in the middle": lambda key: (_ for _ in ()).throw(ValueError("x" * 480 + key)),
    "a result cut in the middle": lambda key: "x" * 970 + key,
    "odd error": lambda key: (_ for _ in ()).throw(Odd(key)),
    "exit": lambda key: (_ for _ in ()).throw(SystemExit(f"bye {key}")),
    "itself": lambda key: key,
    "object": lambda key: type("Thing", (), {"__repr__": lambda _: f"<thing {key}>"})(),
}


@pytest.mark.parametrize("kind", ["sync", "threaded", "async"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_lent_is_on_no_surface(house, start, surfaces, way, kind):
    gw = house.open({**CREDENTIALS, "limits": {"result_bytes": 1000}})
    if kind == "async":

        @gw.tool("zendesk.call", effect="write", credential="zendesk")
        async def call(key: interlock.Credential) -> object:
            return WAYS[way](key)
    else:
        lend(gw, use=WAYS[way], **({"timeout": "10s"} if kind == "threaded" else {}))
    with start(gw) as run:
        run.begin_step()
        outs = [run.call("zendesk.call", {}, call_id="c1"), run.call("zendesk.call", {}, call_id="c1")]
        outs += [asyncio.run(run.acall("zendesk.call", {}, call_id=f"a{n}")) for n in (1, 1)]
    assert_clean(*outs, *surfaces(gw), run.report())


def test_what_people_and_programs_write_down_is_redacted_too(house, start, surfaces):
    gw = house.open({**CREDENTIALS, "approvals": {"required_for": ["mail.*"]}, "budgets": {"usd_per_day": 5}})
    lend(gw)
    lend(gw, "zendesk.lose", use=lambda _: 1 / 0)

    @gw.tool("mail.send", effect="write")
    def send(n: int) -> None: ...

    run = start(gw)
    run.call("zendesk.call", {})
    run.call("zendesk.lose", {}, call_id="lost")
    run = start(gw, request=f"use {SECRET} please", labels={"key": SECRET}, run_id=run.run_id + "2")
    run.call("zendesk.lose", {}, call_id="lost")
    control = gw.control
    control.approve(run.call("mail.send", {"n": 1}).approval_id, by="ann", note=f"key {SECRET}")
    control.reject(run.call("mail.send", {"n": 2}).approval_id, by="ann", note=f"key {SECRET}")
    with pytest.raises(interlock.Refused, match="credential"):
        control.approve(run.call("mail.send", {"n": 3}).approval_id, by="ann", args={"n": SECRET})
    control.kill(tool="x", by="ann", reason=SECRET)
    control.release(tool="x", by="ann", reason=SECRET)
    control.reconcile(
        tenant="acme", run_id=run.run_id, call_id="lost", happened=True, value={"k": SECRET}, by="ann", note=SECRET
    )
    control.top_up(tenant="acme", window="day", usd=1, by="ann", note=SECRET)
    run.stop("tool_error", f"gave up: {SECRET}")
    assert_clean(*surfaces(gw), run.report())


def test_a_late_thread_leaks_nothing(house, start, surfaces):
    gw, go = house.open(CREDENTIALS), threading.Event()

    def use(key):
        go.wait(10)
        raise ValueError(f"bad key {key}")

    lend(gw, use=use, timeout="50ms")
    run = start(gw)
    outs = [run.call("zendesk.call", {}), asyncio.run(run.acall("zendesk.call", {}))]
    go.set()
    gw._stage._pool.shutdown(wait=True)
    gc.collect()  # asyncio tells of errors that nobody fetched when their futures are gone
    assert_clean(*outs, *surfaces(gw))


def test_an_async_tool_that_will_not_end_leaks_nothing(house, start, surfaces, monkeypatch):
    monkeypatch.setattr("interlock.perform.GRACE", 0.01)
    gw = house.open(CREDENTIALS)

    @gw.tool("zendesk.call", effect="write", credential="zendesk", timeout="20ms")
    async def call(key: interlock.Credential) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            raise ValueError(f"bad key {key}") from None

    async def main():
        out = await start(gw).acall("zendesk.call", {})
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return out

    out = asyncio.run(main())
    assert out.kind == "unknown"
    gc.collect()
    assert_clean(out, *surfaces(gw))


def test_the_webhook_carries_nothing_that_was_lent(house, start, surfaces, monkeypatch):
    bodies, came = [], threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()
            came.set()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("HOOK", "hook-secret")
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        try:
            hook = {"url": f"http://127.0.0.1:{server.server_port}/", "secret": "env:HOOK"}
            gw = house.open({**CREDENTIALS, "approvals": {"required_for": ["mail.*"], "webhook": hook}})
            lend(gw, use=lambda key: key)
            gw.tool("mail.send", effect="write")(lambda: None)
            run = start(gw)
            run.call("zendesk.call", {})
            again = start(gw, request=f"use {SECRET}")
            again.call("mail.send", {})
            assert came.wait(10)
        finally:
            server.shutdown()
            server.server_close()
    assert_clean(*bodies, *surfaces(gw))
    assert "hook-secret" not in repr(bodies)


def test_the_exporter_was_listening(spans, house, start):  # noqa: F811  or the surfaces above prove nothing of traces
    gw = house.open()
    gw.tool("kb.read", effect="read")(lambda: 1)
    start(gw).call("kb.read", {})
    assert len(EXPORTER.get_finished_spans()) == 1
