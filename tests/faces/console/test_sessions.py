"""Signing in, staying in, and being put out."""

from __future__ import annotations

import pytest

from interlock.core.principal import Role
from tests.faces.console.conftest import SITE, Person, token_in


def test_a_key_signs_in_and_leads_to_where_one_wanted_to_go(world):
    robin = Person(world, world.key("robin", Role.APPROVER))
    assert robin.get("/runs").headers["location"] == "/sign-in?next=%2Fruns"
    answer = robin.sign_in("/runs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    assert robin.get("/runs").status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(world):
    cookie = Person(world, world.key("robin", Role.APPROVER)).sign_in().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age=43200" in cookie


@pytest.mark.parametrize("key", ["", "ilk_0000000000000000_" + "a" * 43, "nonsense", "x" * 20_000])
def test_a_wrong_key_says_no_more_than_that(world, key):
    answer = Person(world, key).sign_in()
    assert answer.status_code == 401
    assert "this is no valid credential" in answer.text
    assert "interlock_session" not in answer.headers["set-cookie"]


def test_an_agents_key_cannot_sign_in_and_the_try_is_audited(world):
    key = world.key("bot", Role.AGENT, tenant="acme", agent="bot", env="prod")
    answer = Person(world, key).sign_in()
    assert answer.status_code == 403
    assert "interlock_session" not in answer.headers["set-cookie"]
    assert [entry.kind for entry in world.gateway.audit.entries("acme")] == ["turned_away"]


def test_a_revoked_key_ends_its_sessions_at_once(world, person):
    robin = person()
    assert robin.get("/").status_code == 200
    world.identity.revoke(robin.key.split("_")[1], by="sam")
    assert robin.get("/").headers["location"] == "/sign-in"


def test_a_session_ends_with_the_day_and_with_its_key(world):
    robin = Person(world, world.key("robin", Role.APPROVER))
    robin.sign_in()
    world.clock.advance(11 * 3600)
    assert robin.get("/").status_code == 200
    world.clock.advance(3600)
    assert robin.get("/").status_code == 303


def test_a_cookie_that_was_not_signed_here_is_nobody(world, person):
    robin = person()
    cookie = robin.client.cookies["interlock_session"]
    body, mac = cookie.split(".")
    for forged in (body, f"{body}.", f"{body}.{mac[:-2]}AA", f"e30.{mac}", "a.b", "é.é", "." * 3, "A" * 9_000):
        robin.client.cookies.clear()
        headers = [(b"cookie", f"interlock_session={forged}".encode("latin-1"))]
        assert robin.client.get("/", headers=headers).status_code == 303, forged[:40]


def test_another_gateways_cookie_is_nobody_here(world, person):
    from tests.faces.console.world import World

    cookie = person().client.cookies["interlock_session"]
    other = World()
    try:
        stranger = Person(other, "")
        stranger.client.cookies.set("interlock_session", cookie)
        assert stranger.get("/").status_code == 303
    finally:
        other.gateway.close()


def test_signing_out_takes_the_cookie_away(person):
    robin = person()
    answer = robin.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert robin.get("/").status_code == 303


@pytest.mark.parametrize("token", ["", "0" * 64, "x"])
def test_a_form_without_the_token_of_its_session_does_nothing(world, person, token):
    robin = person()
    answer = robin.post("/switches/kill", csrf=token, kind="everything", reason="a forged form")
    assert answer.status_code == 403
    assert world.gateway.control.switches() == ()


def test_a_form_of_another_session_does_nothing(world, person):
    robin, sam = person(), person(name="sam")
    answer = robin.post("/switches/kill", csrf=sam.csrf, kind="everything", reason="a forged form")
    assert answer.status_code == 403
    assert world.gateway.control.switches() == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_form_that_another_site_sends_does_nothing(world, person, headers):
    robin = person()
    form = {"csrf": robin.csrf, "kind": "everything", "reason": "a forged form"}
    assert robin.client.post("/switches/kill", data=form, headers=headers).status_code == 403
    assert world.gateway.control.switches() == ()


def test_a_sign_in_form_of_another_browser_does_not_sign_in(world):
    robin, other = Person(world, world.key("robin", Role.APPROVER)), Person(world, "")
    token = token_in(other.get("/sign-in").text)
    robin.get("/sign-in")
    assert robin.client.post("/sign-in", data={"csrf": token, "key": robin.key}).status_code == 403


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "javascript:alert(1)", "/sign-out"]
)
def test_signing_in_never_leads_elsewhere(world, where):
    answer = Person(world, world.key("robin", Role.APPROVER)).sign_in(where)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_link_from_elsewhere_is_asked_for_once_more_with_the_cookie(world):
    stranger = Person(world, "")
    answer = stranger.client.get("/approvals/ap_1?x=1", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'content="0;url=/approvals/ap_1?x=1"' in answer.text
    again = stranger.client.get("/approvals/ap_1?x=1", headers={"sec-fetch-site": "same-origin"})
    assert again.headers["location"] == "/sign-in?next=%2Fapprovals%2Fap_1%3Fx%3D1"


def test_every_answer_is_closed_to_scripts_frames_and_caches_of_others(world, person):
    robin = person()
    answers = [robin.get(path) for path in ("/", "/sign-in", "/run", "/approvals/none")]
    for answer in (*answers, Person(world, "").get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_assets_are_served_by_content_and_nothing_else_is(person):
    robin = person()
    page = robin.get("/").text
    kinds = {"console.css": "text/css", "console.js": "text/javascript", "htmx.min.js": "text/javascript"}
    for name, media in kinds.items():
        path = page.split(f"/console/static/{name}")[1].split('"')[0]
        found = robin.client.get(f"/console/static/{name}{path}")
        assert found.status_code == 200
        assert found.headers["content-type"].startswith(media)
    for name in ("htmx.LICENSE", "../desk.py", "%2e%2e%2fdesk.py", "none.css"):
        assert robin.client.get(f"/console/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"a=1", "application/json", 415), (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"a=%ff", "application/x-www-form-urlencoded", 400), (b"a=1&a=2", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"f%d=1" % n for n in range(100)), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * 2_000_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused_in_words(person, body, kind, status):
    answer = person().client.post("/switches/kill", content=body, headers={"content-type": kind, "origin": SITE})
    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_a_part_of_a_page_without_a_session_sends_the_browser_to_sign_in(world):
    answer = Person(world, "").client.get("/", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")
