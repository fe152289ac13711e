"""How the contract drives the adapter that docs/runtimes.md shows."""

from typing import Any

from tests.docs.pages import ROOT, blocks

SHOWN: dict[str, Any] = {"__name__": __name__}
for block in blocks(ROOT / "docs/runtimes.md"):
    if block.kind == "python" and not block.name:
        exec(compile("\n" * block.line + block.text, "docs/runtimes.md", "exec", dont_inherit=True), SHOWN)

Mine: Any = SHOWN["Mine"]
