"""What an HTTP face answers where it cannot do what was asked: RFC 9457, with a stable code and a remedy.

Not an outcome of a call: a refused call is an answer with status 200. Law: a problem names the thing and the remedy,
holds no secret, and nothing of another tenant; what nobody foresaw is a 500 without a word of its cause.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from interlock.errors import ConfigError, InterlockError, KeyReused, LedgerUnavailable, Refused, RunStopped

MEDIA_TYPE = "application/problem+json"


class ProblemBody(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of a problem. `code` is for programs and never changes, `detail` and `remedy` are for people."""

    type: str  #: a URN with the code
    title: str
    status: int
    code: str
    remedy: str
    detail: str = ""
    run_id: str = ""


class Problem(Exception):
    """Raised anywhere behind the door; the app answers it."""

    def __init__(
        self, status: int, code: str, detail: str, *,
        remedy: str = "", run_id: str = "", headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.run_id = run_id
        self.headers = dict(headers or {})

    def body(self) -> ProblemBody:
        """As it is sent: always with a remedy, where it has none of its own with that of its code."""
        return ProblemBody(
            type=f"urn:interlock:problem:{self.code}", title=TITLES.get(self.code, self.code), status=self.status,
            code=self.code, detail=self.detail, remedy=self.remedy or REMEDIES[self.code], run_id=self.run_id,
        )


#: code → what it is, in a few words. `docs/http.md` lists them.
TITLES: dict[str, str] = {
    "unauthenticated": "No valid credential",
    "forbidden": "This credential may not do that",
    "not_found": "There is no such thing",
    "method_not_allowed": "Not with this method",
    "bad_request": "The request cannot be taken",
    "too_large": "The request is too large",
    "too_slow": "The request took too long to arrive",
    "key_reused": "The idempotency key stands for something else",
    "refused": "That is not possible now",
    "run_stopped": "The run has stopped",
    "running": "The same call is being performed",
    "cooperative": "The agent's own process performs this tool",
    "busy": "Too many are being served",
    "ledger_unavailable": "The ledger cannot be written",
    "internal": "Something went wrong in the gateway",
}

#: code → what to do about it, where a problem says nothing closer.
REMEDIES: dict[str, str] = {
    "unauthenticated": "send Authorization: Bearer KEY; keys are made with: interlock keys create",
    "forbidden": "use a credential that has the role, or ask somebody who has it",
    "not_found": "look at the ids, and at whose credential this is",
    "method_not_allowed": "use a method of the Allow header",
    "bad_request": "see /openapi.json",
    "too_large": "send less",
    "too_slow": "send it in one go",
    "key_reused": "give each call an id of its own",
    "refused": "read how it stands now",
    "run_stopped": "open another run",
    "running": "ask again later",
    "cooperative": "admit it, perform it and settle it: POST …/calls/admit",
    "busy": "ask again later",
    "ledger_unavailable": "send it again; nothing was lost",
    "internal": "see the gateway's log, by the x-request-id of this answer",
}


def problem_of_error(error: Exception, run_id: str = "") -> Problem:
    """What an exception of Interlock's own means to an HTTP client. Anything else says nothing of its cause."""
    if isinstance(error, Problem):
        return error
    for kind, status, code, remedy in _ANSWERS:
        if isinstance(error, kind):
            return Problem(status, code, str(error), remedy=remedy, run_id=run_id)
    return Problem(500, "internal", "the gateway could not answer", remedy=REMEDIES["internal"], run_id=run_id)


_ANSWERS: tuple[tuple[type[InterlockError], int, str, str], ...] = (
    (KeyReused, 409, "key_reused", REMEDIES["key_reused"]),
    (RunStopped, 409, "run_stopped", REMEDIES["run_stopped"]),
    (LedgerUnavailable, 503, "ledger_unavailable", REMEDIES["ledger_unavailable"]),
    (Refused, 409, "refused", ""),  # its words say it
    (ConfigError, 422, "bad_request", ""),
)
