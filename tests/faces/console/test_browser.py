"""The console in a real browser: what a person sees, clicks and types, and what the agents notice of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from interlock.assemble import SystemClock
from interlock.core.principal import Role
from tests.faces.console.browser import PATIENCE, PHONE, WIDE, Visitor, chromium, served
from tests.faces.console.world import SECRET, World

expect.set_options(timeout=PATIENCE)
SCREENSHOTS = Path(__file__).parents[3] / "docs" / "screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in which it is now: its pages are live."""
    monkeypatch.setenv("CONSOLE_TEST_PAYMENTS", SECRET)
    made = World(SystemClock())
    yield made
    made.gateway.close()


@pytest.fixture
def site(now: World) -> Iterator[str]:
    with served(now) as url:
        yield url


@pytest.fixture
def visit(browser: Browser, now: World, site: str) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def arrive(*roles: Role, **how: object) -> Visitor:
        visitors.append(Visitor(browser, site, now.key("robin", *(roles or (Role.ADMIN,))), **how))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.leave()


def test_a_call_that_arrives_is_approved_and_runs(now, visit):
    page = visit(Role.APPROVER).page
    expect(page.get_by_text("Nothing waits for an answer")).to_be_visible()
    run = now.run(request="I paid 240 euros and want them back.")
    run.call("ticket.read", {"number": 7}, call_id="c0")
    now.refund(run)
    card = page.get_by_role("article", name="refund.create")
    expect(card).to_be_visible()  # by itself: nobody has loaded the page again
    expect(page.get_by_role("status")).to_contain_text("New: refund.create")
    expect(card.get_by_text("came from ticket.read (untrusted)")).to_be_visible()
    card.get_by_label("Note").fill("seen in the shop")
    card.get_by_role("button", name="Approve refund.create").click()
    expect(card.locator(".badge", has_text="approved")).to_be_visible()
    assert now.refund(run).kind == "done"
    assert now.performed[-1][0] == "refund.create"


def test_arguments_are_edited_and_what_is_wrong_with_them_is_said_in_place(now, visit):
    run = now.run()
    now.refund(run)
    page = visit(Role.APPROVER).page
    card = page.get_by_role("article", name="refund.create")
    card.get_by_text("Edit the arguments").click()
    card.get_by_label("Arguments, as JSON").fill('{"customer": "C-1001"')
    card.get_by_role("button", name="Approve with these arguments").click()
    expect(card.get_by_role("alert")).to_contain_text("not JSON")
    card.get_by_label("Arguments, as JSON").fill('{"customer": "C-1001", "amount": 20.0, "iban": "DE00 1111"}')
    card.get_by_role("button", name="Approve with these arguments").click()
    expect(card.get_by_text("Edited by a person, and performed instead")).to_be_visible()
    assert now.refund(run).kind == "done"
    assert now.performed[-1][1]["amount"] == 20.0


def test_what_somebody_is_writing_is_not_swept_away_by_what_arrives(now, visit):
    run = now.run()
    now.refund(run)
    page = visit(Role.APPROVER).page
    note = page.get_by_role("article", name="refund.create").get_by_label("Note")
    note.fill("half a sent")
    now.run("globex").call("email.send", {"to": "joe@globex.example", "body": "Dear Joe"}, call_id="c1")
    expect(page.get_by_role("article", name="email.send")).to_be_visible()
    expect(page.get_by_role("article").first).to_contain_text("email.send")  # the newest first
    expect(note).to_have_value("half a sent")


def test_an_answer_given_elsewhere_shows_here(now, visit):
    pending = now.refund(now.run())
    page = visit(Role.APPROVER).page
    card = page.get_by_role("article", name="refund.create")
    expect(card.get_by_role("button", name="Approve refund.create")).to_be_visible()
    now.gateway.control.reject(pending.approval_id, by="sam", note="no")
    expect(card.locator(".badge", has_text="rejected")).to_be_visible()
    expect(card.get_by_role("button", name="Approve refund.create")).to_have_count(0)


def test_the_keyboard_alone_is_enough_to_approve(now, visit):
    run = now.run()
    now.refund(run)
    page = visit(Role.APPROVER).page
    page.reload()
    keys = page.keyboard
    reached = []
    for _ in range(40):
        keys.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.trim() || document.activeElement.name"))
        if reached[-1] == "note":
            keys.type("by hand")
        if reached[-1].startswith("Approve"):
            break
    assert reached[0] == "Skip to the content"
    assert reached.index("note") == len(reached) - 2
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # where one is can be seen
    keys.press("Enter")
    card = page.get_by_role("article", name="refund.create")
    expect(card.get_by_text("by hand")).to_be_visible()
    expect(card).to_be_focused()  # and not at the top of the page again
    assert now.refund(run).kind == "done"


