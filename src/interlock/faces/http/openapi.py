"""The OpenAPI 3.1 document, made from the table of routes.

Not written by hand, and nothing is in it that the table does not say. Law: every answer that the app can give is
declared; `docs/openapi.json` is what this gives.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import msgspec

from interlock.faces.http.problems import MEDIA_TYPE, TITLES, ProblemBody
from interlock.faces.http.routes import ROUTES
from interlock.faces.http.routing import JSON, Nothing, Route

#: code → the statuses that it comes with.
STATUSES: dict[str, tuple[int, ...]] = {
    "unauthenticated": (401,),
    "forbidden": (403,),
    "not_found": (404,),
    "method_not_allowed": (405,),
    "too_slow": (408,),
    "key_reused": (409,),
    "refused": (409,),
    "run_stopped": (409,),
    "running": (409,),
    "cooperative": (409,),
    "too_large": (413, 431),
    "bad_request": (400, 422),
    "internal": (500,),
    "busy": (503,),
    "ledger_unavailable": (503,),
}
_ANY = ("bad_request", "too_large", "internal")
_KEYED = ("unauthenticated", "forbidden", "ledger_unavailable")
_REF = "#/components/schemas/{name}"
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}


def document(url: str = "/") -> dict[str, object]:
    """All of it, with the address at which this gateway is reached."""
    return {**_document(), "servers": [{"url": url}]}


@cache
def _document() -> dict[str, Any]:
    types = {kind for route in ROUTES for kind in (route.body, route.answer) if kind is not None}
    ordered = [ProblemBody, *sorted(types, key=str)]
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    known = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Interlock",
            "version": "1",
            "description": "The tool gateway between AI agents and the world. See docs/http.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key, or a token of your provider."}
            },
        },
        "security": [{"key": []}],
    }


def _operation(route: Route, known: dict[Any, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": route.name, "summary": route.summary, "description": _description(route),
        "parameters": _parameters(route), "responses": _answers(route, known),
    }
    if not route.may:
        said["security"] = []
    if route.body is not None:
        said["requestBody"] = {"required": not route.optional, "content": {JSON: {"schema": known[route.body]}}}
    return said


def _description(route: Route) -> str:
    may = f"Roles: {', '.join(route.may)}." if route.may else "Needs no credential."
    return " ".join(f"{route.handler.__doc__ or ''} {may}".split())


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _NAME} for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not Nothing:
        schema = _inlined(route.query)
        for name, each in schema["properties"].items():
            required = name in schema.get("required", ())
            found.append({"name": name, "in": "query", "required": required, "schema": each})
    if route.writes:
        about = "The same request with the same key is carried out once."
        found.append(
            {"name": "Idempotency-Key", "in": "header", "required": False, "description": about, "schema": _KEY}
        )
    return found


def _inlined(kind: type[Any]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema: dict[str, Any] = components[kind.__name__]
    return schema


def _answers(route: Route, known: dict[Any, Any]) -> dict[str, Any]:
    if route.media == JSON:
        content: dict[str, Any] = {"schema": known[route.answer]}
    else:
        content = {"schema": {"type": "string"}}
    answers: dict[str, Any] = {"200": {"description": "It is so", "content": {route.media: content}}}
    codes = {*_ANY, *(_KEYED if route.may else ()), *(("too_slow",) if route.body else ()), *route.problems}
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        for status in STATUSES[code]:
            by_status.setdefault(status, []).append(code)
    for status, those in sorted(by_status.items()):
        answers[str(status)] = {
            "description": "; ".join(f"{code}: {TITLES[code]}" for code in those),
            "content": {MEDIA_TYPE: {"schema": known[ProblemBody]}},
        }
    if route.name == "readyz":
        answers["503"] = {"description": "Not ready", "content": {JSON: {"schema": known[route.answer]}}}
    return answers


_KEY = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[\\x21-\\x7e]+$"}


def text() -> str:
    """The document as it is checked in."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
