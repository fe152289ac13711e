"""Who may see and do what: every route for every role, and the other tenant's things."""

from __future__ import annotations

import pytest

from interlock.core.principal import Role
from interlock.faces import console

PEOPLE = (Role.APPROVER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN)
ALL = {"/", "/approvals/{approval_id}", "/runs", "/run", "/switches", "/policy", "/console/live"}
READING = {"/budgets", "/tools", "/tool", "/audit", "/audit/checkpoints", "/audit/verify"}
OPEN = {"/sign-in", "/sign-in/provider", "/sign-in/callback", "/console/static/{name}"}
ANSWERING = {"/approvals/{approval_id}/approve", "/approvals/{approval_id}/reject"}
OPERATING = {
    "/run/reconcile", "/run/top-up", "/switches/kill", "/switches/release", "/tool/accept", "/audit/checkpoint",
}
OF_NO_TENANT = {"/switches", "/tools", "/tool"}  #: nothing in their address can name a tenant
MAY = {
    Role.APPROVER: ALL | ANSWERING | {"/sign-out"},
    Role.OPERATOR: ALL | READING | OPERATING | {"/sign-out"},
    Role.AUDITOR: ALL | READING | {"/sign-out"},
    Role.ADMIN: ALL | READING | OPERATING | ANSWERING | {"/sign-out"},
}


def routes(world):
    return [(route.path, method) for route in console.routes(world.service) for method in route.methods - {"HEAD"}]


def test_every_route_is_in_the_table_of_this_test(world):
    assert {path for path, _ in routes(world)} == ALL | READING | OPEN | ANSWERING | OPERATING | {"/sign-out"}


@pytest.mark.parametrize("role", PEOPLE)
def test_each_role_reaches_what_it_may_and_is_audited_where_it_may_not(world, person, role):
    robin = person(role)
    csrf = robin.csrf
    turned_away = 0
    for path, method in sorted(routes(world)):
        if path in OPEN or path in ("/console/live", "/sign-out"):
            continue
        where = path.replace("{approval_id}", "ap_none")
        answer = robin.get(where) if method == "GET" else robin.post(where, csrf=csrf)
        if path in MAY[role]:
            assert answer.status_code != 403, (path, method)
        else:
            turned_away += 1
            assert answer.status_code == 403, (path, method)
    entries = list(world.gateway.audit.entries("*"))
    assert [entry.kind for entry in entries].count("turned_away") == turned_away
    assert all(entry.by == "robin" for entry in entries if entry.kind == "turned_away")


def test_nobody_without_a_session_reaches_any_page(world):
    from tests.faces.console.conftest import Person

    stranger = Person(world, "")
    for path, method in routes(world):
        if path in OPEN:
            continue
        answer = stranger.client.request(method, path.replace("{approval_id}", "ap_none"))
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), path


def test_the_other_tenants_things_do_not_exist(world, person):
    runs = world.story()
    robin = person(tenant="globex")
    csrf = robin.csrf
    theirs = next(each for each in world.gateway.control.approvals("acme"))
    run = {"tenant": "acme", "run": runs["waiting"].run_id}
    before = len(list(world.gateway.audit.entries("globex")))
    answers = [
        robin.get(f"/approvals/{theirs.approval_id}"),
        robin.post(f"/approvals/{theirs.approval_id}/approve", csrf, digest=theirs.digest),
        robin.post(f"/approvals/{theirs.approval_id}/reject", csrf),
        robin.get("/run", tenant="acme", id=runs["waiting"].run_id),
        robin.get("/run", id=runs["waiting"].run_id),
        robin.post("/run/top-up", csrf, **run, unit="steps", more="5"),
        robin.post("/run/reconcile", csrf, **run, call="c1", happened="yes"),
        robin.get("/runs", tenant="acme"),
        robin.get("/", tenant="acme"),
        robin.get("/budgets", tenant="acme"),
        robin.get("/audit", tenant="acme"),
        robin.get("/audit", tenant="*"),
        robin.post("/audit/verify", csrf, tenant="acme"),
        robin.post("/audit/checkpoint", csrf, tenant="*"),
        robin.get("/audit/checkpoints", tenant="acme"),
        robin.get("/switches/kill", kind="tenant", tenant="acme"),
        robin.post("/switches/kill", csrf, kind="tenant", tenant="acme", reason="mine now"),
        robin.post("/switches/release", csrf, tenant="acme"),
        robin.post("/switches/release", csrf),
        robin.post("/policy", csrf, tenant="acme", agent="bot", env="prod", tool="ticket.read", args="{}"),
        robin.post("/tool/accept", csrf, tool="refund.create", offered="x"),
        robin.get("/console/live", tenant="acme"),
    ]
    tried = {answer.request.url.path.replace(theirs.approval_id, "{approval_id}") for answer in answers}
    assert tried == (ALL | READING | ANSWERING | OPERATING) - OF_NO_TENANT
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    entries = list(world.gateway.audit.entries("globex"))[before:]
    assert [entry.kind for entry in entries] == ["turned_away"] * len(answers)
    assert world.gateway.control.switches() == ()
    assert theirs.approval_id in {each.approval_id for each in world.gateway.control.approvals("acme")}


def test_a_person_of_one_tenant_sees_nothing_of_another_on_any_page(world, person):
    world.story()
    world.gateway.control.kill(tenant="acme", reason="secret-of-acme", by="sam")
    robin = person(tenant="globex")
    for path in ("/", "/runs", "/switches", "/budgets", "/tools", "/audit", "/policy", "/switches/kill?kind=agent"):
        page = robin.get(path).text
        assert "acme" not in page, path


def test_an_operator_of_one_tenant_stops_that_tenant_alone(world, person):
    robin = person(Role.OPERATOR, tenant="globex")
    assert robin.post("/switches/kill", kind="everything", reason="all of it").status_code == 303
    (switch,) = world.gateway.control.switches()
    assert (switch.scope.tenant, switch.by) == ("globex", "robin")
    world.gateway.control.kill(reason="everything", by="sam")
    assert "everything" in robin.get("/switches").text  # it holds for them too
    assert robin.post("/switches/release").status_code == 404
    assert robin.post("/switches/release", tenant="globex").status_code == 303
    assert [str(each.scope) for each in world.gateway.control.switches()] == ["everything"]