def test_without_scripts_a_form_posts_and_leads_on(now, visit):
    run = now.run()
    now.refund(run)
    page = visit(Role.APPROVER, java_script_enabled=False).page
    page.get_by_role("button", name="Approve refund.create").click()
    expect(page.get_by_text("Approved. The call runs when the agent sends it again.")).to_be_visible()
    assert now.refund(run).kind == "done"


def test_a_tenant_is_killed_and_its_calls_stop(now, visit):
    run, other = now.run("acme"), now.run("globex")
    assert run.call("ticket.read", {"number": 1}, call_id="c1").kind == "done"
    page = visit(Role.OPERATOR).go("/switches")
    page.get_by_role("link", name="Tenant acme").click()
    expect(page.get_by_role("heading", name="Stop tenant acme")).to_be_visible()
    page.get_by_label("Why?").fill("incident 7")
    page.get_by_role("button", name="Stop tenant acme").click()
    expect(page.get_by_text("The kill switch holds, in every process.")).to_be_visible()
    assert run.call("ticket.read", {"number": 2}, call_id="c2").kind == "stopped"
    assert other.call("ticket.read", {"number": 2}, call_id="c2").kind == "done"
    page.get_by_role("button", name="Release tenant acme").click()
    expect(page.get_by_text("Nothing is killed.")).to_be_visible()


def test_a_finished_run_is_a_picture(visit, now):
    run = now._whole_run()
    page = visit(Role.AUDITOR).go(f"/run?tenant=acme&id={run.run_id}")
    rows = page.get_by_role("list", name="Steps and calls over time").get_by_role("listitem")
    expect(rows).to_have_count(8)
    expect(rows.filter(has_text="refund.create")).to_contain_text("done")
    expect(rows.filter(has_text="db.write")).to_contain_text("unknown")
    for bar in page.locator("svg .bar").all():
        assert bar.bounding_box()["width"] > 0
        paint = bar.evaluate("bar => [getComputedStyle(bar).fill, bar.getAttribute('fill')]")
        assert paint != ["rgb(0, 0, 0)", None], "a bar without a colour"
    expect(page.get_by_role("img", name=re.compile("Steps: 3 used"))).to_be_visible()


def test_signing_out_ends_it(visit):
    page = visit().page
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()


def test_a_revoked_key_ends_an_open_page(visit, now):
    page = visit(Role.APPROVER).page
    expect(page.get_by_text("live")).to_be_visible()
    (key,) = now.identity.keys()
    now.identity.revoke(key.key_id, by="sam")
    expect(page.get_by_label("Key")).to_be_visible()


# --- every page, as it looks -----------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, dict[str, str]]]:
    """A world with a story behind it, whose clock stands still, and the address of each of its pages."""
    monkeypatch.setenv("CONSOLE_TEST_PAYMENTS", SECRET)
    world = World()
    runs = world.story()
    world.gateway.control.kill(tenant="globex", agent="billing-bot", reason="wrong invoices, incident 7", by="sam")
    yield world, {
        "approvals": "/", "runs": "/runs?agent=support-bot", "run": f"/run?tenant=acme&id={runs['finished'].run_id}",
        "stopped-run": f"/run?tenant=globex&id={runs['stopped'].run_id}", "kill-switches": "/switches",
        "kill": "/switches/kill?kind=tenant&tenant=acme", "budgets": "/budgets?tenant=acme", "tools": "/tools",
        "tool": "/tool?name=refund.create", "audit": f"/audit?tenant=acme&run={runs['finished'].run_id}",
        "policy": "/policy?tool=refund.create",
    }
    world.gateway.close()


LOOKS = [("light", "light", WIDE), ("dark", "dark", WIDE), ("phone", "light", PHONE)]


@pytest.mark.parametrize(("name", "scheme", "size"), LOOKS)
def test_every_page_fits_its_screen_and_has_its_landmarks(browser, told, name, scheme, size):
    """With INTERLOCK_SCREENSHOTS set, the pictures of docs/ are made anew."""
    world, pages = told
    keep = bool(os.environ.get("INTERLOCK_SCREENSHOTS"))
    with served(world) as site:
        visitor = Visitor(browser, site, world.key("Robin", Role.ADMIN), viewport=size, color_scheme=scheme)
        for page_name, path in pages.items():
            page = visitor.go(path)
            expect(page.get_by_role("main")).to_be_visible()
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], f"{page_name} is {wide} wide"
            unnamed = page.evaluate(
                "[...document.querySelectorAll('input:not([type=hidden]),select,textarea')]"
                ".filter(field => !field.labels.length).map(field => field.name)"
            )
            assert unnamed == [], f"{page_name}: fields without a label"
            if keep and (name != "dark" or page_name in ("approvals", "run")):
                SCREENSHOTS.mkdir(exist_ok=True)
                page.screenshot(path=SCREENSHOTS / f"{page_name}-{name}.png", full_page=True)
        visitor.leave()
