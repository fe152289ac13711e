"""The comparison as one page: it stands by itself, loads nothing, and shows what a run said as words."""

import re

import pytest
from msgspec import Raw
from msgspec.structs import replace

from interlock.core.judgement import judge
from interlock.core.parity import compare
from interlock.core.thresholds import Thresholds
from interlock.faces.parity_page import page
from tests.core.test_parity import CHANGES, trace
from tests.faces.console.browser import PHONE, WIDE, chromium
from tests.faces.test_cli_ground import HOSTILE

SCRIPT = '<script>document.title="pwned"</script><img src=x onerror=alert(1)>"\'><style>*{display:none}</style>'


def made(*pairs):
    compared = [compare(one, other) for one, other in pairs]
    return page(compared, judge(compared, Thresholds()))


def hostile():
    """Hostile words wherever a run can put some."""
    base, words = trace(), SCRIPT + HOSTILE
    calls = tuple(
        replace(call, tool=words, args={words: [words]}, error=words, result=Raw(b'"</pre><script>x</script>"'))
        for call in base.calls
    )
    steps = tuple(
        replace(step, model=words, turn=replace(step.turn, text=words) if step.turn else None) for step in base.steps
    )
    return replace(base, calls=calls, steps=steps, run=replace(base.run, request=words, agent=words), gaps=(words,))


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


class Seen:
    """A page in a real browser, from a file; what it asked for, and what the browser complained of."""

    def __init__(self, browser, path, **how):
        self.context = browser.new_context(**{"viewport": WIDE, **how})
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())


@pytest.fixture
def see(browser, tmp_path):
    opened = []

    def open_page(html, **how):
        path = tmp_path / "page.html"
        path.write_text(html, "utf-8")
        opened.append(Seen(browser, path, **how))
        return opened[-1]

    yield open_page
    for each in opened:
        each.context.close()


def test_it_loads_nothing_runs_no_script_and_says_so_itself():
    html = made((trace(), CHANGES[5][1]))
    assert "<script" not in html
    assert not re.findall(r"""\b(?:src|href|action)\s*=\s*["'](?!#)""", html)
    assert "url(" not in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r'<\w+[^>]*\sstyle="', html)


def test_a_browser_shows_it_and_asks_for_nothing_else(see):
    seen = see(made((trace(), CHANGES[5][1])))
    assert seen.asked == [seen.page.url]
    assert seen.complaints == []
    assert seen.page.get_by_role("heading", name="FAIL Parity").is_visible()
    assert seen.page.locator("main").evaluate("node => getComputedStyle(node).display") == "flex"  # its sheet holds


def test_the_two_runs_stand_side_by_side_and_what_differs_is_open(see):
    page = see(made((trace(), CHANGES[5][1]))).page
    pairs = page.locator(".pair:not(.head):not(.step)")
    assert pairs.count() == 5
    differing = page.locator(".pair.differs")
    assert differing.count() == 1
    left, right = (differing.locator("> div").nth(place) for place in (0, 2))
    assert "20" in left.locator("pre").first.inner_text()
    assert "200" in right.locator("pre").first.inner_text()
    one, other = left.bounding_box(), right.bounding_box()
    assert one["y"] == other["y"]
    assert one["x"] + one["width"] < other["x"]
    assert "other arguments" in differing.locator(".mark").inner_text()  # not by colour alone


def test_what_is_the_same_is_said_in_a_sentence(see):
    page = see(made((trace(), trace()))).page
    assert page.get_by_text("The same calls, the same verdicts, the same stop.").is_visible()
    assert page.locator(".pair.differs").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_it_fits_every_screen_in_both_schemes(see, scheme, viewport):
    pairs = [(trace(), changed) for _, changed, *_ in CHANGES]
    page = see(made(*pairs), viewport=viewport, color_scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    light = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (ground, ink)]
    assert (light[0] > light[1]) == (scheme == "light")


def test_whatever_a_run_said_is_shown_as_words(see):
    html = made((trace(), hostile()), (hostile(), hostile()))
    assert not [char for char in html if not char.isprintable() and char not in "\n\t"]
    seen = see(html)
    assert "pwned" not in seen.page.title()
    assert seen.complaints == []
    assert seen.page.locator("script, img").count() == 0
    assert seen.page.locator("style").count() == 1


def test_every_comparison_can_be_reached_from_the_top(see):
    page = see(made(*((trace(), changed) for _, changed, *_ in CHANGES[:3]))).page
    links = page.get_by_role("navigation", name="Comparisons").get_by_role("link")
    assert links.count() == 3
    links.nth(2).click()
    assert page.url.endswith("#c3")
