"""The page of the documentation that explains the results."""

import os
from pathlib import Path

DOCUMENTATION = Path(__file__).resolve().parent.parent / "docs"
NAME = "benchmark.md"


def manual(directory, anchor=""):
    """Name it in a page of results: with a link if the page is in the documentation too. Elsewhere such a link would lead to nothing.

    :param directory: of that page; ``None`` if it is only shown.
    :param anchor: of its section, with ``#``.
    """
    if directory is None or not Path(directory).resolve().is_relative_to(DOCUMENTATION):
        return f"`docs/{NAME}`"
    return f"[The benchmark]({os.path.relpath(DOCUMENTATION / NAME, Path(directory).resolve())}{anchor})"
