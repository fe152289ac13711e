"""Numbers for Prometheus."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

import interlock
from interlock.metrics import UNKNOWN_TOOL, Metrics

CONFIG = {
    "ledger": "memory:",
    "policy": {"allow": ["kb.read", "refund"], "rules": [{"id": "ask", "tools": ["refund"], "then": "ask"}]},
    "tools": {"kb.read": {"cost": {"usd": 0.5}}},
    "tenants": {"acme": {"budgets": {"usd_per_day": 10, "tool_calls_per_day": 100}}},
}


def served():
    gateway = interlock.open(CONFIG)
    gateway.begun = asyncio.Event()

    @gateway.tool("kb.read", effect="read")
    async def read(topic: str) -> str:
        if topic == "wait":
            gateway.begun.set()
            await asyncio.Event().wait()
        return topic

    @gateway.tool("refund", effect="irreversible")
    def refund(amount: int) -> int:
        return amount

    return gateway, Metrics(gateway)


def values(metrics, name):
    found = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_calls_are_counted_by_tool_outcome_and_verdict():
    gateway, metrics = served()
    with gateway, gateway.run(agent="bot", tenant="acme", env="prod") as run:
        run.call("kb.read", {"topic": "a"})
        run.call("kb.read", {"topic": "b"})
        run.call("refund", {"amount": 3})
        counted = values(metrics, "interlock_calls_total")
        assert counted == {
            (("outcome", "done"), ("tool", "kb.read"), ("verdict", "allow")): 2,
            (("outcome", "pending"), ("tool", "refund"), ("verdict", "ask")): 1,
        }
        assert sum(values(metrics, "interlock_call_seconds_count").values()) == 3
        assert values(metrics, "interlock_approvals_waiting") == {(("tenant", "acme"),): 1}


def test_a_name_that_a_model_invents_is_no_label():
    gateway, metrics = served()
    with gateway, gateway.run(agent="bot", tenant="acme", env="prod") as run:
        for number in range(3):
            run.call(f"no.such.{number}", {})
        assert values(metrics, "interlock_calls_total") == {
            (("outcome", "denied"), ("tool", UNKNOWN_TOOL), ("verdict", "deny")): 3
        }


def test_what_is_held_is_read_from_the_ledger():
    async def main():
        gateway, metrics = served()
        with gateway, gateway.run(agent="bot", tenant="acme", env="prod") as run:
            call = asyncio.create_task(run.acall("kb.read", {"topic": "wait"}, call_id="c"))
            await gateway.begun.wait()
            held = values(metrics, "interlock_held")
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return held, values(metrics, "interlock_held")

    during, after = asyncio.run(main())
    dollars = (("scope", "tenant"), ("subject", "acme"), ("tenant", "acme"), ("unit", "usd"), ("window", "day"))
    assert (during[dollars], after[dollars]) == (0.5, 0)


def test_each_batch_of_the_ledger_is_measured():
    gateway, metrics = served()
    with gateway, gateway.run(agent="bot", tenant="acme", env="prod") as run:
        before = values(metrics, "interlock_ledger_batch_units_sum")[()]
        run.call("kb.read", {"topic": "a"})
        assert values(metrics, "interlock_ledger_batch_units_sum")[()] == before + 2
        assert values(metrics, "interlock_ledger_commit_seconds_count")[()] >= 2


def test_a_stop_and_a_kill_switch_show():
    gateway, metrics = served()
    with gateway, gateway.run(agent="bot", tenant="acme", env="prod") as run:
        gateway.control.kill(tenant="acme", reason="incident", by="oncall")
        assert values(metrics, "interlock_kill_switches") == {(): 1}
        assert run.call("kb.read", {"topic": "a"}).kind == "stopped"
        assert values(metrics, "interlock_runs_stopped_total") == {(("reason", "killed"),): 1}
