"""The shape of `serve:` in interlock.yaml: how the gateway stands as a service.

Not what serves (`faces/http/`). Law: as in `file.py`. What is here says nothing of what a tool may do: that is
the policy's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from interlock.config.shapes import Count, Duration, Globs, Positive, Reference, Section, Text, Url


def problem_of_provider(url: str) -> str | None:
    """Why keys and tokens must not come from there, or None: whoever can change them on the way can be anybody."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "must be a URL"
    if parts.scheme == "https" and parts.hostname:
        return None
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return None
    return "must begin with https:// (http:// is for this machine alone)"


class Claims(Section):
    """Which claims of an identity provider's token say what."""

    name: Text = "sub"
    tenant: Text = "tenant"
    agent: Text = "agent"
    env: Text = "env"
    roles: Text = "roles"


class Oidc(Section):
    """An identity provider whose tokens are taken beside our own keys."""

    issuer: Url
    audience: Text
    jwks: Text | None = None  #: a URL, or a file; left out: as the issuer's discovery document says
    claims: Claims = Claims()
    client_id: Text | None = None  #: to sign people in at the console
    client_secret: Reference | None = None

    @model_validator(mode="after")
    def _whole(self) -> Oidc:
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("client_secret needs client_id beside it")
        for url in (self.issuer, self.jwks or ""):
            problem = problem_of_provider(url) if "://" in url else None
            if problem is not None:
                raise ValueError(f"{url} {problem}")
        return self


class McpFront(Section):
    """How MCP clients are answered at /mcp."""

    run_per: Literal["connection", "day"] = "day"  #: the run of a call that names none
    ask_in_client: bool = False  #: a person sits at the client: approvals are put to them there too
    agent: Text = "desktop"  #: of `interlock mcp --stdio`
    tenant: Text = "default"
    env: Text = "local"


class ModelProvider(Section):
    """Where model requests go, and with whose key."""

    url: Url
    credential: Text
    timeout: Duration = 600_000_000


class Models(Section):
    """The model proxy: providers by protocol. Left out: there is no proxy for it."""

    openai: ModelProvider | None = None
    anthropic: ModelProvider | None = None
    record: bool = True  #: keep what was asked and answered, redacted, for replay
    hosted_tools: Globs = ()  #: what runs at the provider goes past the gateway
    fields: Globs = ()  #: of a request, beside those that are known
    max_output_tokens: Positive = 16_384  #: of a turn that says no number, where dollars or tokens count
    body_bytes: Annotated[Positive, Field(le=67_108_864)] = 16_777_216
    answer_bytes: Annotated[Positive, Field(le=268_435_456)] = 33_554_432


class Slack(Section):
    """A channel that is told of approvals, with buttons."""

    webhook: Reference  #: the incoming webhook's URL is a secret
    signing_secret: Reference
    approvers: dict[Text, Text] = {}  #: Slack user id → the name that answers; nobody else does


class CooperativeTool(Section):
    """A tool that lives in the agent's own process."""

    description: str = ""
    input_schema: dict[str, Any] = {"type": "object"}


class Serve(Section):
    """How `interlock serve` listens, and whom it believes."""

    host: Text = "127.0.0.1"
    port: Annotated[Count, Field(le=65_535)] = 8420
    url: Url | None = None  #: how others reach it, for links and as the audience of tokens; left out: host and port
    workers: Annotated[Positive, Field(le=64)] = 1
    body_bytes: Annotated[Positive, Field(le=67_108_864)] = 1_048_576
    body_seconds: Duration = 10_000_000
    oidc: Oidc | None = None
    mcp: McpFront = McpFront()
    models: Models = Models()
    slack: Slack | None = None
    cooperative: dict[Text, CooperativeTool] = {}
