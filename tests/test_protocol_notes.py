"""Every section of the protocol notes that code or tests cite is a heading in docs/protocol."""

import re

import pytest

from tests.support.packages import ROOT

PAGES = {"websocket": "websocket.md", "auth": "auth.md", "rest": "rest.md"}
NUMBER = r"\d+[a-z]?(?:\.\d+)*"
CITATION = re.compile(rf"\b(WebSocket|[Aa]uth|REST) reference,? sections? ({NUMBER}(?:(?:, | and ){NUMBER})*)")


def headings(page):
    """The numbers of the sections of a page."""
    text = (ROOT / "docs" / "protocol" / page).read_text(encoding="utf-8")
    return re.findall(rf"^##+ ({NUMBER})\.? ", text, re.MULTILINE)


def cited():
    """``(page, section)`` -> the files that cite it."""
    found = {}
    for path in sorted(path for folder in ("dhtwisted", "tests") for path in (ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".sql", ".transcript", ".md"):
            # A citation may go on in the next line, of a docstring or of a comment.
            text = re.sub(r"\s+(?:(?:#|--) +)?", " ", path.read_text(encoding="utf-8"))
            for reference, numbers in CITATION.findall(text):
                for number in re.findall(NUMBER, numbers):
                    found.setdefault((PAGES[reference.lower()], number), set()).add(str(path.relative_to(ROOT)))
    return found


SECTIONS = cited()


def test_citations_are_found():
    assert len(SECTIONS) > 30
    assert {page for page, _ in SECTIONS} == set(PAGES.values())


@pytest.mark.parametrize(("page", "number"), SECTIONS)
def test_a_cited_section_is_there(page, number):
    assert number in headings(page), f"docs/protocol/{page} has no section {number}, which {sorted(SECTIONS[page, number])} cite"


@pytest.mark.parametrize("page", PAGES.values())
def test_sections_are_there_once_and_in_order(page):
    numbers = [tuple(int(part) for part in re.findall(r"\d+", number)) for number in headings(page)]
    assert numbers == sorted(numbers)
    assert len(set(headings(page))) == len(numbers)
