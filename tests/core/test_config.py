import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.config import Config, Price, Quota, load, tool_fields
from interlock.config.values import Architecture, Canary
from interlock.core.budget import Limits, Window
from interlock.core.call import Cost, Dedupe, Effect, Risk, Role, Tool
from interlock.core.names import problem_of_name
from interlock.core.verdict import Verdict
from interlock.errors import ConfigError, ToolError

SHORT = """\
architecture:
  tool_gateway: "owned"
  runtime: "managed_or_custom"
budgets:
  max_steps: 25
  max_tool_calls: 12
approvals:
  required_for: ["db.write", "email.send", "ticket.close"]
logging:
  tool_calls: true
  stop_reasons: true
"""

LONG = """\
ledger: sqlite:///interlock.db            # or postgresql://…
budgets: {max_steps: 25, max_tool_calls: 12, max_seconds: 300, max_usd: 1.00, max_denials: 5, max_repeats: 3}
policy:
  allow: ["ticket.read", "ticket.search", "ticket.create", "kb.*"]
  rules:
    - id: big-refund
      tools: ["refund.*"]                 # globs; also tenants:, agents:, envs:, runtimes:, effects:, risks:
      when: "args.amount > 100.0"         # CEL
      then: ask                           # allow | ask | deny | stop
      reason: "refunds above 100 need a person"
  risk: {high: ask, critical: deny}
tools:
  ticket.create: {effect: write, risk: medium, timeout: 10s, dedupe: run, credential: zendesk, cost: {usd: 0.002}}
  ticket.read:   {effect: read, returns: untrusted}                  # the default: what comes back is untrusted
  email.send:    {effect: write, arguments: {to: destination, cc: destination, body: content}}
tenants:
  acme: {budgets: {usd_per_day: 20, tool_calls_per_minute: 60}, policy: {allow: ["refund.*"]}}
credentials:
  zendesk: "env:ZENDESK_{TENANT}_{ENV}"   # also file:, vault:
  crm: "env:CRM"
  shop: "env:SHOP"
upstreams:
  files: {mcp: {command: ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/docs"]}}
  crm:   {mcp: {url: "https://crm.example/mcp"}, credential: crm}
  shop:  {openapi: "shop.openapi.json", base_url: "https://shop.example", credential: shop}
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "interlock.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(source: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(source)
    return str(caught.value)


# --- what loads ------------------------------------------------------------------------------------------------------


def test_the_short_form_loads_unchanged(tmp_path: Path) -> None:
    config = load(written(tmp_path, SHORT))
    assert config.budgets.limits == Limits(steps=25, tool_calls=12)
    assert (config.budgets.max_seconds, config.budgets.max_denials, config.budgets.max_repeats) == (300_000_000, 5, 3)
    assert config.approvals.required_for == ("db.write", "email.send", "ticket.close")
    assert config.logging.tool_calls
    assert config.logging.stop_reasons
    assert config.ledger == "sqlite:///interlock.db"
    assert config.synchronous == "full"
    assert config.base == tmp_path


def test_the_long_example_loads_unchanged(tmp_path: Path) -> None:
    config = load(written(tmp_path, LONG))
    assert config.budgets.limits == Limits(steps=25, tool_calls=12, usd=1_000_000)
    assert [rule.id for rule in config.policy.rules] == [
        "policy.allow[ticket.read]",
        "policy.allow[ticket.search]",
        "policy.allow[ticket.create]",
        "policy.allow[kb.*]",
        "tenants.acme.allow[refund.*]",
        "big-refund",
        "risk.high",
        "risk.critical",
    ]
    assert config.upstreams["files"].command == (
        "npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/docs",
    )
    assert config.upstreams["crm"].url == "https://crm.example/mcp"
    shop = config.upstreams["shop"]
    assert (shop.openapi, shop.base_url) == (str(tmp_path / "shop.openapi.json"), "https://shop.example")
    assert (shop.credential, shop.allow_private, shop.response_bytes) == ("shop", False, 4_194_304)
    create = config.declared(Tool(name="ticket.create"), said=())
    assert (create.effect, create.timeout, create.dedupe) == (Effect.WRITE, 10_000_000, Dedupe("run"))
    assert (create.credential, create.cost) == ("zendesk", Cost(usd=2000))
    assert config.declared(Tool(name="email.send")).arguments["cc"] is Role.DESTINATION


def test_a_place_in_vault_is_a_path_and_a_field() -> None:
    assert "credentials.a: must name a field of a KV v2 secret" in refusal({"credentials": {"a": "vault:secret/a"}})
    place = "vault:secret/data/{tenant}/a#token"
    assert load({"credentials": {"a": place}}).credentials == {"a": place}


def test_an_empty_file_is_all_defaults_and_grants_nothing(tmp_path: Path) -> None:
    config = load(written(tmp_path, "# nothing yet\n"))
    assert config.policy.rules == ()
    assert config.budgets == load({}).budgets


def test_a_config_is_its_own_source() -> None:
    config = load({})
    assert isinstance(config, Config)
    assert load(config) is config


def test_importing_the_values_needs_neither_pydantic_nor_yaml_nor_cel() -> None:
    code = (
        "import sys, interlock.config; print([m for m in ('pydantic', 'yaml', 'cel_expr_python') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_everything_optional_arrives_as_it_was_said() -> None:
    config = load({
        "ledger": {"url": "memory:", "synchronous": "off"},
        "approvals": {"quorum": 2, "expires": "30m", "on_reject": "stop",
                      "webhook": {"url": "https://hook.example/x", "secret": "env:HOOK"}},
        "prices": {"m": {"input": 0.25, "output": 2.0}, "default": {"input": 1, "output": 1, "cached": 0.1}},
        "audit": {"checkpoints": "cp.txt", "key": "key.pem", "every": 7},
        "telemetry": {"traces": False},
        "limits": {"argument_depth": 8},
        "lease": "10s",
        "upstreams": {"u": {"mcp": {"command": ["x"], "env": {"A": "b"}, "cwd": "sub"}, "timeout": "2m"}},
    })
    assert (config.ledger, config.synchronous, config.lease) == ("memory:", "off", 10_000_000)
    assert (config.approvals.quorum, config.approvals.expires) == (2, 1_800_000_000)
    assert (config.approvals.webhook_url, config.approvals.webhook_secret) == ("https://hook.example/x", "env:HOOK")
    assert config.prices["m"] == Price(250_000, 2_000_000)
    assert config.prices["default"].cached == 100_000
    assert (config.audit.checkpoints, config.audit.every) == ("cp.txt", 7)
    assert config.telemetry.traces is False
    assert config.limits.argument_depth == 8
    assert config.upstreams["u"].timeout == 120_000_000


# --- what is refused, and how it is said -----------------------------------------------------------------------------


def test_every_problem_is_told_at_once_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    text = """\
budgets:
  max_step: 4
  max_usd: true
