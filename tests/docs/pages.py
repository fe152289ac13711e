"""README, AGENTS, CHANGELOG and docs/ as data: fenced blocks, links, headings; and which tests there are."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(?P<kind>[a-z]*)(?: +(?P<name>[^\n]+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: what it is, the file that it stands for, and where it begins."""

    kind: str
    name: str
    text: str
    line: int


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found["kind"], found["name"] or "", found["text"], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The headings as GitHub spells them in addresses."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def every_test() -> frozenset[str]:
    """Every test there is, as `tests/…/test_x.py::test_name`, and every promise of the conformance suite."""
    found = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{named(path)}::{node.name}")
            if isinstance(node, ast.ClassDef):  # a hypothesis state machine is collected as `TestX = Machine.TestCase`
                found.add(f"{named(path)}::{node.name}")
    suites = ROOT.glob("src/interlock/testing/conformance*.py")
    return frozenset(found | {f"{named(suite)}::{name}" for suite in suites for name in _promises(suite)})


def _promises(suite: Path) -> set[str]:
    """The functions that stand in one of its contracts: those are run against every store."""
    found = set()
    for node in ast.parse(suite.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).endswith("_CONTRACT"):
            found |= {each.id for each in ast.walk(node.value or node) if isinstance(each, ast.Name)}
    return found
