"""The child that measures Microsoft's Agent Governance Toolkit, `govern()` with its audit in RAM, beside Interlock."""

from __future__ import annotations

import json
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any

from benchmarks.figures import Size, require
from benchmarks.load import BODY, Governed, config, scratch, sqlite

BLOCK = 25
POLICY = """
apiVersion: governance.toolkit/v1
name: tickets
agents: ["*"]
default_action: deny
rules:
  - name: allow-create
    stage: pre_tool
    condition: "action.type == 'create'"
    action: allow
"""


def main(*, quick: bool) -> dict[str, Any]:
    """Medians of ours and theirs, round by round; theirs begins each round with an empty audit."""
    warnings.simplefilter("ignore")  # its package tells on import that it was renamed
    from agentmesh.governance import govern

    size, found, calls = Size(quick=quick), [], 0
    with scratch() as folder:
        governed = Governed(config(sqlite(folder, "off")))
        for _ in range(size.rounds):
            happened: list[str] = []
            create = govern(partial(_happen, happened), policy=POLICY)
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(size.of(40, 6)):
                theirs += _timed(create)
                ours += governed.serial(BLOCK)
            require(len(happened) == len(theirs), "govern() did not let every call through")
            noted = len(create.audit_log.query(limit=10**9))
            require(noted == len(theirs), f"govern() noted {noted} of {len(theirs)} calls")
            calls += len(ours)
            found.append((median(ours), median(theirs)))
        governed.check(calls)
        governed.close()
    return {"version": version("agent-governance-toolkit-core"), "rounds": found}


def _happen(happened: list[str], **said: Any) -> None:
    happened.append(said["title"])


def _timed(create: Any) -> list[float]:
    taken = []
    for number in range(BLOCK):
        title = f"Export fails ({number})"
        began = time.perf_counter()
        create(action="create", title=title, body=BODY, priority=2)
        taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
