"""`interlock run export`, `replay`, `parity` and `policy replay`, as people and builds use them."""

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr

import pytest
from msgspec.structs import replace

from interlock.adapters.plain import Agent, Call, drive
from interlock.core.trace import decode, encode
from interlock.core.turn import Usage
from interlock.faces.cli_print import Bar
from interlock.scripted import script
from tests.faces.test_cli_ground import HOSTILE, Ground, obeyed
from tests.faces.test_cli_ground import PROGRAM as INTERLOCK

USAGE = Usage(input_tokens=10, output_tokens=5)
READ, CREATE = Call("ticket.read", {"ticket": "12"}, "c1"), Call("ticket.create", {"title": "a"}, "c2")
LINES = [READ], [CREATE], "One ticket created."
PROGRAM = '''
import threading

from interlock.adapters.plain import Agent, Call
from interlock.core.turn import Usage
from interlock.scripted import script

done = []
USAGE = Usage(input_tokens=10, output_tokens=5)


def tools(gateway):
    @gateway.tool("ticket.read", effect="read")
    def read(ticket: str) -> str:
        done.append("read")
        return "read now"

    @gateway.tool("ticket.create", effect="write")
    def create(title: str) -> dict:
        done.append("create")
        return {"id": 8}


def agent(gateway):
    tools(gateway)
    lines = [Call("ticket.read", {"ticket": "12"}, "c1")], [Call("ticket.create", {"title": "a"}, "c2")]
    return Agent(script(*lines, "One ticket created.", usage=USAGE), "gpt-5-mini")


def changed(gateway):
    tools(gateway)
    lines = [Call("ticket.read", {"ticket": "12"}, "c1")], [Call("ticket.create", {"title": "b"}, "c2")]
    return Agent(script(*lines, "One ticket created.", usage=USAGE), "gpt-5-mini")


def unsteady(gateway, turns=iter(range(1000))):
    return changed(gateway) if next(turns) % 3 == 2 else agent(gateway)


def stuck(gateway):
    def model(_messages):
        print("asked", flush=True)
        threading.Event().wait()

    return Agent(model)


def fussy(one, other):
    return len(one) == len(other)


def clumsy(*_handed):
    raise ValueError("no such agent\\x1b[31m")


broken = 5
'''


class Recorded(Ground):
    """A ledger with one run that a plain loop has made, and a program of the user's in the same folder."""

    def __init__(self, folder, capsys):
        super().__init__(folder, capsys)
        self.module = f"program_{folder.name}".replace("-", "_")
        (folder / f"{self.module}.py").write_text(PROGRAM)
        with self.open() as gateway:
            for run_id in ("r1", "r2"):
                run = gateway.run(agent="bot", tenant="acme", env="prod", run_id=run_id, runtime="plain")
                assert drive(run, Agent(script(*LINES, usage=USAGE), "gpt-5-mini")).status == "completed"

    def export(self, run_id="r1"):
        self.cli("run", "export", run_id, "--out", f"{run_id}.json")
        return f"{run_id}.json"

    def named(self, name):
        return f"{self.module}:{name}"

    @property
    def done(self):
        return sys.modules[self.module].done


