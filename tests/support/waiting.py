"""Waiting for something in another process or thread."""

import time
from collections.abc import Callable

PATIENCE = 30


def wait_until(condition: Callable[[], object], failure: str, seconds: float = PATIENCE) -> None:
    """Wait until a function returns a true value.

    :raises TimeoutError: the function has not; the text begins with ``failure``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{failure} within {seconds} s")
        time.sleep(0.005)
