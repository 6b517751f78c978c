"""What every test may need."""

import pytest
from hypothesis import settings

# A slow machine must not fail a test: what takes long is measured elsewhere.
settings.register_profile("dhtwisted", deadline=None)
settings.load_profile("dhtwisted")


@pytest.fixture
def reactor():
    """The running reactor, for tests that need threads or sockets."""
    from twisted.internet import reactor

    return reactor
