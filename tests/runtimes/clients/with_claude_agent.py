"""Claude Code, the program that claude-agent-sdk brings. Its model is asked through the gateway's model proxy."""

from __future__ import annotations

import tempfile

from claude_agent_sdk import ResultMessage, query

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

OFFLINE = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",  # nobody is there: what would leave fails at once
}
connect = example("docs/mcp-clients.md", "claude-agent")["connect"]


async def drive(way: Way, script: Script) -> str:
    """One run of the program, in a home of its own. Gives its last words."""
    options = connect(way.url, way.key, way.run_id)
    way.provider.script = script
    said = ""
    with tempfile.TemporaryDirectory() as home:
        options.cwd = home
        options.model = "claude-sonnet-4-5"
        options.env |= {"HOME": home, "CLAUDE_CONFIG_DIR": home, **OFFLINE}
        async for message in query(prompt="go", options=options):
            if isinstance(message, ResultMessage):
                said = message.result or message.subtype
    return said
