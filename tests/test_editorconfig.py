"""Editors and the check of the style agree."""

import tomllib
from configparser import ConfigParser

from tests.support.packages import ROOT


def test_editors_and_ruff_have_the_same_form():
    editor = ConfigParser()
    editor.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    ruff = tomllib.loads((ROOT / ".ruff.toml").read_text())
    assert editor["top"]["root"] == "true"
    every = editor["*"]
    assert int(every["max_line_length"]) == ruff["line-length"]
    # Of ruff these are the defaults.
    assert (every["indent_style"], int(every["indent_size"])) == ("space", ruff.get("indent-width", 4))
    assert every["end_of_line"] == {"auto": "lf", "lf": "lf"}[ruff.get("format", {}).get("line-ending", "auto")]
