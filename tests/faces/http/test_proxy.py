"""The model proxy on real sockets: what is booked, what a stop answers, what goes where."""

import asyncio
import json
from io import BytesIO

import pytest
from yarl import URL

from interlock.errors import LedgerUnavailable
from interlock.ports import HeadKey, RunKey
from interlock.stores.memory import MemoryStore
from tests.faces.http.model_stub import ALL, CANARY, CHAT, COST, asking, data, start, whole, world


def run_in(monkeypatch, scenario, *args, **config):
    async def go():
        async with world(monkeypatch, **config) as here:
            return await asyncio.wait_for(scenario(here, *args), 20)

    return asyncio.run(go())


async def until(holds):
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


async def dawdle(receive):
    """As a provider: until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


# --- what is booked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", ALL)
def test_a_turn_is_booked_with_the_usage_that_came_back(monkeypatch, protocol, streamed):
    async def scenario(here):
        run = here.run()
        status, said = await here.ask(protocol, asking(protocol, stream=streamed), run)
        assert status == 200, said
        step, report = here.step(run), run.report()
        assert (step.input_tokens, step.output_tokens, step.usd) == (1000, 200, COST)
        assert (report.usd.used, report.usd.held, report.steps.used) == (pytest.approx(COST / 1e6), 0, 1)
        assert run.stop_reason is None

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize("asked", [False, True])
def test_the_usage_of_a_stream_is_asked_for_and_taken_out_again_where_the_client_did_not_ask(monkeypatch, asked):
    async def scenario(here):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        _, text = await here.ask("chat", asking("chat", stream=True, **options))
        assert here.provider.asked[0]["stream_options"] == {"include_usage": True}
        assert ("prompt_tokens" in text) is asked
        assert text.endswith("data: [DONE]\n\n")
        assert text.count("data:") == 3 + asked

    run_in(monkeypatch, scenario)


def test_cached_and_reasoning_tokens_have_their_own_price(monkeypatch):
    async def scenario(here):
        here.provider.usage = {
            "input_tokens": 1_000_000, "output_tokens": 1000, "input_tokens_details": {"cached_tokens": 900_000},
            "output_tokens_details": {"reasoning_tokens": 600},
        }
        run = here.run(budgets={"max_usd": 1})
        status, _ = await here.ask("responses", asking("responses", model="gpt-5-mini"), run)
        step = here.step(run)
        assert (status, step.cached_input_tokens, step.reasoning_tokens) == (200, 900_000, 600)
        assert step.usd == 100_000 * 0.25 + 900_000 * 0.025 + 1000 * 2

    run_in(monkeypatch, scenario)


def test_what_is_written_into_the_cache_is_input_at_its_own_price(monkeypatch):
    async def scenario(here):
        here.provider.usage = {
            "input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 500, "cache_creation": {"ephemeral_1h_input_tokens": 200},
        }
        run = here.run()
        for streamed in (False, True):
            await here.ask("messages", asking("messages", model="claude-sonnet-4-5", stream=streamed), run)
        first, second = here.step(run), here.step(run, "s2")
        assert (first.input_tokens, first.cached_input_tokens, first.output_tokens) == (1600, 1000, 10)
        assert first.usd == second.usd == round(100 * 3 + 1000 * 0.3 + 300 * 3.75 + 200 * 6 + 10 * 15)

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("protocol", ALL)
def test_a_usage_that_does_not_come_back_stops_the_run_as_unpriced(monkeypatch, protocol, streamed):
    async def scenario(here):
        here.provider.silent = True
        run = here.run()
        status, _ = await here.ask(protocol, asking(protocol, stream=streamed), run)
        assert (status, run.stop_reason, run.report().usd.held) == (200, "unpriced", 0)

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize("usage", [
    {**CHAT, "prompt_tokens": -1}, {**CHAT, "completion_tokens": "200"}, {**CHAT, "prompt_tokens": 1.5},
    {**CHAT, "prompt_tokens_details": {"cached_tokens": 2000}}, {"total_tokens": 1200}, "1200",
    {**CHAT, "completion_tokens_details": {"audio_tokens": 10}}, {**CHAT, "prompt_tokens": 10**30},
])
def test_a_usage_that_cannot_be_is_none(monkeypatch, usage):
    async def scenario(here):
        here.provider.usage = usage
        run = here.run()
        assert (await here.ask("chat", None, run))[0] == 200
        assert run.stop_reason == "unpriced"

    run_in(monkeypatch, scenario)


def test_an_unknown_model_stops_the_run_before_the_provider_is_asked(monkeypatch):
    async def scenario(here):
        run = here.run()
        status, said = await here.ask("chat", asking("chat", model="nobodys-model"), run)
        assert (status, said["error"]["code"], run.stop_reason) == (402, "unpriced", "unpriced")
        assert here.provider.asked == []

    run_in(monkeypatch, scenario)


def test_without_a_budget_in_dollars_any_model_may_be_asked(monkeypatch):
    async def scenario(here):
        here.provider.silent = True
        run = here.run()
        status, _ = await here.ask("chat", asking("chat", model="nobodys-model"), run)
        assert (status, run.stop_reason, run.report().steps.used) == (200, None, 1)

    run_in(monkeypatch, scenario, budgets={})


# --- stops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ALL)
def test_a_stop_answers_402_in_the_protocols_own_shape_and_asks_nobody(monkeypatch, protocol):
    async def scenario(here):
        run = here.run()
        run.stop("cancelled")
        async with here.post(protocol, asking(protocol, stream=True), run) as answer:
            said = await answer.json()
            assert (answer.status, answer.headers["interlock-stop-reason"]) == (402, "cancelled")
            assert (answer.headers["x-should-retry"], answer.headers["interlock-run-id"]) == ("false", run.run_id)
        assert said["error"]["code"] == "cancelled"
        assert "the run has stopped: cancelled" in said["error"]["message"]
        assert said["error"]["type"] == ("billing_error" if protocol == "messages" else "run_stopped")
        assert (said.get("type") == "error") is (protocol == "messages")
        assert here.provider.asked == []

    run_in(monkeypatch, scenario)


def test_a_killed_tenant_asks_no_model(monkeypatch):
    async def scenario(here):
        run = here.run()
        assert (await here.ask("chat", None, run))[0] == 200
        here.gateway.control.kill(tenant="acme", reason="incident", by="ops")
        status, said = await here.ask("chat", None, run)
        assert (status, said["error"]["code"], len(here.provider.asked)) == (402, "killed", 1)

    run_in(monkeypatch, scenario)


def test_twenty_streams_at_once_never_cost_more_than_the_dollars_there_are(monkeypatch):
    async def scenario(here):
        run = here.run(budgets={"max_usd": 0.025, "max_steps": 100})
        protocols = [ALL[n % 3] for n in range(20)]
        answers = await asyncio.gather(*[here.ask(each, asking(each, stream=True), run) for each in protocols])
        done = [status for status, _ in answers]
        report = run.report()
        assert set(done) == {200, 402}
        assert len(here.provider.asked) == done.count(200)
        assert report.usd.used == pytest.approx(done.count(200) * COST / 1e6)
        assert (report.usd.used <= 0.025, report.usd.held) == (True, 0)
        assert here.gateway.audit.verify(tenant="acme").ok

    run_in(monkeypatch, scenario)


def test_a_turn_that_names_no_limit_gets_one_where_dollars_count(monkeypatch):
    async def scenario(here):
        for protocol, name in zip(ALL, ("max_completion_tokens", "max_output_tokens", "max_tokens"), strict=True):
            body = asking(protocol)
            del body[name]
            run = here.run()
            assert (await here.ask(protocol, body, run))[0] == 200
            assert here.provider.asked[-1][name] == 500
            assert here.step(run).hold.amounts.usd >= 5000

    run_in(monkeypatch, scenario, models={"max_output_tokens": 500})


def test_the_hold_counts_every_answer_that_is_asked_for(monkeypatch):
    async def scenario(here):
        run = here.run()
        await here.ask("chat", asking("chat", n=4), run)
        assert here.step(run).hold.amounts.usd >= 4 * 200 * 10

    run_in(monkeypatch, scenario)


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 409, 429, 500, 529])
def test_an_error_of_the_provider_passes_through_and_costs_nothing(monkeypatch, status):
    async def refuses(provider, body, receive, send):
        await whole(send, {"error": {"message": f"no, {CANARY}"}}, status, (b"retry-after", b"7"), (b"x-org", b"inc"))

    async def scenario(here):
        here.provider.does = refuses
        run = here.run()
        async with here.post("chat", None, run) as answer:
            assert (answer.status, answer.headers["retry-after"], "x-org" in answer.headers) == (status, "7", False)
            assert await answer.json() == {"error": {"message": "no, [redacted]"}}
        report = run.report()
        assert (report.usd.used, report.usd.held, report.status) == (0, 0, "running")

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize(("status", "code"), [(401, "provider_refused"), (302, "provider_redirects")])
def test_what_would_show_or_lead_away_our_credential_is_not_passed_on(monkeypatch, status, code):
    async def refuses(provider, body, receive, send):
        where = (b"location", b"http://elsewhere.invalid/")
        await whole(send, {"error": {"message": "Incorrect API key: sk-can***4a6e"}}, status, where)

    async def scenario(here):
        here.provider.does = refuses
        run = here.run()
        got, said = await here.ask("chat", None, run)
        assert (got, said["error"]["code"], "4a6e" in json.dumps(said)) == (502, code, False)
        assert (len(here.provider.asked), run.report().usd.used) == (1, 0)

    run_in(monkeypatch, scenario)


def test_a_provider_that_is_not_there_costs_nothing(monkeypatch):
    async def scenario(here):
        run = here.run()
        status, said = await here.ask("chat", None, run)
        assert (status, said["error"]["code"]) == (502, "provider_unreachable")
        assert (run.report().usd.used, run.report().usd.held) == (0, 0)

    run_in(monkeypatch, scenario, models={"openai": {"url": "http://127.0.0.1:1/v1", "credential": "provider"}})


@pytest.mark.parametrize("protocol", ALL)
def test_a_stream_that_breaks_off_spends_what_is_held_and_the_run_goes_on(monkeypatch, protocol):
    async def breaks(provider, body, receive, send):
        await start(send)
        part = b"".join(provider.events(protocol, body)[:2])
        await send({"type": "http.response.body", "body": part, "more_body": True})
        raise ConnectionResetError

    async def scenario(here):
        here.provider.does = breaks
        run = here.run()
        status, text = await here.ask(protocol, asking(protocol, stream=True), run)
        step = here.step(run)
        assert (status, "broke off" in text) == (200, True)
        assert (step.lost, step.usd) == (True, step.hold.amounts.usd)
        assert (run.stop_reason, run.report().usd.held) == (None, 0)

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize("junk", [b"data: {nope\n\n", b"data: [1]\n\n", b"data: " + b"[" * 100_000 + b"\n\n", b""])
@pytest.mark.parametrize("protocol", ALL)
def test_a_stream_that_is_not_what_its_protocol_says_is_broken_off(monkeypatch, protocol, junk):
    async def rambles(provider, body, receive, send):
        await start(send)
        await send({"type": "http.response.body", "body": provider.events(protocol, body)[0] + junk})

    async def scenario(here):
        here.provider.does = rambles
        run = here.run()
        _, text = await here.ask(protocol, asking(protocol, stream=True), run)
        assert "broke off" in text
        assert "nope" not in text
        assert (here.step(run).lost, run.report().usd.held) == (True, 0)

    run_in(monkeypatch, scenario)


def test_an_error_in_a_stream_before_any_output_costs_nothing(monkeypatch):
    async def overloaded(provider, body, receive, send):
        await start(send)
        event = data({"type": "error", "error": {"type": "overloaded_error", "message": "later"}}, "error")
        await send({"type": "http.response.body", "body": event})

    async def scenario(here):
        here.provider.does = overloaded
        run = here.run()
        _, text = await here.ask("messages", asking("messages", stream=True), run)
        assert "overloaded_error" in text
        assert (run.stop_reason, run.report().usd.used) == (None, 0)

    run_in(monkeypatch, scenario)


def test_a_client_that_goes_away_takes_its_request_with_it(monkeypatch):
    async def endless(provider, body, receive, send):
        await start(send)
        await send({"type": "http.response.body", "body": provider.events("chat", body)[0], "more_body": True})
        await dawdle(receive)
        provider.gone.set()

    async def scenario(here):
        here.provider.does = endless
        run = here.run()
        async with here.post("chat", asking("chat", stream=True), run) as answer:
            await answer.content.readany()
        await here.provider.gone.wait()
        await until(lambda: here.step(run).ended_at is not None)
        assert (here.step(run).lost, run.report().usd.held, run.stop_reason) == (True, 0, None)

    run_in(monkeypatch, scenario)


def test_a_client_that_goes_away_before_the_answer_takes_its_request_with_it(monkeypatch):
    async def silence(provider, body, receive, send):
        await dawdle(receive)
        provider.gone.set()

    async def scenario(here):
        here.provider.does = silence
        run = here.run()
        client = asyncio.ensure_future(here.ask("messages", None, run))
        await until(lambda: here.provider.asked)
        client.cancel()
        await here.provider.gone.wait()
        await until(lambda: here.step(run).lost)

    run_in(monkeypatch, scenario)


def test_a_provider_that_takes_too_long_is_given_up(monkeypatch):
    async def dawdles(provider, body, receive, send):
        await dawdle(receive)
        provider.gone.set()

    async def scenario(here):
        here.provider.does = dawdles
        run = here.run()
        status, said = await here.ask("chat", None, run)
        await here.provider.gone.wait()
        assert (status, said["error"]["code"], here.step(run).lost) == (504, "provider_too_slow", True)

    run_in(monkeypatch, scenario, patience="100ms")


def test_a_stream_that_stands_still_is_given_up(monkeypatch):
    async def stalls(provider, body, receive, send):
        await start(send)
        await send({"type": "http.response.body", "body": provider.events("chat", body)[0], "more_body": True})
        await dawdle(receive)

    async def scenario(here):
        here.provider.does = stalls
        run = here.run()
        _, text = await here.ask("chat", asking("chat", stream=True), run)
        assert ("took too long" in text, here.step(run).lost) == (True, True)

    run_in(monkeypatch, scenario, patience="300ms")


class Forgetful(MemoryStore):
    """A ledger that cannot be written for a while."""

    def __init__(self):
        super().__init__()
        self.gone = False

    def transact(self, units, **how):
        if self.gone:
            raise LedgerUnavailable("the disk is full")
        return super().transact(units, **how)


def test_where_the_ledger_cannot_be_written_no_model_is_asked(monkeypatch):
    store = Forgetful()

    async def scenario(here):
        run = here.run()
        store.gone = True
        status, said = await here.ask("chat", None, run)
        assert (status, said["error"]["code"], here.provider.asked) == (503, "ledger_unavailable", [])

    run_in(monkeypatch, scenario, store=store)


def test_a_turn_that_cannot_be_booked_is_answered_and_keeps_its_hold(monkeypatch):
    store = Forgetful()

    async def loses(provider, body, receive, send):
        store.gone = True
        await whole(send, provider.answer("chat"))

    async def scenario(here):
        here.provider.does = loses
        run = here.run()
        status, _ = await here.ask("chat", None, run)
        store.gone = False
        assert (status, run.report().usd.held > 0, run.report().usd.used) == (200, True, 0)
        run.stop("cancelled")
        assert (run.report().usd.held, run.report().usd.used > COST / 1e6) == (0, True)

    run_in(monkeypatch, scenario, store=store)


def test_an_answer_without_an_end_is_not_kept(monkeypatch):
    async def pours(provider, body, receive, send):
        await start(send, 200, "text/event-stream" if body.get("stream") else "application/json")
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            provider.poured += 65_536

    async def scenario(here):
        here.provider.does = pours
        status, said = await here.ask("chat")
        assert (status, said["error"]["code"]) == (502, "provider_broke_off")
        _, text = await here.ask("chat", asking("chat", stream=True))
        assert "broke off" in text
        assert here.provider.poured < 40_000_000  # what lay in buffers on the way, and no more

    run_in(monkeypatch, scenario, models={"answer_bytes": 1_000_000})


@pytest.mark.parametrize("protocol", ALL)
def test_a_large_request_arrives_whole_and_one_that_is_too_large_not_at_all(monkeypatch, protocol):
    async def scenario(here):
        run = here.run()
        for size, expected in ((3_000_000, 200), (5_000_000, 413)):
            body = json.dumps(asking(protocol, metadata={"a": "x" * size})).encode()
            async with here.post(protocol, BytesIO(body), run) as answer:
                assert (answer.status, "usage" in await answer.json()) == (expected, expected == 200)
        assert [len(each["metadata"]["a"]) for each in here.provider.asked] == [3_000_000]
        assert run.report().steps.used == 1

    run_in(monkeypatch, scenario, models={"body_bytes": 4_000_000}, budgets={"max_usd": 50})


def test_a_body_that_is_no_request_costs_nothing(monkeypatch):
    async def scenario(here):
        run = here.run()
        for body in (b"{", b"[]", b'{"model": "m"', b"\xff", b"[" * 100_000):
            status, said = await here.ask("chat", body, run)
            assert (status, said["error"]["code"]) == (400, "bad_request")
        status, _ = await here.ask("chat", None, run, content_encoding="gzip")
        assert (status, here.provider.asked, run.report().steps.used) == (400, [], 0)

    run_in(monkeypatch, scenario)


# --- who, and which run ----------------------------------------------------------------------------------------------


def test_the_run_is_named_by_the_key_a_header_or_baggage_else_it_is_the_days(monkeypatch):
    async def scenario(here):
        one, two, three = here.run(), here.run(), here.run()
        await here.ask("chat", None, one)
        await here.ask("chat", None, None, interlock_run_id=two.run_id)
        await here.ask("chat", None, None, baggage=f"a=b,interlock.run_id={three.run_id};p=1")
        async with here.post("messages") as answer:
            days = answer.headers["interlock-run-id"]
        await here.ask("chat")
        assert [run.report().steps.used for run in (one, two, three)] == [1, 1, 1]
        assert days.startswith("day_")
        assert here.gateway.store.load(RunKey("acme", days)).steps == 2

    run_in(monkeypatch, scenario)


def test_a_run_of_another_agent_or_tenant_is_none(monkeypatch):
    async def scenario(here):
        for other in (here.run(agent="else"), here.run(tenant="rival"), here.run(env="staging")):
            status, said = await here.ask("chat", None, other)
            assert (status, said["error"]["code"]) == (403, "forbidden")
            assert said["error"]["message"] == f"there is no run {other.run_id!r} (open the run first, as this agent)"
        status, _ = await here.ask("chat", None, None, interlock_run_id="nowhere")
        assert (status, here.provider.asked) == (403, [])
        kinds = [each.kind for each in here.gateway.audit.entries(tenant="acme")]
        assert kinds.count("turned_away") == 4

    run_in(monkeypatch, scenario)


@pytest.mark.parametrize("protocol", ALL)
def test_nobody_asks_a_model_without_a_key_of_ours(monkeypatch, protocol):
    async def scenario(here):
        for key in ("", "nonsense", CANARY, here.key[:-1] + "x"):
            here.key = key
            status, said = await here.ask(protocol)
            kind = "authentication_error" if protocol == "messages" else "invalid_request_error"
            assert (status, said["error"]["type"]) == (401, kind)
        assert here.provider.asked == []

    run_in(monkeypatch, scenario)


def test_a_person_asks_no_model(monkeypatch):
    from interlock.core.principal import Role

    async def scenario(here):
        here.key = here.key_of(name="ann", roles=(Role.ADMIN,), agent="", env="")
        status, said = await here.ask("chat")
        assert (status, said["error"]["code"], here.provider.asked) == (403, "forbidden", [])

    run_in(monkeypatch, scenario)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_the_providers_key_goes_to_the_provider_alone_and_ours_not_to_it(monkeypatch):
    async def blabs(provider, body, receive, send):
        if not body.get("stream"):
            await whole(send, {**provider.answer("chat"), "echo": CANARY}, 200, (b"x-request-id", CANARY.encode()))
            return
        await start(send, 200, "text/event-stream", (b"set-cookie", b"a=b"))
        for event in (data({"choices": [{"delta": {"content": CANARY}}]}), *provider.events("chat", body)):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def scenario(here):
        here.provider.does = blabs
        seen = []
        for protocol in ("chat", "messages"):
            for streamed in (False, True):
                body = asking(protocol, stream=streamed)
                async with here.post(protocol, body, cookie="c=1", x_secret="s", anthropic_version="2023-06-01") as got:
                    seen.append(f"{dict(got.headers)} {await got.text()}")
                    assert "set-cookie" not in got.headers
        for sent in here.provider.headers:
            text = json.dumps(sent)
            assert here.key not in text
            assert not {"cookie", "x-secret"} & set(sent)
            assert sent.get("authorization", sent.get("x-api-key", "")).endswith(CANARY)
        assert here.provider.headers[-1]["anthropic-version"] == "2023-06-01"
        entries = "".join(str(each) for each in here.gateway.store.entries("acme"))
        runs = str(here.gateway.store.runs("acme"))
        assert CANARY not in "".join([*seen, entries, runs])
        assert here.gateway.store.load(HeadKey("acme")) is not None

    run_in(monkeypatch, scenario)


def test_a_credential_that_cannot_be_lent_costs_nothing_and_is_not_named(monkeypatch):
    async def scenario(here):
        monkeypatch.delenv("PROVIDER_KEY")
        run = here.run()
        status, said = await here.ask("chat", None, run)
        assert (status, "PROVIDER_KEY" in json.dumps(said), run.report().usd.held) == (503, False, 0)
        assert here.provider.asked == []

    run_in(monkeypatch, scenario)


# --- what costs nothing ----------------------------------------------------------------------------------------------


def test_the_list_of_models_and_the_count_of_tokens_are_no_turns(monkeypatch):
    async def scenario(here):
        keys = {"authorization": f"Bearer {here.key}"}
        for path in ("/openai/v1/models", "/openai/v1/models/m", "/anthropic/v1/models", "/anthropic/v1/models/m"):
            async with here.client.get(here.url + path, headers=keys) as answer:
                assert (answer.status, (await answer.json())["object"]) == (200, "list")
        here.provider.usage = None
        count = here.url + "/anthropic/v1/messages/count_tokens"
        body = {"model": "m", "messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
        async with here.client.post(count, json=body, headers=keys) as answer:
            assert answer.status == 400
        assert here.provider.paths == ["/v1/models", "/v1/models/m", "/v1/models", "/v1/models/m"]
        assert here.gateway.store.runs("acme") == []

    run_in(monkeypatch, scenario)


def test_a_path_that_the_proxy_does_not_know_is_said_so_in_the_protocols_shape(monkeypatch):
    async def scenario(here):
        keys = {"authorization": f"Bearer {here.key}"}
        known = ("/openai/v1/files", "/openai/v1/responses/r1", "/anthropic/v1/messages/batches", "/anthropic/x")
        made_up = [f"/openai/v1/models/{name}" for name in ("..%2fadmin", "a%00b", "a%3fx=1", "%2e%2e/admin")]
        for path in (*known, *made_up):
            for headers, status in (({}, 401), (keys, 404)):
                async with here.client.get(URL(here.url + path, encoded=True), headers=headers) as answer:
                    assert (answer.status, "error" in await answer.json()) == (status, True), path
        assert here.provider.paths == []

    run_in(monkeypatch, scenario)


def test_a_provider_that_the_config_does_not_name_is_not_there(monkeypatch):
    async def scenario(here):
        status, said = await here.ask("messages")
        assert (status, said["error"]["type"]) == (404, "not_found_error")

    run_in(monkeypatch, scenario, models={"anthropic": None})
