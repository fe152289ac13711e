"""The console: what people see and do, in a browser. Server-rendered; everything works without JavaScript.

Not the API (`faces/http/`). Law: this table is the list of all pages and acts, each with the roles that it is for; a
page reads what its visitor may see, and an act goes through `Control` under their name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from interlock.faces.http.service import Service


def routes(service: Service) -> list[BaseRoute]:
    """All routes of the console, for the root of the application."""
    from interlock.core.principal import Role
    from interlock.faces.console import (
        approvals,
        audit,
        budgets,
        live,
        policy,
        runs,
        sign_in,
        switches,
        tools,
    )
    from interlock.faces.console.desk import PEOPLE, READERS, Desk

    desk = Desk(service)
    door = sign_in.Door(desk)
    answering, acting = (Role.APPROVER,), (Role.OPERATOR,)
    return [
        desk.open("/sign-in", door.show, ["GET"]),
        desk.open("/sign-in", door.enter, ["POST"]),
        desk.open("/sign-in/provider", door.leave_for_provider, ["GET"]),
        desk.open("/sign-in/callback", door.back_from_provider, ["GET"]),
        desk.post("/sign-out", door.leave, PEOPLE, "sign out"),
        desk.get("/", approvals.waiting, PEOPLE, "the approvals"),
        desk.get("/console/live", live.Arrivals(desk).stream, PEOPLE, "the approvals"),
        desk.get("/approvals/{approval_id}", approvals.one, PEOPLE, "an approval"),
        desk.post("/approvals/{approval_id}/approve", approvals.approve, answering, "approve"),
        desk.post("/approvals/{approval_id}/reject", approvals.reject, answering, "reject"),
        desk.get("/runs", runs.listed, PEOPLE, "the runs"),
        desk.get("/run", runs.one, PEOPLE, "a run"),
        desk.post("/run/reconcile", runs.reconcile, acting, "reconcile"),
        desk.post("/run/top-up", runs.top_up, acting, "top up"),
        desk.get("/switches", switches.listed, PEOPLE, "the kill switches"),
        desk.get("/switches/kill", switches.ask, acting, "kill"),
        desk.post("/switches/kill", switches.kill, acting, "kill"),
        desk.post("/switches/release", switches.release, acting, "release"),
        desk.get("/budgets", budgets.shown, READERS, "the budgets"),
        desk.get("/tools", tools.listed, READERS, "the tools"),
        desk.get("/tool", tools.one, READERS, "a tool"),
        desk.post("/tool/accept", tools.accept, acting, "accept a definition"),
        desk.get("/audit", audit.search, READERS, "the audit"),
        desk.post("/audit/verify", audit.verify, READERS, "verify the audit"),
        desk.get("/audit/checkpoints", audit.checkpoints, READERS, "the checkpoints"),
        desk.post("/audit/checkpoint", audit.checkpoint, acting, "sign a checkpoint"),
        desk.get("/policy", policy.shown, PEOPLE, "the policy"),
        desk.post("/policy", policy.tried, PEOPLE, "try a call"),
        desk.open("/console/static/{name}", desk.asset, ["GET"]),
    ]
