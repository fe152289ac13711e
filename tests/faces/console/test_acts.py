"""What people do at the console, and what comes of it."""

from __future__ import annotations

import json
from functools import partial

import pytest

from interlock import pins
from interlock.core.call import Effect, Tool
from interlock.core.principal import Role
from interlock.tools.cooperative import RemoteTool
from interlock.unit import Unit


@pytest.fixture
def asked(world):
    run = world.run(request="I paid 240 euros and want them back.")
    run.call("ticket.read", {"number": 7}, call_id="c0")
    return run, world.refund(run)


def test_an_approved_call_runs_when_it_is_sent_again(world, person, asked):
    run, pending = asked
    robin = person(Role.APPROVER)
    card = robin.get("/").text
    for told in ("refund.create", "irreversible", "risk high", "big-refund", "refunds above 100 need a person",
                 "came from ticket.read (untrusted)", "$0.01", "support-bot", "60 min</span> left", "I paid 240 euros"):
        assert told in card, told
    digest = world.gateway.store.find_approval(pending.approval_id).digest
    answer = robin.post(f"/approvals/{pending.approval_id}/approve", digest=digest, note="fine <b>by</b> me")
    assert answer.headers["location"] == f"/approvals/{pending.approval_id}?done=approved"
    page = robin.client.get(answer.headers["location"]).text
    assert "Approved. The call runs when the agent sends it again." in page
    assert "fine &lt;b&gt;by&lt;/b&gt; me" in page
    assert world.refund(run).kind == "done"
    assert world.performed[-1][0] == "refund.create"
    assert "Nothing waits for an answer" in robin.get("/").text


def test_a_rejected_call_does_not_run_and_says_who_said_no(world, person, asked):
    run, pending = asked
    person(Role.APPROVER).post(f"/approvals/{pending.approval_id}/reject", note="not our customer")
    outcome = world.refund(run)
    assert outcome.kind == "denied"
    assert "not our customer" in outcome.text


def test_edited_arguments_are_performed_instead(world, person, asked):
    run, pending = asked
    robin, path = person(Role.APPROVER), f"/approvals/{pending.approval_id}/approve"
    digest = world.gateway.store.find_approval(pending.approval_id).digest
    args = {"customer": "C-1001", "amount": 90.0, "iban": "DE00 1111"}
    answer = robin.post(path, digest=digest, what="edited", args=json.dumps(args))
    assert answer.status_code == 303
    assert world.refund(run).kind == "done"
    assert world.performed[-1][1]["amount"] == 90.0
    page = robin.get(f"/approvals/{pending.approval_id}").text
    assert "Edited by a person, and performed instead" in page
    assert "DE00 1111" in page


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("{", "not JSON"), ("[]", "must be a JSON object"), ("[" * 5000, "not JSON"),
        ('{"customer": "C", "iban": "x"}', "cannot be taken"), ('{"amount": "[redacted]"}', "still hold [redacted]"),
    ],
)
def test_edited_arguments_that_cannot_be_are_refused_in_place(world, person, asked, args, told):
    _, pending = asked
    digest = world.gateway.store.find_approval(pending.approval_id).digest
    form = {"digest": digest, "what": "edited", "args": args, "note": "n1"}
    answer = person().post(f"/approvals/{pending.approval_id}/approve", **form)
    assert answer.status_code in (409, 422)
    assert told in answer.text
    assert "n1</textarea>" in answer.text  # what was written is not lost
    assert len(world.gateway.control.approvals()) == 1


def test_what_was_edited_meanwhile_is_not_approved_unseen(world, person, asked):
    _, pending = asked
    answer = person().post(f"/approvals/{pending.approval_id}/approve", digest="sha256:of-something-older")
    assert answer.status_code == 409
    assert "look again" in answer.text
    assert world.gateway.store.find_approval(pending.approval_id).standing == "waiting"


def test_whoever_asked_cannot_say_yes(world, person):
    run = world.run(requested_by="robin")
    pending = world.refund(run)
    robin = person(Role.APPROVER)
    page = robin.get("/").text
    assert "You cannot say yes" in page
    digest = world.gateway.store.find_approval(pending.approval_id).digest
    answer = robin.post(f"/approvals/{pending.approval_id}/approve", digest=digest)
    assert answer.status_code == 409
    assert "cannot approve it" in answer.text


