"""Processes that tests start, and kill: forked from a clean server that has imported Interlock once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

PATIENCE = 60.0  #: seconds, for a process that has to end by itself


def server() -> ForkServerContext:
    """Where processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.crash.acts", "interlock.tools.python"])  # a child imports no more
    return context
