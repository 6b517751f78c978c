"""Some hundred idle clients, and their storm: the small form of ``python -m tests.support.attacks.storm`` (Messages 9)."""

from tests.support.attacks.storm import PATIENCE, run

CLIENTS = 400


def test_all_come_back_after_a_kill(tmp_path):
    seen = run(tmp_path, CLIENTS)
    assert seen.clients == CLIENTS
    assert seen.seconds_of_storm < PATIENCE
    assert seen.megabytes < 100
    assert seen.tries >= CLIENTS, "each came again"