def test_what_waits_under_a_kill_switch_is_frozen_and_says_so(world, person, asked):
    _, pending = asked
    robin = person()
    world.clock.advance(600)
    world.gateway.control.kill(tenant="acme", reason="incident 7", by="sam")
    world.clock.advance(7_200)
    page = robin.get("/").text
    assert "frozen" in page
    assert "Kill switch for tenant acme" in page
    digest = world.gateway.store.find_approval(pending.approval_id).digest
    answer = robin.post(f"/approvals/{pending.approval_id}/approve", digest=digest)
    assert answer.status_code == 409
    assert "is frozen" in answer.text
    world.gateway.control.release(tenant="acme", by="sam", reason="over")
    assert "50 min</span> left" in robin.get("/").text  # its clock stood still


def test_a_part_of_a_page_answers_a_form_that_htmx_sent(world, person, asked):
    _, pending = asked
    robin = person()
    form = {"csrf": robin.csrf, "digest": world.gateway.store.find_approval(pending.approval_id).digest}
    answer = robin.client.post(f"/approvals/{pending.approval_id}/approve", data=form, headers={"hx-request": "true"})
    assert answer.status_code == 200
    assert answer.text.lstrip().startswith("<article")
    assert "stands-approved" in answer.text


# --- kill switches ---------------------------------------------------------------------------------------------------


def test_a_kill_shows_its_reach_asks_why_and_holds(world, person):
    run = world.run()
    world.run("globex")
    robin = person(Role.OPERATOR)
    assert "2 open runs, 0 calls in flight" in robin.get("/switches").text
    page = robin.get("/switches/kill", kind="tenant", tenant="acme").text
    assert "Stop tenant acme" in page
    assert "<dt>open run</dt><dd>1</dd>" in page
    assert robin.post("/switches/kill", kind="tenant", tenant="acme").status_code == 422
    assert world.gateway.control.switches() == ()
    answer = robin.post("/switches/kill", kind="tenant", tenant="acme", reason="incident 7")
    assert answer.headers["location"] == "/switches?done=killed"
    assert run.call("ticket.read", {"number": 1}, call_id="c1").kind == "stopped"
    page = robin.get("/switches").text
    assert "incident 7" in page
    assert "by robin" in page
    robin.post("/switches/release", tenant="acme", reason="over")
    assert world.gateway.control.switches() == ()


@pytest.mark.parametrize("kind", ["tenant", "agent", "tool", "run"])
def test_a_scope_left_empty_never_becomes_everything(world, person, kind):
    answer = person().post("/switches/kill", kind=kind, reason="in a hurry")
    assert answer.status_code == 422
    assert "left empty, it would be everything" in answer.text
    assert world.gateway.control.switches() == ()


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_shows_its_story(world, person):
    run = world.story()["finished"]
    page = person().get("/run", tenant="acme", id=run.run_id).text
    for told in (
        "The agent finished and the run was closed.", "The work is done.", "The run is complete. Do nothing more.",
        "refund.create", "waited for a person, 21.00 s", "yes by jo: seen in the shop", "unknown",
        "Customer C-1001 wants 180 euros back", "gpt-4o-mini", "allowed by policy.allow[refund.*]",
    ):
        assert told in page, told
    assert 'fill="url(#p-waiting)"' in page  # a pattern: colour is not the only sign


def test_the_list_of_runs_is_filtered_and_paged(world, person):
    for number in range(60):
        world.run("acme" if number % 2 else "globex", "billing-bot" if number % 3 == 0 else "support-bot").finish()
        world.clock.advance(1)
    robin = person(Role.AUDITOR)
    assert robin.get("/runs").text.count('<td class="first">') == 50
    older = robin.get("/runs").text.split('href="/runs?before=')[1].split('"')[0]
    assert robin.get("/runs", before=older).text.count('<td class="first">') == 10
    assert robin.get("/runs", tenant="acme", agent="billing-bot").text.count('<td class="first">') == 10
    assert robin.get("/runs", status="stopped").text.count('<td class="first">') == 0


def test_an_unknown_is_reconciled_by_an_operator(world, person):
    run = world.run()
    run.call("db.write", {"sql": "insert"}, call_id="c1")
    form = {"tenant": "acme", "run": run.run_id, "call": "c1", "note": "seen in the table"}
    assert person(Role.OPERATOR).post("/run/reconcile", **form, happened="yes").status_code == 303
    assert run.call("db.write", {"sql": "insert"}, call_id="c1").kind == "done"


def test_a_limit_is_raised_by_an_operator(world, person):
    run = world.run()
    form = {"tenant": "acme", "run": run.run_id, "unit": "tool_calls"}
    robin = person(Role.OPERATOR)
    assert robin.post("/run/top-up", **form, more="5").status_code == 303
    assert run.report().tool_calls.limit == 17
    for wrong in ("", "many", "-5", "nan", "0"):
        assert robin.post("/run/top-up", **form, more=wrong).status_code == 409


