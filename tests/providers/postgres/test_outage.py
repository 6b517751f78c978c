"""What the log says of a database that goes and comes."""

import pytest
from twisted.logger import Logger

from dhtwisted.providers.postgres.outage import Outage


@pytest.fixture
def said(monkeypatch):
    """What was logged."""
    lines = []
    logger = Logger(observer=lambda event: lines.append(event["log_format"].format(**event)))
    monkeypatch.setattr(Outage, "log", logger)
    return lines


def test_one_line_when_it_goes_and_one_when_all_connections_are_back(said):
    outage = Outage("the database")
    outage.end("first")
    outage.begin("first", "it crashed")
    outage.begin("second", "it crashed")
    outage.begin("first", "connection refused")
    outage.end("first")
    assert said == ["the database is away: it crashed; trying again until it is back"]
    outage.end("second")
    assert said[1:] == ["the database is back"]
    outage.begin("first", "again")
    assert len(said) == 3
