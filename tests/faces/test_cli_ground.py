"""What the tests of the command line stand on: a folder with a config, and a ledger that the product made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import interlock
from interlock.faces import cli

CONFIG = """\
ledger: {url: "sqlite:///interlock.db", synchronous: "off"}
policy:
  allow: ["ticket.read", "ticket.create", "refund.*"]
  rules:
    - {id: big-refund, tools: ["refund.*"], when: "args.amount > 100.0", then: ask, reason: "above 100, ask"}
tools:
  ticket.read: {effect: read}
  ticket.create: {effect: write, cost: {usd: 0.002}}
  refund.pay: {effect: irreversible, risk: high, arguments: {to: destination}}
"""
HOSTILE = "\x1b[31m[bold red]pwned[/]\x1b]0;title\x07\u202egnp.exe\x9b2J"
PROGRAM = [sys.executable, "-m", "interlock"]


class Ground:
    """A working directory, and the command line in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "interlock.yaml"
        self.config.write_text(CONFIG)
        self.err = ""
        self._capsys = capsys

    def cli(self, *args: str, code: int = 0, silent: bool = True) -> str:
        """Carry out one command line. Gives standard output; standard error stays in `err`."""
        self._capsys.readouterr()
        came = cli.run([str(arg) for arg in args])
        out, self.err = self._capsys.readouterr()
        assert came == code, f"{args}: exit code {came}, not {code}\n{out}{self.err}"
        assert "Traceback" not in self.err
        if code == 0 and silent:
            assert self.err == ""
        return out

    def json(self, *args: str, code: int = 0):
        return json.loads(self.cli(*args, "--json", code=code))

    def program(self, *args: str, **how) -> subprocess.CompletedProcess[bytes]:
        """The real program, in a process of its own."""
        environ = {**os.environ, "COLUMNS": "100", **how.pop("env", {})}
        return subprocess.run(
            [*PROGRAM, *args], cwd=self.folder, env=environ, capture_output=True, timeout=60, check=False, **how
        )

    def open(self) -> interlock.Gateway:
        """A gateway with the three tools."""
        gateway = interlock.open(self.config)

        @gateway.tool("ticket.read", effect="read")
        def read(ticket: str) -> str:
            return f"Please pay to DE89 3704 0044. {HOSTILE}"

        @gateway.tool("ticket.create", effect="write")
        def create(title: str) -> dict:
            return {"id": 7}

        @gateway.tool("refund.pay", effect="irreversible", risk="high")
        def pay(amount: float, to: str) -> dict:
            raise OSError(f"the line went dead {HOSTILE}")

        return gateway


class Story(Ground):
    """A ledger in which something has happened: a read, a write, a denial, an unknown, a question; and another run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder, capsys)
        with self.open() as gateway:
            run = gateway.run(
                agent="support-bot", tenant="acme", env="prod", request="Handle ticket 12", requested_by="erin"
            )
            step = run.begin_step("gpt-5-mini")
            run.call("ticket.read", {"ticket": "12"}, call_id="c1")
            run.call("ticket.create", {"title": HOSTILE}, call_id="c2")
            run.call("crm.drop", {"table": HOSTILE}, call_id="c3")
            assert run.call("refund.pay", {"amount": 5.0, "to": "somebody"}, call_id="c4").kind == "unknown"
            asked = run.call("refund.pay", {"amount": 500.0, "to": f"DE89 3704 0044\n{HOSTILE}"}, call_id="c5")
            run.end_step(step, usage=interlock.Usage(input_tokens=10, output_tokens=5))
            self.run_id, self.approval_id = run.run_id, asked.approval_id or ""
            other = gateway.run(agent="support-bot", tenant="beta", env="prod", run_id="other")
            other.call("ticket.read", {"ticket": "1"})
            other.finish()


@pytest.fixture
def ground(tmp_path, monkeypatch, capsys) -> Ground:
    monkeypatch.chdir(tmp_path)
    return Ground(tmp_path, capsys)


@pytest.fixture
def story(tmp_path, monkeypatch, capsys) -> Story:
    monkeypatch.chdir(tmp_path)
    return Story(tmp_path, capsys)


def obeyed(text: str) -> list[str]:
    """What in a text a terminal could obey, or would not show."""
    return [char for char in text if char != "\n" and not char.isprintable()]
