"""What an MCP client may ask of the gateway: its tools, and a call of one.

Not a transport (`door.py`, `stdio.py`) and not the protocol (`sdk.py`, `codec.py`), whose two readings meet here. Law:
whatever is asked is answered with a result; an exception's words reach nobody, unless they are Interlock's own.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from interlock.core.canonical import canonical, digest, problem_of
from interlock.core.principal import Principal
from interlock.core.run import Run
from interlock.faces.http.problems import Problem, problem_of_error
from interlock.faces.mcp.catalog import Catalog, Listing
from interlock.faces.mcp.ids import Ids, ids_of
from interlock.faces.mcp.sealed import Round, Seal
from interlock.faces.mcp.which_run import WhichRun
from interlock.faces.mcp.words import result_of, result_of_problem

if TYPE_CHECKING:
    from interlock.faces.http.service import Service

log = logging.getLogger("interlock.mcp")

TTL_MS = 10_000  #: for how long a client may keep a list of tools; a call is weighed whatever it has kept
NAME = "interlock"
MAX_WAITING = 10_000  #: runs whose waiting calls are kept in mind


class Answer(NamedTuple):
    """What became of a `tools/call`."""

    result: dict[str, Any]
    run_id: str = ""
    call_id: str = ""
    approval_id: str = ""  #: where a person has to answer first


class Front:
    """One for each process that speaks MCP."""

    def __init__(self, service: Service, page: str) -> None:
        """`page`: where the console is, for people to answer approvals; "" where there is none."""
        self.service = service
        self.catalog = Catalog(service.gateway)
        self.seal = Seal(service.gateway.clock)
        self.page = page
        self.asks = bool(page) and service.gateway.config.serve.mcp.ask_in_client
        self.version = version("interlock")
        self._runs = WhichRun(service)
        self._waiting: OrderedDict[tuple[str, str], dict[str, str]] = OrderedDict()  # by run: wish → its call
        self._prepared: set[tuple[str, str]] = set()

    async def tools(self, who: Principal, *, plain: bool = False) -> Listing:
        """The tools for this principal."""
        scope = (who.tenant, who.env)
        if self.service.gateway.opening and scope not in self._prepared:  # their upstreams start with them
            for prepare in self.service.gateway.opening:
                await self.service.blocking(prepare, *scope)
            self._prepared.add(scope)
        return self.catalog.shown_to(who, plain=plain)

    async def call(
        self, who: Principal, said: str, args: Mapping[str, Any], meta: Mapping[str, Any],
        headers: Mapping[str, str], connection: str, earlier: Round | None = None,
    ) -> Answer:
        """One call. `said`: the tool as the client names it; `earlier`: the round of this call that came before."""
        run_id = ""
        try:
            ids = Ids(earlier.run_id, earlier.call_id) if earlier is not None else ids_of(meta, headers)
            run_id = ids.run_id
            run = await self._runs.of(who, run_id, connection)
            run_id = run.run_id
            name = self.catalog.name_of(said)
            waiting = "" if ids.key or earlier is not None else self._waits(run, name, args)
            call_id = waiting or ids.call_id or f"call_{secrets.token_hex(8)}"
            outcome = await self.service.perform(run, name, args, call_id=call_id, key=ids.key)
            self._remember(run, name, args, call_id, waits=outcome.kind == "pending" and not ids.key)
            offer = self.catalog.offer(name) if outcome.kind == "done" else None
            result = result_of(outcome, run_id, offer.output if offer is not None else None, self.page)
        except Exception as error:
            problem, redact = problem_of_error(error, run_id), self.service.gateway.redactor.redact_text
            if problem.status == 500:
                log.error("a call over MCP could not be answered: %s", redact(f"{type(error).__name__}: {error}"))
            problem.detail = redact(problem.detail)
            return Answer(result_of_problem(problem, redact(run_id)), redact(run_id))
        asked = outcome.approval_id if outcome.kind == "pending" else None
        return Answer(result, run_id, call_id, asked or "")

    # What is sent again while it waits for a person is the same call, not another: a model does so in another turn, for
    # which its runtime has another id, or none.

    def _waits(self, run: Run, name: str, args: Mapping[str, Any]) -> str:
        known = self._waiting.get((run.tenant, run.run_id))
        return known.get(self.wish(name, args), "") if known else ""

    def _remember(self, run: Run, name: str, args: Mapping[str, Any], call_id: str, *, waits: bool) -> None:
        place = (run.tenant, run.run_id)
        if waits:
            self._waiting.setdefault(place, {})[self.wish(name, args)] = call_id
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
        elif place in self._waiting:
            known = self._waiting[place]
            if known.get(wish := self.wish(name, args)) == call_id:
                del known[wish]
            if not known:
                del self._waiting[place]

    def again(self, who: Principal, said: str, args: Mapping[str, Any], state: str) -> Round | Answer:
        """The earlier round that a state speaks of, or what to answer where its time is over. Raises Forged."""
        found = self.seal.open(who, self.wish(said, args), state)
        if found is not None:
            return found
        problem = Problem(
            422, "bad_request", "the request state is used up, or too old",
            remedy="send the call again without it",
        )
        return Answer(result_of_problem(problem, ""))

    def wish(self, said: str, args: Mapping[str, Any]) -> str:
        """A digest of a tool and its arguments; "" where they can be none, which no state was ever sealed for."""
        return "" if problem_of(args) is not None else digest(said, canonical(args))
