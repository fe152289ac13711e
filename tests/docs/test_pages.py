"""What README and docs/ say is there: links, files, tests, and the parts that are made from the code."""

import re

import pytest

from interlock.config.file import QUOTA_KEYS
from scripts import docs
from tests.docs.pages import PAGES, ROOT, anchors, every_test, links, named, prose

_FOLDERS = "src|docs|tests|scripts|examples|benchmarks|core|faces|adapters|tools|stores|vaults"
_PATH = re.compile(rf"`((?:{_FOLDERS})/[\w./*-]+|[\w-]+\.(?:py|md))`")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_generated_parts_are_as_the_code_is(page):
    text = page.read_text("utf-8")
    assert docs.renewed(text) == text, f"{named(page)} is stale: run make docs"


def test_every_generated_part_is_on_some_page():
    assert sorted(name for page in PAGES for name in docs.used(page.read_text("utf-8"))) == sorted(docs.BLOCKS)


def test_every_key_of_the_config_has_a_meaning_and_every_meaning_a_key():
    assert set(docs.MEANINGS) == set(dict(docs.keys()))
    assert {key.partition("_per_")[0] for key in QUOTA_KEYS} == set(docs.QUOTAS)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{named(page)} links to {link}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_is_mentioned_is_there(page):
    for path in _PATH.findall(prose(page)):
        found = any(ROOT.glob(f"{base}{path}") for base in ("", "src/interlock/", "docs/", "tests/docs/"))
        assert found, f"{named(page)} mentions {path}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_is_mentioned_is_there(page):
    text = page.read_text("utf-8")
    whole = set(re.findall(r"[\w/]+\.py::\w+", text))
    assert whole <= every_test(), f"{named(page)}: {sorted(whole - every_test())}"
    names = {each.partition("::")[2] for each in every_test()}
    assert set(re.findall(r"\btest_\w+", re.sub(r"\S+\.py", "", prose(page)))) <= names


def test_every_page_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        todo += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    assert {ROOT / "docs" / page.name for page in PAGES if page.parent.name == "docs"} <= seen


def test_no_page_names_a_path_of_somebodys_machine():
    for page in PAGES:
        found = re.findall(r"(?<![\w.:/])/(?:home|root|work|Users)/\S*", page.read_text("utf-8"))
        assert not found, f"{named(page)}: {found}"
