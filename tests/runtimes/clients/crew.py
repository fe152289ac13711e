"""CrewAI, in a process of its own: for each line that it reads it makes a crew, lets it work, and says what it came to.

Not a test: `.venv-crewai/bin/python` runs it, where there is no Interlock and no pytest (with_crewai.py starts it).
Law: an agent reaches the gateway as the text of an example of the docs has it; what comes of it leaves as one line of
JSON; and whoever would leave this machine is refused, and told of.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

HERE = ("127.0.0.1", "::1", "localhost")
WAYS_OUT = {"socket.connect": 1, "socket.getaddrinfo": 0}  #: where of these audit events the address stands
abroad: list[str] = []  #: where somebody was about to go


def stay_here(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event in WAYS_OUT:
        address = args[WAYS_OUT[event]]
        host = address[0] if isinstance(address, tuple) else address
        if host not in HERE:
            abroad.append(str(host))
            raise ConnectionRefusedError(f"tests stay on this machine: {host} is another")


def hired(connect: Callable[..., dict[str, Any]], adjust: dict[str, Any], **way: str) -> str:
    """One agent with one task. `adjust`: otherwise than the docs advise. Gives its last words."""
    from crewai import Agent, Crew, Task

    agent = Agent(role="bot", goal="go", backstory="a bot", **{**connect(**way), **adjust})
    crew = Crew(agents=[agent], tasks=[Task(description="go", expected_output="words", agent=agent)])
    return str(crew.kickoff())


def came_of(order: dict[str, Any]) -> dict[str, Any]:
    """What came of one order: examples of the docs, which have a `work` of their own, or a `connect` for the above."""
    shown: dict[str, Any] = {"__name__": "example"}
    for text in order["texts"]:
        exec(text, shown)
    try:
        if "work" in shown:
            said = shown["work"](**order["way"])
        else:
            said = hired(shown["connect"], order["adjust"], **order["way"])
    except Exception as error:
        return {"said": "", "kind": type(error).__name__, "error": str(error)}
    return {"said": said, "kind": "", "error": ""}


def main() -> None:
    """Orders come in on standard input. Answers go out where CrewAI would print."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.addaudithook(stay_here)
    for line in sys.stdin:
        answers.write(json.dumps({**came_of(json.loads(line)), "abroad": abroad}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