policy:
  rules:
    - {id: a, tools: "x.*", when: "args.x >", then: ask}
    - {id: a, then: aks}
tools:
  t: {effect: wirte, credential: zendes}
credentials:
  zendesk: env:Z
"""
    lines = refusal(written(tmp_path, text)).splitlines()
    shown = [line.rpartition("/")[2] for line in lines if "interlock.yaml:" in line]
    assert shown == [
        "interlock.yaml:2: budgets.max_step: unknown key; did you mean 'max_steps'?",
        "interlock.yaml:3: budgets.max_usd: must be a number of dollars, not true or false",
        "interlock.yaml:6: policy.rules[0].when: does not compile: column 9: Syntax error: mismatched input '<EOF>'",
        "interlock.yaml:7: policy.rules[1].id: duplicate rule id 'a', it stands at policy.rules[0] already",
        "interlock.yaml:7: policy.rules[1].then: must be one of allow, ask, deny, stop; did you mean 'ask'?",
        "interlock.yaml:9: tools.t.credential: there is no credential 'zendes'; did you mean 'zendesk'?",
        "interlock.yaml:9: tools.t.effect: must be one of read, egress, write, irreversible; did you mean 'write'?",
    ]
    assert "........^" in "\n".join(lines)


def test_a_dict_is_told_of_by_its_place() -> None:
    assert refusal({"budgets": {"max_step": 1}}) == "<dict>: budgets.max_step: unknown key; did you mean 'max_steps'?"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"polcy": {}}, "polcy: unknown key; did you mean 'policy'?"),
        (
            {"serve": {"models": {"openai": {"url": "https://x/v1", "credential": "nobodys"}}}},
            "serve.models.openai.credential: there is no credential 'nobodys'",
        ),
        ({"budgets": {"max_usd": 0.0000001}}, "more than 6 decimals"),
        ({"budgets": {"max_usd": -1}}, "0 or more dollars"),
        ({"budgets": {"max_usd": float("nan")}}, "not NaN"),
        ({"budgets": {"max_usd": float("inf")}}, "not Infinity"),
        ({"budgets": {"max_usd": "1"}}, "not text"),
        ({"budgets": {"max_usd": 10**400}}, "too large"),
        ({"budgets": {"max_steps": 1.5}}, "whole number, not a decimal number"),
        ({"budgets": {"max_steps": -1}}, "0 or more"),
        ({"budgets": {"max_denials": 0}}, "1 or more"),
        ({"budgets": {"max_steps": None}}, "is empty"),
        ({"budgets": {"max_seconds": 0}}, "longer than nothing"),
        ({"budgets": {"usd_per_week": 1}}, "unknown key; did you mean"),
        ({"budgets": []}, "budgets: must be a mapping"),
        ({"ledger": "mysql://x"}, "ledger.url: must be sqlite:///FILE"),
        ({"ledger": "sqlite:///"}, "must be sqlite:///FILE"),
        ({"ledger": {"synchronous": "of"}}, "must be 'full', 'normal' or 'off'"),
        ({"tools": {"t": {"timeout": "10 apples"}}}, "no duration"),
        ({"tools": {"t": {"timeout": "9" * 5000 + "s"}}}, "no duration"),
        ({"tools": {"t": {"dedupe": False}}}, "run, off or a duration"),
        ({"tools": {"t": {"idempotent": 1}}}, "true or false"),
        ({"tools": {"t": {"cost": {"usd": "amount"}}}}, "args.NAME"),
        ({"tools": {"t": {"cost": {"usd": "args.a", "reported": True}}}}, "the most that it may be"),
        ({"tools": {"t": {"cost": {"reported": True}}}}, "cost.usd: is missing"),
        ({"tools": {"t": {"cost": {"argument": "amount"}}}}, "is written usd: args.amount"),
        ({"tools": {"t": {"budgets": {"steps_per_day": 1}}}}, "unknown key"),
        ({"tools": {"t": {"arguments": {"to": "destinaton"}}}}, "did you mean"),
        ({"tools": {"a\x00b": {}}}, "control characters"),
        ({"tenants": {"*": {}}}, "stands for the whole system"),
        ({"tenants": {"": {}}}, "must not be empty"),
        ({"agents": {"x" * 201: {}}}, "at most 200 characters"),
        ({"policy": {"rules": [{"then": "ask"}]}}, "rules[0].id: is missing"),
        ({"policy": {"rules": [{"id": "a"}]}}, "rules[0].then: is missing"),
        ({"policy": {"rules": [{"id": "risk.high", "then": "ask"}]}}, "choose another id"),
        ({"policy": {"rules": [{"id": "a", "then": "ask", "tenants": []}]}}, "selects nothing"),
        ({"policy": {"rules": [{"id": "a", "then": "ask", "when": "'yes'"}]}}, "must be true or false"),
        ({"policy": {"rules": [{"id": "a", "then": "ask", "when": "arg.x"}]}}, "did you mean 'args'?"),
        ({"policy": {"rules": [{"id": "a", "then": "ask", "when": True}]}}, "when: must be text"),
        ({"policy": {"rules": "ask"}}, "rules[0]: must be a mapping"),
        ({"policy": {"risk": {"low": "allow"}}}, "a tier grants nothing"),
        ({"tenants": {"a": {"policy": {"rules": [{"id": "a", "then": "ask", "tenants": "b"}]}}}}, "given by where"),
        ({"credentials": {"a": "env:A_{AGENT}"}}, "no placeholder {AGENT}"),
        ({"credentials": {"a": "env:A_{TENANT"}}, "brace without its partner"),
        ({"credentials": {"a": "env:"}}, "environment variable"),
        ({"credentials": {"a": "env:A{TENANT}{ENV}"}}, "put '_' between {TENANT} and {ENV}"),
        ({"credentials": {"a": "env:A_{tenant}_{TENANT}"}}, "tenant and env may stand there once each"),
        ({"credentials": {"a": "file:secrets/{tenant}"}}, "an absolute path"),
        ({"credentials": {"a": "file:/run/../{tenant}"}}, "without '..'"),
        ({"credentials": {"a": "file:/run/{tenant}-{env}"}}, "put '/' between {tenant} and {env}"),
        ({"upstreams": {"a.b": {"mcp": {"url": "https://x"}}}}, "a-z, 0-9, _ and - only"),
        ({"upstreams": {"a": {"mcp": {}}}}, "either command: or url:"),
        ({"upstreams": {"a": {"mcp": {"command": "npx x"}}}}, "list of words"),
        ({"upstreams": {"a": {"mcp": {"url": "ftp://x"}}}}, "http:// or https://"),
        ({"upstreams": {"a": {"mcp": {"url": "https://x"}, "credential": "c"}}}, "name it under credentials:"),
        ({"approvals": {"quorum": 0}}, "1 or more"),
        ({"approvals": {"webhook": {"url": "https://x.example"}}}, "webhook.secret: is missing"),
        ({"architecture": {"tool_gateway": "rented"}}, "must be 'owned'"),
        ({"architecture": {"runtime": "open_agents"}}, "did you mean 'openai_agents'?"),
        ({"architecture": {"runtime": 7}}, "must be managed, custom, managed_or_custom, an adapter"),
        ({"architecture": {"canary": {"runtime": "plain", "share": 0.1}}}, "runtime: managed_or_custom names none"),
        ({"architecture": {"runtime": "plain", "canary": {"runtime": "custom", "share": 0.1}}}, "custom names none"),
        ({"architecture": {"runtime": "plain", "canary": {"runtime": "plain", "share": 0.1}}}, "runtime already"),
        ({"architecture": {"runtime": "plain", "canary": {"runtime": "langchain", "share": 2}}}, "at most 1"),
        ({"parity": {"at_least": 1}}, "must be less than 1"),
        ({1: 2}, "a key must be text"),
    ],
)
def test_a_wrong_value_is_refused_in_words(source: Any, words: str) -> None:
    assert words in refusal(source)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a: [1, 2",
            "is not valid YAML: did not find expected ',' or ']' while parsing a flow sequence that begins on line 1",
        ),
        (
            "budgets:\n  max_steps: 1\n  max_steps: 2\n",
            ":3: budgets.max_steps: duplicate key, it stands on line 2 already",
        ),
        ("- a\n- b\n", ":1: must be a mapping of keys, not a list"),
        ("just words", ":1: must be a mapping of keys, not a str"),
        ("a: &x [1]\nb: *x\n", ":2: b: aliases (*x) are not supported"),
        ("a: !!python/object:os.system x\n", ":1: a: tags are not supported"),
        ("a: 1\n---\nb: 2\n", "more than one document"),
        ("policy: " + "[" * 5000, "nested deeper than"),
        ("? [a, b]\n: c\n", "a key must be text"),
        ("1: x\n", "a key must be text"),
        ("a: " + "9" * 5000, "too many digits"),
        (b"a: \xff\xfe\n", ":1: is not UTF-8"),
        (b"a: \x00\n", "not valid YAML"),
        ("#" * 1_000_001, "larger than 1000000 bytes"),
        ("tools:\n  t: {dedupe: false}\n", ":2: tools.t.dedupe: must be run, off"),
        ("policy:\n", ":1: policy: is empty"),
        ("logging: {tool_calls: yes}\n", "must be true or false"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_is_no_config_is_refused_with_its_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in refusal(written(tmp_path, text))


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert "aliases" in refusal(written(tmp_path, "\n".join(rows)))


def test_off_is_a_word_and_not_a_boolean(tmp_path: Path) -> None:
    config = load(written(tmp_path, "ledger: {synchronous: off}\ntools: {t: {dedupe: off}}\n"))
    assert config.synchronous == "off"
    assert config.declared(Tool(name="t")).dedupe == Dedupe("off")


def test_a_file_that_is_missing_names_the_remedy(tmp_path: Path) -> None:
    assert "there is no such file; `interlock init` writes one" in refusal(tmp_path / "interlock.yaml")
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal("a\0b")
    assert "not a int" in refusal(3)


@pytest.mark.parametrize(
    "source",
    [
        {"credentials": {"a": "canary-s3cret"}},
        {"credentials": {"a": "sk:canary-s3cret"}},
        {"approvals": {"webhook": {"url": "https://x.example", "secret": "canary-s3cret"}}},
        {"ledger": "mysql://user:canary-s3cret@host/db"},
        {"upstreams": {"a": {"mcp": {"url": "https://user:canary-s3cret@x.example"}}}},
        {"upstreams": {"a": {"mcp": {"command": [], "env": {"T": "canary-s3cret"}}}}},
    ],
)
def test_no_message_repeats_a_secret(source: Any) -> None:
    assert "canary" not in refusal(source)
    assert "canary" not in repr(
        load({"upstreams": {"a": {"mcp": {"command": ["x"], "env": {"T": "canary"}}}}}).upstreams
    )


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_of_all_places_that_limit_a_run_the_stricter_counts() -> None:
    config = load({
        "budgets": {"max_steps": 20, "max_usd": 2},
        "tenants": {"acme": {"budgets": {"max_steps": 10, "max_tool_calls": 100, "max_tokens": 5}}},
        "agents": {"bot": {"budgets": {"max_usd": 0.5, "max_seconds": "1m"}}},
    })
    assert config.run_budget("other", "other").limits == Limits(steps=20, tool_calls=12, usd=2_000_000)
    both = config.run_budget("acme", "bot", {"max_steps": 50, "max_repeats": 1})
    assert both.limits == Limits(steps=10, tool_calls=100, usd=500_000, tokens=5)
    assert (both.max_seconds, both.max_repeats, both.max_denials) == (60_000_000, 1, 5)
    assert config.run_budget("acme", "bot", {"max_steps": 3, "max_usd": 0.1}).limits.usd == 100_000


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"max_step": 1}, "did you mean 'max_steps'?"),
        ({"usd_per_day": 1}, "belongs in the config"),
        ({"max_steps": "5"}, "whole number"),
        ({"max_usd": True}, "dollars"),
        ([1], "is a dict"),
    ],
)
def test_limits_given_in_code_are_checked_like_the_file(overrides: Any, words: str) -> None:
    with pytest.raises(ConfigError, match="budgets=") as caught:
        load({}).run_budget("t", "a", overrides)
    assert words in str(caught.value)


def test_windows_are_the_tenants_the_agents_and_the_tools_own() -> None:
    config = load({
        "budgets": {"usd_per_day": 50, "tool_calls_per_minute": 60},
        "tenants": {"acme": {"budgets": {"usd_per_day": 20}}},
        "agents": {"bot": {"budgets": {"steps_per_hour": 9}}},
        "tools": {"a.*": {"budgets": {"tool_calls_per_minute": 5}}, "a.b": {"budgets": {"tool_calls_per_minute": 9}}},
    })
    of_call = config.quotas("acme", "bot", "a.b")
    assert Quota("tenant", "acme", Window.DAY, Limits(usd=20_000_000)) in of_call
    assert Quota("tenant", "acme", Window.MINUTE, Limits(tool_calls=60)) in of_call
    assert Quota("tool", "a.b", Window.MINUTE, Limits(tool_calls=5)) in of_call
    assert all(quota.scope != "agent" for quota in of_call), "an agent's steps are no matter of a call"
    of_step = config.quotas("other", "bot")
    assert Quota("agent", "bot", Window.HOUR, Limits(steps=9)) in of_step
    assert Quota("tenant", "other", Window.DAY, Limits(usd=50_000_000)) in of_step
    assert len(of_step) == 2
    assert config.quotas("acme", "bot", "a.b") is of_call


# --- tools -----------------------------------------------------------------------------------------------------------


def declared(entry: dict[str, Any], tool: Tool, said: Any = None) -> Tool:
    return load({"tools": {tool.name: entry}, "credentials": {"c": "env:C"}}).declared(tool, said)


def test_of_config_and_code_the_stricter_counts() -> None:
    code = Tool(name="t", effect=Effect.WRITE, risk=Risk.HIGH, timeout=5, dedupe=Dedupe("run"), cost=Cost(usd=9))
    loose = declared(
        {"effect": "read", "risk": "low", "timeout": "10s", "dedupe": "off", "cost": {"usd": 0}},
        code,
        ("effect", "risk"),
    )
    assert (loose.effect, loose.risk, loose.timeout) == (Effect.WRITE, Risk.HIGH, 5)
    assert (loose.dedupe, loose.cost.usd) == (Dedupe("run"), 9)
    tight = declared(
        {"effect": "irreversible", "risk": "critical", "timeout": 0.000001, "dedupe": "10m", "cost": {"usd": 1}}, code
    )
    assert (tight.effect, tight.risk, tight.timeout) == (Effect.IRREVERSIBLE, Risk.CRITICAL, 1)
    assert (tight.dedupe, tight.cost.usd) == (Dedupe("tenant", 600_000_000), 1_000_000)


def test_what_the_code_did_not_say_is_the_configs_to_say() -> None:
    assert declared({"effect": "read", "risk": "low"}, Tool(name="t"), ()).effect is Effect.READ
    assert declared({"effect": "read"}, Tool(name="t")).effect is Effect.IRREVERSIBLE, "unless it is told, it is strict"
    assert load({}).declared(Tool(name="t"), ()).effect is Effect.IRREVERSIBLE


def test_what_loosens_is_the_configs_word_where_it_has_one() -> None:
    code = Tool(name="t", idempotent=True, errors_mean_failed=True, trusted=True)
    strict = declared({"idempotent": False, "errors": "unknown", "returns": "untrusted"}, code)
    assert (strict.idempotent, strict.errors_mean_failed, strict.trusted) == (False, False, False)
    silent = declared({}, code)
    assert (silent.idempotent, silent.errors_mean_failed, silent.trusted) == (True, True, True)
    said = declared({"idempotent": True, "errors": "failed", "returns": "trusted"}, Tool(name="t"))
    assert (said.idempotent, said.errors_mean_failed, said.trusted) == (True, True, True)


def test_roles_are_merged_and_the_configs_credential_is_lent() -> None:
    code = Tool(name="t", credential="own", arguments={"to": Role.CONTENT, "sum": Role.AMOUNT})
    merged = declared({"credential": "c", "arguments": {"to": "destination"}}, code)
    assert merged.credential == "c"
    assert merged.arguments == {"to": Role.DESTINATION, "sum": Role.AMOUNT}


def test_a_tools_own_name_says_more_than_a_glob_and_the_order_of_globs_does_not_matter() -> None:
    entries = {
        "f.*": {"effect": "write", "risk": "low"},
        "*": {"risk": "high", "timeout": 5},
        "f.read": {"effect": "read"},
    }
    for tools in (entries, dict(reversed(entries.items()))):
        config = load({"tools": tools})
        read = config.declared(Tool(name="f.read"), ())
        assert (read.effect, read.risk, read.timeout) == (Effect.READ, Risk.HIGH, 5_000_000)
        assert config.declared(Tool(name="f.other"), ()).effect is Effect.WRITE


def test_a_description_is_the_codes_to_give() -> None:
    assert tool_fields("t", {"description": "Reads a ticket."}) == {"description": "Reads a ticket."}
    with pytest.raises(ToolError, match="description: must be text"):
        tool_fields("t", {"description": 3})
    assert "tools.t.description: unknown key" in refusal({"tools": {"t": {"description": "x"}}})


def test_keywords_in_code_are_read_like_the_file() -> None:
    fields = tool_fields(
        "t", {"effect": "write", "timeout": "10s", "errors": "failed", "risk": None, "returns": "trusted"}
    )
    assert fields == {"effect": Effect.WRITE, "timeout": 10_000_000, "errors_mean_failed": True, "trusted": True}
    with pytest.raises(ToolError, match="tool 't': efect: unknown key; did you mean 'effect'"):
        tool_fields("t", {"efect": "write"})


# --- rules -----------------------------------------------------------------------------------------------------------


def test_required_for_grants_what_it_asks_for() -> None:
    rules = load({"approvals": {"required_for": ["a", "b"]}}).policy.rules
    assert [(rule.id, rule.then, rule.tools) for rule in rules] == [
        ("approvals.required_for", Verdict.ALLOW, ("a", "b")),
        ("approvals.required_for", Verdict.ASK, ("a", "b")),
    ]


def test_a_tenants_name_is_never_taken_for_a_glob() -> None:
    rules = load({"tenants": {"a*": {"policy": {"allow": ["x"]}}}}).policy.rules
    assert rules[0].tenants == ("a[*]",)


def test_a_list_of_one_may_be_written_as_one_text() -> None:
    policy = {"allow": "a.*", "rules": [{"id": "r", "then": "deny", "tools": "a.b", "effects": "write"}]}
    rules = load({"policy": policy}).policy.rules
    assert (rules[0].tools, rules[1].tools, rules[1].effects) == (("a.*",), ("a.b",), (Effect.WRITE,))


BASE: dict[str, Any] = {"policy": {"allow": ["a"], "rules": [{"id": "r", "then": "ask", "when": "args.x > 1"}]}}


@pytest.mark.parametrize(
    "change",
    [
        {"policy": {"allow": ["b"], "rules": BASE["policy"]["rules"]}},
        {"policy": {"allow": ["a"], "rules": [{"id": "r", "then": "ask", "when": "args.x > 2"}]}},
        {"budgets": {"max_steps": 1}},
        {"tools": {"a": {"effect": "read"}}},
        {"approvals": {"quorum": 2}},
        {"tenants": {"t": {"budgets": {"usd_per_day": 1}}}},
    ],
)
def test_the_version_changes_with_everything_that_a_decision_depends_on(change: dict[str, Any]) -> None:
    assert load({**BASE, **change}).policy.version != load(BASE).policy.version


def test_the_version_does_not_change_with_anything_else(tmp_path: Path) -> None:
    version = load(BASE).policy.version
    assert version.startswith("sha256:")
    assert len(version) == 71
    policy = "policy: {rules: [{when: 'args.x > 1', then: ask, id: r}], allow: a}"
    text = f"# a comment\n{policy}\nlogging: {{tool_calls: false}}\n"
    assert load(written(tmp_path, text)).policy.version == version


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "x" * 201, "\ud800", " a", "a\u200bb", 3, None])
def test_what_cannot_be_stored_or_shown_is_no_name(name: object) -> None:
    assert problem_of_name(name, "agent")


@pytest.mark.parametrize("name", ["a", "x" * 200, "Müller & Söhne", "日本", "a.b/c-d_e:f"])
def test_a_name_may_be_in_any_language(name: str) -> None:
    assert problem_of_name(name, "tenant") is None


def test_a_default_holds_only_where_nobody_names_a_limit() -> None:
    assert load({}).run_budget("t", "a").limits.tool_calls == 12
    assert load({"budgets": {"max_tool_calls": 40}}).run_budget("t", "a").limits.tool_calls == 40


# --- whatever comes --------------------------------------------------------------------------------------------------

WORDS = """budgets policy allow rules id tools when then
effect risk cost usd tenants acme credentials credential upstreams mcp command url env ledger approvals required_for
webhook secret max_steps timeout dedupe prices input arguments"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["10s", "env:X", "read", "ask", "args.x > 1", "high"]),
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, ANYTHING, max_size=6))
def test_any_dict_is_a_config_or_refused(source: dict[str, Any]) -> None:
    with suppress(ConfigError):
        load(source)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_long_example_with_a_wound_is_a_config_or_refused_with_a_line(data: st.DataObject) -> None:
    raw = LONG.encode()
    place = data.draw(st.integers(0, len(raw)))
    cut = data.draw(st.integers(0, 20))
    wounded = raw[:place] + data.draw(st.binary(max_size=6)) + raw[place + cut :]
    with TemporaryDirectory() as folder:
        path = written(Path(folder), wounded)
        said = problems(path)
    assert all(line.startswith((f"{path}:", "      ")) for line in said)


def problems(path: Path) -> list[str]:
    try:
        load(path)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_of_the_canary_takes_no_run_off_it(key: str, one: float, other: float) -> None:
    def chosen(share: float) -> str:
        return Architecture(runtime="openai_agents", canary=Canary("plain", share)).chosen(key)

    less, more = sorted((one, other))
    assert chosen(less) == chosen(less)
    assert (chosen(less), chosen(more)) != ("plain", "openai_agents")
    assert (chosen(0), Architecture(runtime="openai_agents").chosen(key)) == ("openai_agents", "openai_agents")
    assert chosen(1) == "plain"


def test_the_canary_has_about_its_share_of_the_runs() -> None:
    read = load({"architecture": {"runtime": "openai_agents", "canary": {"runtime": "plain", "share": 0.05}}})
    on = [read.architecture.chosen(f"run_{number}") for number in range(20_000)]
    assert set(on) == {"plain", "openai_agents"}
    assert 900 < on.count("plain") < 1_100
