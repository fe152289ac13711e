"""What waits, as it is told to an open page; and the console among the other faces."""

from __future__ import annotations

import asyncio
import json

from starlette.testclient import TestClient

from interlock.core.principal import Role
from interlock.faces.console import desk, live
from interlock.faces.http.compose import compose
from tests.faces.console.conftest import SITE, Person


def told(raw):
    """The name and the data of an event."""
    lines = dict(line.split(": ", 1) for line in raw.decode().strip().split("\n"))
    return lines.get("event"), json.loads(lines["data"]) if "data" in lines else None


def stream_of(world, *roles, tenant=""):
    """The stream of a page of somebody new, and their key."""
    made = desk.Desk(world.service)
    key = world.key("robin", *(roles or (Role.APPROVER,)), tenant=tenant)
    principal = asyncio.run(world.identity.principal_of(key))
    cookie, _ = made.sessions.begin(principal)
    scope = {
        "type": "http", "method": "GET", "path": "/console/live", "query_string": b"",
        "headers": [(b"cookie", f"{made.cookie}={cookie}".encode())],
    }
    session, _ = asyncio.run(made.sessions.read(cookie))
    visit = desk.Visit(made, desk.Request(scope), session, principal, {})
    return live.Arrivals(made), visit, principal.key_id


def test_a_page_hears_what_waits_for_its_tenant_and_nothing_else(world):
    world.refund(world.run("acme"))
    theirs = world.refund(world.run("globex"))
    arrivals, visit, _ = stream_of(world, tenant="globex")

    async def listen():
        answer = await arrivals.stream(visit)
        events = answer.body_iterator
        assert await anext(events) == b"retry: 3000\n\n"
        first = told(await anext(events))
        world.gateway.control.reject(theirs.approval_id, by="sam")
        second = told(await anext(events))
        await events.aclose()
        return first, second

    first, second = asyncio.run(listen())
    assert first[0] == second[0] == "waiting"
    assert [name for name, _ in first[1]["waiting"]] == [theirs.approval_id]
    assert second[1] == {"total": 0, "waiting": []}


def test_a_revoked_key_ends_the_stream(world):
    arrivals, visit, key_id = stream_of(world)

    async def listen():
        events = (await arrivals.stream(visit)).body_iterator
        await anext(events)
        await anext(events)
        world.identity.revoke(key_id, by="sam")
        return [told(each) async for each in events]

    assert asyncio.run(listen()) == [("ended", {})]


def test_many_pages_cost_one_look_at_the_ledger(world):
    looks = []
    approvals = world.gateway.store.approvals
    world.gateway.store.approvals = lambda *how: looks.append(how) or approvals(*how)
    arrivals, visit, _ = stream_of(world)

    async def listen():
        streams = [(await arrivals.stream(visit)).body_iterator for _ in range(20)]
        for events in streams:
            await anext(events)
        await asyncio.gather(*(anext(events) for events in streams))
        for events in streams:
            await events.aclose()

    asyncio.run(listen())
    assert len(looks) == 1


def test_the_console_stands_beside_the_other_faces(world):
    robin = Person(world, world.key("robin", Role.ADMIN))
    with TestClient(compose(world.gateway, world.identity), base_url=SITE, follow_redirects=False) as client:
        robin.client = client
        assert robin.get("/").headers["location"] == "/sign-in"
        assert robin.sign_in().status_code == 303
        page = robin.get("/")
        assert page.status_code == 200
        assert page.headers.get_list("content-security-policy") == [desk.HEADERS["content-security-policy"]]
        assert page.headers.get_list("referrer-policy") == ["same-origin"]
        assert robin.post("/switches/kill", kind="tenant", tenant="acme", reason="try").status_code == 303
        assert client.get("/v1/runs?tenant=acme", headers={"authorization": f"Bearer {robin.key}"}).status_code == 200
        assert client.get("/v1/runs").status_code == 401  # a cookie of the console opens no other face
