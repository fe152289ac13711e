"""What models, tools, agents and clients wrote never becomes markup, and what the vault lends is shown nowhere."""

from __future__ import annotations

import re

import interlock
from tests.faces.console.world import SECRET, XSS

PAGES = (
    "/", "/runs", "/switches", "/switches/kill?kind=agent", "/budgets?tenant=acme", "/tools", "/policy",
    "/audit?tenant=acme",
)
TURNED = "left\u202eright\u0007"


def every_page(world, person):
    robin = person()
    yield from ((path, robin.get(path).text) for path in PAGES)
    for run in world.gateway.store.runs():
        yield "/run", robin.get("/run", tenant=run.tenant, id=run.run_id).text
    for approval in world.gateway.store.approvals():
        yield "/approvals", robin.get(f"/approvals/{approval.approval_id}").text
    for tool in world.gateway.tools:
        yield "/tool", robin.get("/tool", name=tool).text


def test_nothing_that_anybody_wrote_becomes_markup(world, person):
    @world.gateway.tool("refund.evil", effect="write", description=XSS)
    def evil(amount: float, note: str = "") -> str:
        raise interlock.NotDone(f"{XSS} {TURNED}")

    agent = "bot<svg onload=1>"
    run = world.run(agent=agent, request=XSS + TURNED, labels={XSS: XSS}, requested_by=XSS)
    run.call("refund.evil", {"amount": 1.0, "note": XSS}, call_id=XSS)
    asked = run.call("refund.evil", {"amount": 200.0, "note": XSS + TURNED}, call_id="c2")
    world.gateway.control.approve(asked.approval_id, by=f"jo {XSS}", note=XSS + TURNED)
    run.call("refund.evil", {"amount": 300.0, "note": XSS}, call_id="c3")
    run.call(XSS, {XSS: XSS}, call_id="c4")
    world.gateway.control.kill(agent=XSS, reason=XSS + TURNED, by=XSS)
    run.stop("cancelled", XSS)
    shown = 0
    for path, page in every_page(world, person):
        assert "<script>alert" not in page, path
        assert "<img" not in page, path
        assert "<svg onload" not in page, path
        assert "\u202e" not in page, path
        assert "\u0007" not in page, path
        shown += page.count("&lt;script&gt;")
    assert shown > 10


def test_no_page_has_an_inline_script_or_style(world, person):
    world.story()
    for path, page in every_page(world, person):
        assert not re.search(r"<script(?![^>]* src=)", page), path
        assert not re.search(r"<[a-z][^>]*\s(?:style|on[a-z]+)=", page), path
        assert "<style" not in page, path
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), path


def test_what_the_vault_lends_is_on_no_page(world, person):
    gateway = world.gateway

    @gateway.tool("ticket.leaky", effect="write", credential="payments")
    def leaky(credential: interlock.Credential, note: str = "") -> dict[str, str]:
        if note:
            raise RuntimeError(f"could not log in with {credential}")
        return {"header": f"Bearer {credential}"}

    run = world.run()
    run.call("ticket.leaky", {}, call_id="c1")
    run.call("ticket.leaky", {"note": "again"}, call_id="c2")
    world.refund(run, "c3", note=f"use {SECRET}")
    gateway.control.kill(tenant="other", reason=f"the key {SECRET} has leaked", by="sam")
    run.stop("cancelled", f"because of {SECRET}")
    for path, page in every_page(world, person):
        assert SECRET not in page, path


def test_no_page_holds_a_key_or_a_session(world, person):
    robin = person()
    secret, cookie = robin.key.split("_", 2)[2], robin.client.cookies["interlock_session"]
    for path in PAGES:
        page = robin.get(path).text
        assert secret not in page
        assert cookie not in page


def test_trouble_says_nothing_of_its_cause(world, person):
    def broken(*_, **__):
        raise RuntimeError(f"inside: {SECRET}")

    robin = person()
    world.gateway.store.runs = broken
    answer = robin.get("/runs")
    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert SECRET not in answer.text
    assert "<h1>" in answer.text
