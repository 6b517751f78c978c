import json

import pytest

from bench.growth.report import page
from bench.pages import kind_of, save_pages
from bench.report import markdown


def data(processor):
    rows = [{"at_least": 1, "reached": verdict} for verdict in ("aim", "aim", "yes", "no", None)] + [{"at_least": None, "reached": None}]
    return json.dumps({"machine": {"processor": processor, "dhtwisted": "1.0", "date": "2026-11-30"}, "rows": rows})


def test_results_of_another_kind_of_processor_stay(tmp_path):
    save_pages(tmp_path, "AMD EPYC, 2 cores", data("AMD EPYC, 2 cores"), "<svg/>", lambda place: "first")
    save_pages(
        tmp_path, "Intel(R) Xeon(R) CPU @ 2.2GHz, 4 cores", data("Intel(R) Xeon(R) CPU @ 2.2GHz, 4 cores"), "<svg/>", lambda place: "other"
    )
    save_pages(tmp_path, "AMD EPYC, 8 cores", data("AMD EPYC, 8 cores"), "<svg/>", lambda place: "again")
    assert (tmp_path / "amd-epyc" / "README.md").read_text() == "again"
    assert (tmp_path / "intel-xeon" / "README.md").read_text() == "other"
    index = (tmp_path / "README.md").read_text()
    assert "| [AMD EPYC, 8 cores](amd-epyc/README.md) | 2026-11-30 | 1.0 |  | 2 | 1 | 1 | 1 |" in index
    assert "(intel-xeon/README.md)" in index
    assert "growth" not in index


def test_the_page_of_what_grows_is_listed(tmp_path):
    (tmp_path / "growth.md").write_text("charts")
    save_pages(tmp_path, "AMD EPYC, 2 cores", data("AMD EPYC, 2 cores"), "", str)
    assert "(growth.md)" in (tmp_path / "README.md").read_text()


def test_only_a_page_in_the_documentation_has_a_link_to_the_manual(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.manual.DOCUMENTATION", tmp_path / "docs")
    pages = {}
    for directory in (tmp_path / "docs" / "benchmark", tmp_path / "elsewhere"):
        save_pages(directory, "AMD EPYC", data("AMD EPYC"), "", lambda place: "\n".join(markdown([], {}, [], place)))
        pages[directory.name] = [(directory / name).read_text() for name in ("README.md", "amd-epyc/README.md")]
        pages[directory.name].append("\n".join(page([], {}, [], directory)))
    assert [text.count("benchmark.md") for text in pages["benchmark"] + pages["elsewhere"]] == [1] * 6
    links = ["(../benchmark.md)", "(../../benchmark.md)", "(../benchmark.md#growth)"]
    assert all(link in text for link, text in zip(links, pages["benchmark"], strict=True))
    assert not any("benchmark.md)" in text or "benchmark.md#" in text for text in pages["elsewhere"])


@pytest.mark.parametrize(
    ("processor", "kind"),
    [
        ("AMD EPYC, 2 cores", "amd-epyc"),
        ("AMD EPYC 9B14 96-Core Processor, 4 cores", "amd-epyc-9b14"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 2 cores", "intel-xeon-platinum-8481c"),
        ("aarch64, 4 cores", "aarch64"),
        ("", "unknown"),
    ],
)
def test_a_directory_is_called_after_the_processor(processor, kind):
    assert kind_of(processor) == kind
