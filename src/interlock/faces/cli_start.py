"""`interlock init` and `interlock demo`: the first minutes.

Not the demo itself, which is in `examples/`. Law: nothing that somebody wrote is overwritten unless they say so.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from interlock.errors import ConfigError, Refused
from interlock.faces.cli_options import Config, Json, config_path, in_json
from interlock.faces.cli_print import document, say

TEMPLATE = """\
# What Interlock lets the agents of this project do. Everything that is not allowed here is denied.
#
#   interlock check                what each tool gets, and what looks like a mistake
#   interlock policy test CASES    the verdicts that you expect, kept as a file beside this one

architecture:
  tool_gateway: "owned"
  runtime: "managed_or_custom"

budgets:                  # of one run; also max_seconds, max_usd, max_tokens, max_denials, max_repeats
  max_steps: 25
  max_tool_calls: 12

approvals:                # these wait for a person: interlock approvals list
  required_for: ["db.write", "email.send", "ticket.close"]

logging:
  tool_calls: true
  stop_reasons: true

# Next, say which tools may be used without asking. Names of your own, and patterns:
#
# policy:
#   allow: ["ticket.read", "kb.*"]
#   rules:
#     - id: big-refund
#       tools: ["refund.*"]
#       when: "args.amount > 100.0"
#       then: ask
#       reason: "refunds above 100 need a person"
#
# and what they do. A tool that is declared nowhere counts as irreversible:
#
# tools:
#   ticket.read: {effect: read}
#   email.send:  {effect: write, risk: medium, arguments: {to: destination, body: content}}
#
# Tools of MCP servers are called upstream.tool, here files.read_file and so on:
#
# upstreams:
#   files: {mcp: {command: ["npx", "-y", "@modelcontextprotocol/server-filesystem", "./docs"]}}
#
# The ledger is interlock.db in this folder unless you name another:
#
# ledger: postgresql://localhost/interlock
"""


def init(
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file that is there.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a first interlock.yaml: complete, safe, and with what to do next."""
    path = config_path(config)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: edit it, or write it anew with --force") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    if in_json(as_json):
        document({"written": str(path)})
        return
    say(f"{path} is written. Next:")
    say("  1. name the tools that may be used, under policy: allow:")
    say("  2. interlock check                       see what each tool gets")
    say("  3. gw = interlock.open(), in your program; or interlock serve, as a service")


def demo() -> None:
    """Run the incident from the README: once with the tools called directly, once through Interlock."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "demo.sh"
    if not script.is_file():
        raise Refused(
            "the demo is not part of the installed package: get the source of Interlock, and there: make demo"
        )
    if subprocess.run([str(script)], check=False).returncode:
        raise typer.Exit(1)
