"""Every example of README and docs is loaded or executed: a page is one story, told in one folder, from top to bottom.

A block of YAML is a config and is loaded; named (```yaml interlock.yaml) it is also written to that file, and a file of
cases is run. A block of Python is executed, in the namespace of its page; where a `print(…)` has a comment, that is
what it prints (… stands for anything). One that needs an agent runtime carries the name of its extra, and is executed
in the environment that has them (tests/runtimes); CrewAI has a group in place of an extra. What cannot run is marked
`text` or `console`, and each command of a console must exist. docs/migrate.md is done whole, commands too, by
tests/runtimes/test_migrate.py.
"""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import interlock
from interlock.cases import run_cases
from interlock.config import load
from scripts import docs
from tests.docs.pages import PAGES, ROOT, Block, blocks, named

ELSEWHERE = ("performance.md", "migrate.md")
KINDS = {"yaml", "python", "console", "text", "mermaid", "json", "ini"}
SAID = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = SAID["project"]["optional-dependencies"] | SAID["dependency-groups"]
_SAID = re.compile(r"^ *print\(.*\)  +# (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=named)
def test_the_examples_of_a_page_run_as_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRM_ACME", "a-token-of-acme")
    monkeypatch.setenv("WEBHOOK_SECRET", "a-shared-secret")
    names = {"__name__": "example"}
    for block in blocks(page):
        where = f"{named(page)}:{block.line}"
        assert block.kind in KINDS, f"{where}: say what this block is"
        if block.kind == "yaml":
            _yaml(block, where)
        elif block.kind == "python" and block.name:
            assert block.name in EXTRAS, f"{where}: an example with a name is for the runtime of that extra"
        elif block.kind == "python":
            code = compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True)
            exec(code, names)
            _compare(_SAID.findall(block.text), capsys.readouterr().out.splitlines(), where)


def _yaml(block: Block, where: str) -> None:
    path = Path(block.name or "unnamed.yaml")
    path.write_text(block.text, "utf-8")
    if "cases" in path.name:
        failed = [result for result in run_cases(load("interlock.yaml"), [path]) if not result.passed]
        assert not failed, f"{where}: {failed}"
        return
    try:
        load(path)
    except interlock.ConfigError as error:
        pytest.fail(f"{where}: {error}")


def _compare(expected: list[str], printed: list[str], where: str) -> None:
    if not expected:
        return
    assert len(printed) == len(expected), f"{where}: prints {printed}"
    for wanted, line in zip(expected, printed, strict=True):
        pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
        assert re.fullmatch(pattern, line), f"{where}: prints {line!r}, and not {wanted!r}"


# --- commands --------------------------------------------------------------------------------------------------------


def shown() -> list[tuple[str, str]]:
    """Every command that a page shows in a console, with its place."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "console":
                found += [(named(page), line[2:]) for line in block.text.splitlines() if line.startswith("$ ")]
    return found


@pytest.mark.parametrize(("page", "command"), shown())
def test_every_command_that_is_shown_exists(page, command):
    words = shlex.split(command.partition("#")[0].partition(">")[0].partition("|")[0])
    if words[0] == "make":
        verbs = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(verbs)
    if words[0] == "interlock":
        _exists(words)


def _exists(words: list[str]) -> None:
    every = docs.commands()
    name = max((each for each in every if f"{' '.join(words)} ".startswith(f"{each} ")), key=len)
    context = every[name]
    assert not getattr(context.command, "commands", None), f"{name} is a group: which command of it?"
    known = {option for each in context.command.params for option in (*each.opts, *each.secondary_opts)}
    given = [word for word in words if word.startswith("-")]
    assert set(given) <= known | {"--help"}, f"{name} has no {set(given) - known}"
    required = {each.opts[0] for each in context.command.params if each.required and each.opts[0].startswith("-")}
    assert required <= set(given), f"{name} needs {required - set(given)}"
