"""How the contract drives the plain loop."""

from collections.abc import Mapping
from typing import Any

from interlock import Run
from interlock.adapters import plain
from interlock.driving import Script
from interlock.governed import Result
from interlock.testing.adapter_contract import Otherwise
from interlock.testing.adapter_contract.exceptions import EXCEPTIONS


class Plain:
    runtime = "plain"
    streams = False
    exceptions: Mapping[str, Otherwise] = EXCEPTIONS["plain"]

    def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        return plain.drive(run, plain.speaking(None, script), request, saved=saved, save=save)
