"""Waiting for what happens in another process or thread."""

import time

PATIENCE = 30


def wait_until(condition, failure, seconds=PATIENCE):
    """Wait until a function gives a true value.

    :raises TimeoutError: it does not; the text begins with ``failure``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{failure} within {seconds} s")
        time.sleep(0.005)