# --- tools, audit, policy, budgets -----------------------------------------------------------------------------------


def test_a_changed_definition_is_shown_and_accepted_as_it_was_shown(world, person):
    gateway = world.gateway
    for words in ("Reads a file.", "Reads a file. <script>steal()</script>"):
        shown = {"fs.read": pins.definition(name="read", description=words, input_schema={"type": "object"})}
        gateway.committer.run(Unit(pins.keys(shown), partial(pins.observe, definitions=shown, now=world.clock.now())))
    robin = person(Role.OPERATOR)
    assert "The definition of" in robin.get("/tools").text
    page = robin.get("/tool", name="fs.read").text
    assert "<script>steal" not in page
    assert "&lt;script&gt;steal" in page
    (pin,) = gateway.control.pins()
    assert robin.post("/tool/accept", tool="fs.read", offered="sha256:another").status_code == 409
    assert robin.post("/tool/accept", tool="fs.read").status_code == 409
    assert robin.post("/tool/accept", tool="fs.read", offered=pin.offered_digest).status_code == 303
    assert gateway.control.pins()[0].accepted_by == "robin"
    assert person(Role.AUDITOR).post("/tool/accept", tool="fs.read", offered="x").status_code == 403


def test_each_tool_says_who_enforces_it(world, person):
    world.gateway.register(RemoteTool(Tool(name="crm.note", effect=Effect.WRITE)))
    robin = person(Role.AUDITOR)
    assert "by the gateway: it performs" in robin.get("/tool", name="ticket.read").text
    assert "the agent&#39;s own process performs" in robin.get("/tool", name="crm.note").text
    assert robin.get("/tools").text.count("cooperative") == 1


def test_the_audit_is_searched_and_verified(world, person):
    world.story()
    robin = person(Role.AUDITOR)
    assert robin.get("/audit", tenant="acme").text.count('<details class="entry">') == 100
    found = robin.get("/audit", tenant="acme", kind="approved")
    assert found.text.count('<details class="entry">') == 1
    assert "seen in the shop" in found.text
    assert robin.get("/audit", tenant="acme", text="SEEN IN THE shop").text.count('<details class="entry">') == 1
    assert robin.get("/audit", tenant="acme", kind="nonsense").status_code == 400
    assert "Intact." in robin.post("/audit/verify", tenant="acme").text
    assert robin.get("/audit", tenant="*").status_code == 200
    assert robin.get("/audit/checkpoints", tenant="acme").status_code == 200
    assert robin.post("/audit/checkpoint", tenant="acme").status_code == 403


def test_a_search_goes_on_where_the_last_one_ended(world, person):
    world.story()
    robin = person(Role.AUDITOR)
    page, seen, steps = robin.get("/audit", tenant="acme").text, 0, 0
    while True:
        seen += page.count('<details class="entry">')
        if "Search further back" not in page:
            break
        page = robin.get("/audit", tenant="acme", before=page.split("before=")[1].split('"')[0]).text
        steps += 1
    assert seen == len(list(world.gateway.audit.entries("acme")))
    assert steps == seen // 100


@pytest.mark.parametrize(
    ("tool", "args", "told"),
    [
        ("refund.create", '{"customer": "C", "amount": 500, "iban": "x"}', "ask a person"),
        ("refund.create", '{"customer": "C", "amount": 5, "iban": "x"}', "✓ allow"),
        ("refund.create", '{"amount": "much"}', "⊘ deny"), ("nothing.known", "{}", "nothing in the policy allows"),
        ("refund.create", "{", "not JSON"), ("refund.create", "[]", "must be a JSON object"),
        ("", "{}", "tool must not be empty"),
    ],
)
def test_a_call_is_tried_against_the_policy_and_nothing_happens(world, person, tool, args, told):
    form = {"tool": tool, "args": args, "tenant": "acme", "agent": "bot", "env": "prod"}
    assert told in person(Role.AUDITOR).post("/policy", **form).text
    assert world.performed == []
    assert list(world.gateway.audit.entries("acme")) == []


def test_a_tried_call_meets_the_kill_switches(world, person):
    world.gateway.control.kill(agent="bot", reason="led astray", by="sam")
    form = {"tool": "ticket.read", "args": '{"number": 1}', "tenant": "acme", "agent": "bot", "env": "prod"}
    assert "led astray" in person().post("/policy", **form).text


def test_budgets_show_used_held_and_left(world, person):
    run = world.run()
    for number in range(3):
        run.call("ticket.read", {"number": number}, call_id=f"c{number}")
    page = person().get("/budgets", tenant="acme").text
    assert "tool calls per hour" in page
    assert "9 left" in page
    assert "agent support-bot" in page
