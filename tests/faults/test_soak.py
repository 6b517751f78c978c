"""Some seconds of ``python -m tests.support.attacks.soak``: every behaviour comes to its end, and nothing stays open (Messages 9)."""

from tests.support.attacks.soak import BEHAVIOURS, run

SECONDS = 6


def test_every_behaviour_comes_to_its_end_and_leaves_nothing_open(tmp_path):
    seen = run(tmp_path, SECONDS)
    assert set(seen.rounds) == {behaviour.__name__ for behaviour in BEHAVIOURS}
    assert len(seen.samples) > 100
    before, after = seen.files
    assert after <= before + 10
