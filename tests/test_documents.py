"""Links between the pages lead somewhere, and the map of the documentation has all pages."""

import re

import pytest

from tests.support.packages import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "bench").rglob("*.md")])
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"`((?:dhtwisted|tests|docs|conf|twisted|packaging|bench|\.ci)/[\w./-]+|[\w.]+\.(?:cfg|md))[` ]")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page):
    """A page without its code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page):
    """The relative links of a page, as pairs of the path that they mean and the part behind ``#``."""
    for link in _LINK.findall(text_of(page)):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page):
    """The names by which the headings of a page can be linked."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text_of(page))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings_that_are_there(page):
    for path, anchor in links(page):
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), f"{path}#{anchor}"


def test_the_map_of_the_documentation_names_every_page():
    linked = {path for path, _ in links(DOCS / "README.md")}
    # The reference and the results of the benchmark have maps of their own.
    reference = {path for path, _ in links(DOCS / "reference" / "README.md")}
    results = {path for path, _ in links(DOCS / "benchmark" / "README.md")}
    assert {page for page in DOCS.rglob("*.md")} - linked - reference - results == {DOCS / "README.md"}


def test_files_that_contributors_are_sent_to_are_there():
    # Capitals stand for a name to be chosen.
    named = [path for path in _PATH.findall((ROOT / "CONTRIBUTING.md").read_text()) if not re.search(r"\b[A-Z]+\b(?!\.md)", path)]
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []
