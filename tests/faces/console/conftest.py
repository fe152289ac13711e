"""A world for each test, and people who sign in to its console."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from interlock.core.principal import Role
from tests.faces.console.world import SECRET, World

SITE = "http://console.test"
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


class Person:
    """Somebody at a browser."""

    def __init__(self, world: World, key: str) -> None:
        self.key = key
        self.client = TestClient(world.app, base_url=SITE, follow_redirects=False)

    def sign_in(self, where: str = "/") -> Any:
        page = self.client.get("/sign-in", params={"next": where})
        return self.client.post("/sign-in", data={"csrf": token_in(page.text), "key": self.key, "next": where})

    def get(self, path: str, **params: Any) -> Any:
        return self.client.get(path, params=params)

    @property
    def csrf(self) -> str:
        return token_in(self.client.get("/").text)

    def post(self, path: str, csrf: str | None = None, **form: Any) -> Any:
        return self.client.post(path, data={"csrf": self.csrf if csrf is None else csrf, **form})


def token_in(html: str) -> str:
    found = _TOKEN.search(html)
    return found[1] if found else ""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("CONSOLE_TEST_PAYMENTS", SECRET)
    made = World()
    yield made
    made.gateway.close()


@pytest.fixture
def person(world: World) -> Callable[..., Person]:
    """Somebody with these roles, signed in."""

    def somebody(*roles: Role, tenant: str = "", name: str = "robin") -> Person:
        made = Person(world, world.key(name, *(roles or (Role.ADMIN,)), tenant=tenant))
        assert made.sign_in().status_code == 303
        return made

    return somebody