@pytest.fixture
def recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = Recorded(tmp_path, capsys)
    yield made
    sys.modules.pop(made.module, None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


# --- export ----------------------------------------------------------------------------------------------------------


def test_a_run_is_exported_to_standard_output_or_to_a_file_that_nobody_else_reads(recorded):
    trace = decode(recorded.cli("run", "export", "r1").encode())
    assert (trace.run.run_id, len(trace.steps), len(trace.calls)) == ("r1", 3, 2)
    recorded.export()
    path = recorded.folder / "r1.json"
    assert decode(path.read_bytes()).calls == trace.calls
    assert path.stat().st_mode & 0o077 == 0


def test_what_a_trace_lacks_is_said_on_standard_error(recorded):
    with recorded.open() as gateway:
        gateway.run(agent="bot", tenant="acme", env="prod", run_id="open")
    recorded.cli("run", "export", "open", silent=False)
    assert recorded.err == "interlock: open: the run is running, and may go on\n"


def test_a_run_that_is_not_there_is_not_exported(recorded):
    assert recorded.cli("run", "export", "nobody", code=1) == ""


# --- replay ----------------------------------------------------------------------------------------------------------


def test_an_unchanged_agent_passes_and_nothing_is_done(recorded):
    text = recorded.cli("replay", recorded.export(), "--agent", recorded.named("agent"), "--runtime", "plain")
    assert text.splitlines()[-1] == "PASS"
    assert "baseline: r1 on plain, recorded model" in text
    assert recorded.done == []


def test_without_an_agent_the_record_is_tried_under_the_policy_of_now(recorded):
    recorded.cli("replay", recorded.export())
    recorded.config.write_text("policy: {allow: [ticket.read]}\n")
    text = recorded.cli("replay", "r1.json", code=1)
    assert "other verdict" in text
    assert "allow by policy.allow[ticket.create]" in text
    assert "baseline: acme/r1 is not reproduced by its unchanged replay" in text
    assert text.splitlines()[-1] == "FAIL"


def test_a_changed_agent_fails_and_the_step_and_the_field_are_named(recorded):
    trace = recorded.export()
    text = recorded.cli("replay", trace, "--agent", recorded.named("changed"), "--model", "live", code=1)
    assert "ticket.create args.title" in text
    told = recorded.json("replay", trace, "--agent", recorded.named("changed"), "--model", "live", code=1)
    baseline, live = told["comparisons"]
    assert (told["passed"], baseline["baseline"], baseline["passed"], live["model"]) == (False, True, True, "live")
    assert live["divergences"][0] == {
        "kind": "arguments", "step": 2, "other_step": 2, "tool": "ticket.create", "field": "args.title",
        "before": '"a"', "after": '"b"',
    }
    assert recorded.done == []


def test_a_live_model_is_repeated_and_told_with_its_bounds(recorded):
    argv = ["replay", recorded.export(), "--agent", recorded.named("unsteady"), "--model", "live", "--repeat", "6"]
    text = recorded.cli(*argv, code=1)
    assert "live model: 4 of 6; at 95% confidence 30% to 90%; 80% is asked for" in text
    assert recorded.err.count("interlock: r1 on plain, live model #") == 6


def test_a_live_model_that_is_steady_passes_once_it_is_repeated_often_enough(recorded):
    argv = ["replay", recorded.export(), "--agent", recorded.named("agent"), "--model", "live"]
    assert "repeat it 16 times" in recorded.cli(*argv, code=1)
    recorded.cli(*argv, "--repeat", "16", silent=False)


def test_several_traces_and_folders_of_them_are_replayed_together(recorded):
    (recorded.folder / "traces").mkdir()
    for run_id in ("r1", "r2"):
        recorded.cli("run", "export", run_id, "--out", f"traces/{run_id}.json")
    told = recorded.json("replay", "traces", "--agent", recorded.named("agent"), "--out", "replays")
    assert [each["left"] for each in told["comparisons"]] == ["r1", "r2"]
    assert sorted(path.name for path in (recorded.folder / "replays").iterdir()) == [
        "acme.r1.baseline.json", "acme.r2.baseline.json",
    ]
    recorded.cli("parity", "traces", "replays")


def test_a_call_that_was_not_recorded_is_answered_as_is_asked(recorded):
    trace = recorded.export()
    argv = ["replay", trace, "--agent", recorded.named("changed"), "--model", "live"]
    (_, failed) = recorded.json(*argv, code=1)["comparisons"]
    (_, closest) = recorded.json(*argv, "--on-miss", "closest", code=1)["comparisons"]
    assert "outcome" in {each["kind"] for each in failed["divergences"]}
    assert "outcome" not in {each["kind"] for each in closest["divergences"]}
    assert any("answered as the closest recorded call c2" in note for note in closest["notes"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model", "live"], "--model live needs --agent"),
        (["--repeat", "3"], "--repeat is for --model live"),
        (["--agent", "nomodule"], "--agent is MODULE:NAME, like shop.agents:support_bot"),
        (["--agent", "no_such_module:x"], "No module named 'no_such_module'"),
        (["--agent", "{}:nothing"], "has no attribute 'nothing'"),
        (["--agent", "{}:clumsy"], "ValueError: no such agent\\x1b[31m ("),
        (["--compare", "{}:clumsy"], "ValueError: no such agent"),
        (["--compare", "{}:broken"], "is a int, not a function that is handed two texts"),
        (["--agent", "{}:broken"], "is a int, not a function that is handed a gateway"),
        (["--runtime", "nosuch"], "there is no adapter 'nosuch'"),
        (["--compare", "alike"], "there is no comparer 'alike'"),
        (["--on-miss", "guess"], "on-miss"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_named(recorded, argv, words):
    recorded.cli("replay", recorded.export(), *(each.format(recorded.module) for each in argv), code=2)
    assert words in recorded.err


@pytest.mark.parametrize(("body", "words"), [("1 / 0", "ZeroDivisionError: division by"), ("def (", "SyntaxError")])
def test_a_program_that_cannot_be_imported_is_named_with_its_line(recorded, body, words):
    (recorded.folder / f"{recorded.module}.py").write_text(f"\n{body}\n")
    recorded.cli("replay", recorded.export(), "--agent", recorded.named("agent"), code=2)
    assert words in recorded.err
    assert recorded.module in recorded.err


def test_a_trace_that_cannot_be_replayed_is_named_before_anything_is_run(recorded):
    trace = decode((recorded.folder / recorded.export()).read_bytes())
    cut = replace(trace, steps=(replace(trace.steps[0], cut=True), *trace.steps[1:]))
    (recorded.folder / "r2.json").write_bytes(encode(cut))
    assert recorded.cli("replay", "r1.json", "r2.json", "--out", "kept", code=2) == ""
    assert "what the model said in step s1 was cut; record another run\n" in recorded.err
    assert not (recorded.folder / "kept").exists()


def test_a_replay_is_not_replayed(recorded):
    recorded.cli("replay", recorded.export(), "--out", "replays")
    recorded.cli("replay", "replays", code=2)
    assert "is a replay already" in recorded.err


def test_a_file_that_is_no_trace_is_exit_code_2(recorded):
    (recorded.folder / "x.json").write_text("{}")
    recorded.cli("replay", "x.json", code=2)
    assert "is no trace" in recorded.err


def test_an_agent_that_hangs_does_not_hang_the_command(recorded):
    stuck = "--agent", recorded.named("stuck"), "--model", "live", "--timeout", "0.1", "--json"
    ended = recorded.program("replay", recorded.export(), *stuck)
    assert ended.returncode == 1
    _, live = json.loads(ended.stdout.partition(b"asked\n")[2])["comparisons"]
    assert live["stop_reasons"] == ["completed", "given up"]
    assert "given up after 0.1 s" in live["notes"][-1]


def test_whoever_interrupts_hears_how_far_it_came_and_keeps_that(recorded):
    stuck = "--agent", recorded.named("stuck"), "--model", "live", "--out", "kept"
    with subprocess.Popen(
        [*INTERLOCK, "replay", recorded.export(), *stuck],
        cwd=recorded.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"asked"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"interlock: interrupted: 1 compared so far, 1 of them pass; kept in kept\n"
    assert [each.name for each in (recorded.folder / "kept").iterdir()] == ["acme.r1.baseline.json"]


def test_replays_are_kept_where_nobody_else_reads_them_and_none_takes_the_place_of_another(recorded):
    trace = decode((recorded.folder / recorded.export()).read_bytes())
    alike = ("a.b", "c"), ("a", "b.c"), ("a:b", "c"), ("a_b", "c"), ("t" * 190, "r" * 190)
    for number, (tenant, run_id) in enumerate(alike):
        named = replace(trace, run=replace(trace.run, tenant=tenant, run_id=run_id))
        (recorded.folder / f"t{number}.json").write_bytes(encode(named))
    recorded.cli("replay", *(f"t{number}.json" for number in range(len(alike))), "--out", "kept")
    kept = list((recorded.folder / "kept").iterdir())
    assert {(decode(each.read_bytes()).run.tenant, decode(each.read_bytes()).run.run_id) for each in kept} == {*alike}
    assert all(each.stat().st_mode & 0o077 == 0 for each in kept)


# --- parity ----------------------------------------------------------------------------------------------------------


def test_two_runs_of_the_ledger_are_compared(recorded):
    assert recorded.cli("parity", "r1", "r2").splitlines()[-1] == "PASS"
    with recorded.open() as gateway:
        run = gateway.run(agent="bot", tenant="acme", env="prod", run_id="r3")
        drive(run, script(LINES[0], "Nothing to do.", usage=USAGE))
    text = recorded.cli("parity", "r1", "r3", code=1)
    for piece in ("missing call", "ticket.create call", "other answer", "steps 3 → 2"):
        assert piece in text


def test_a_run_of_the_ledger_is_compared_with_a_trace(recorded):
    recorded.cli("parity", recorded.export(), "r2")


def test_two_files_are_compared_without_any_config(recorded):
    one, other = recorded.export("r1"), recorded.export("r2")
    recorded.config.unlink()
    recorded.cli("parity", one, other)


def test_thresholds_are_those_of_the_config(recorded):
    with recorded.open() as gateway:
        run = gateway.run(agent="bot", tenant="acme", env="prod", run_id="r3", runtime="plain")
        drive(run, Agent(script(*LINES[:2], "Done.", usage=USAGE), "gpt-5-mini"))
    recorded.cli("parity", "r1", "r3", code=1)
    recorded.cli("parity", "r1", "r3", "--compare", "ignore")
    recorded.config.write_text(recorded.config.read_text() + "parity: {answer: 1}\n")
    assert "within limits" in recorded.cli("parity", "r1", "r3")


def test_a_comparer_of_ones_own_is_asked(recorded):
    recorded.cli("parity", "r1", "r2", "--compare", recorded.named("fussy"))


def test_a_set_is_compared_whole(recorded):
    (recorded.folder / "traces").mkdir()
    for run_id in ("r1", "r2"):
        recorded.cli("run", "export", run_id, "--out", f"traces/{run_id}.json")
    recorded.cli("replay", "traces/r1.json", "--out", "replays")
    recorded.cli("parity", "traces", "replays", code=1)
    assert "there is no replay of r2" in recorded.err
    recorded.cli("parity", "traces/r2.json", "replays", code=0)  # of two single ones nobody asks what they are
    recorded.cli("replay", "traces", "--out", "replays")
    recorded.cli("parity", "traces", "replays")
    recorded.cli("parity", "traces/r1.json", "replays", code=1)
    assert "there is no trace of run 'r2'" in recorded.err


def test_what_is_not_there_is_named(recorded):
    recorded.cli("parity", "r1", "nobody", code=1)
    assert "there is no run 'nobody'" in recorded.err
    recorded.cli("parity", "r1", "nowhere.json", code=2)
    assert "no such file" in recorded.err
    (recorded.folder / "empty").mkdir()
    recorded.cli("parity", "r1", "empty", code=2)
    assert "holds no traces" in recorded.err


def test_hostile_words_are_spelled_out(recorded):
    with recorded.open() as gateway:
        run = gateway.run(agent="bot", tenant="acme", env="prod", run_id="r3")
        drive(run, script([Call("ticket.create", {"title": HOSTILE, HOSTILE: 1}, "c1")], HOSTILE, usage=USAGE))
    assert not obeyed(recorded.cli("parity", "r1", "r3", code=1))
    document = recorded.cli("parity", "r1", "r3", "--json", code=1)
    assert json.loads(document)
    assert not obeyed(document)


# --- another policy --------------------------------------------------------------------------------------------------


def test_another_policy_is_asked_about_the_record(recorded):
    (recorded.folder / "new.yaml").write_text("policy: {allow: [ticket.read]}\n")
    text = recorded.cli("policy", "replay", "--policy", "new.yaml")
    assert "4 calls of 2 runs: 2 would be answered otherwise" in text
    assert "now: 2 allowed, 0 asked, 2 denied, 0 stopped" in text
    assert "default_deny" in text
    assert "ticket.read" not in text
    assert "ticket.read" in recorded.cli("policy", "replay", "--policy", "new.yaml", "--all")
    told = recorded.json("policy", "replay", "--policy", "new.yaml", "--since", "1h")
    assert (told["calls"], told["runs"], told["since"][-1]) == (4, 2, "Z")
    assert told["lines"][0] == {
        "tenant": "acme", "tool": "ticket.create", "then": "allow", "now": "deny", "rules": ["default_deny"],
        "calls": 2, "run_id": "r2", "call_id": "c2",
    }


def test_a_time_is_also_a_number_of_seconds(recorded):
    (recorded.folder / "new.yaml").write_text("policy: {allow: [ticket.read]}\n")
    assert recorded.json("policy", "replay", "--policy", "new.yaml", "--since", "86400")["calls"] == 4


def test_a_time_that_is_none_and_a_policy_that_is_none_are_named(recorded):
    recorded.cli("policy", "replay", "--policy", "nowhere.yaml", code=2)
    assert "nowhere.yaml" in recorded.err
    recorded.cli("policy", "replay", "--policy", "interlock.yaml", "--since", "a week", code=2)
    assert "--since 'a week' is no duration" in recorded.err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_takes_longer_has_a_bar_on_a_terminal_and_takes_it_away_again():
    with redirect_stderr(Terminal()) as shown, Bar("calls", 1_000, 2_000) as bar:
        bar.at(10, 1_900)
        assert shown.getvalue() == ""  # what is over in a moment has none
        give_up = time.monotonic() + 30
        while not shown.getvalue():
            assert time.monotonic() < give_up
            bar.at(5_000, 1_500)
    assert "[###############...............]  50%  5,000 calls" in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[K")


def test_without_a_terminal_there_is_no_bar():
    with redirect_stderr(io.StringIO()) as shown, Bar("calls", 0, 1) as bar:
        bar.at(1, 0)
    assert shown.getvalue() == ""
